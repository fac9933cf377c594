"""``nibbleforge timing``: what it shows and writes, every bad input, and Ctrl-C."""

import json

import pytest
from nibbleforge.sim.tools import toolchain

SMALL = ("timing", "dense2k", "--preset", "tiny", "--set", "rows=1", "--set", "columns=1")
PATIENCE = 120  # seconds; the machine may be busy


@pytest.mark.needs("nextpnr-ecp5")
def test_table_and_file(run, tmp_path):
    done = run(*SMALL, "--seeds", 2, "-o", tmp_path / "out")
    assert done.status == 0, done.err
    assert "dense2k_array on LFE5U-85F-6" in done.out
    assert "critical path of the slowest seed" in done.out
    assert done.out.splitlines()[-1] == f"results in {tmp_path / 'out' / 'timing.json'}"
    content = json.loads((tmp_path / "out" / "timing.json").read_text())
    assert (content["unit"], content["family"]) == ("dense2k", "ecp5")
    assert content["versions"]["nextpnr-ecp5"] != "missing"
    design = content["designs"]["dense2k_array"]
    assert design["cells"]["MULT18X18D"] == 1
    assert [found["seed"] for found in design["runs"]] == [1, 2]
    clocks = [found["mhz"] for found in design["runs"]]
    assert design["mhz"] == {"min": min(clocks), "median": sum(clocks) / 2}
    for found in design["runs"]:
        path = found["critical_path"]
        assert path["ns"] == pytest.approx(1000 / found["mhz"], rel=1e-3)
        assert found["used"]["MULT18X18D"] == [1, 156]


@pytest.mark.deep
def test_xilinx(run):
    done = run(*SMALL, "--family", "xilinx")
    assert done.status == 0, done.err
    assert "dense2k_array on xilinx" in done.out
    assert "FDRE" in done.out
    assert "MHz" not in done.out


@pytest.mark.needs("sta", "liberty")
def test_cells(run, tmp_path):
    done = run(*SMALL, "--family", "cells", "--seeds", 2, "-o", tmp_path)
    assert done.status == 0, done.err
    content = json.loads((tmp_path / "timing.json").read_text())
    (library,) = content["designs"]["dense2k_array"]["libraries"].values()
    slowest = library["critical_path_ns"]["max"]
    assert f"{1000 / slowest:.3f}" in done.out


@pytest.mark.needs("nextpnr-ecp5")
def test_what_does_not_fit(run, tmp_path):
    larger = ("--set", "rows=5", "--set", "columns=6", "--device", "12k", "--seeds", 1)
    done = run("timing", "dense2k", "--preset", "tiny", *larger, "-o", tmp_path / "out")
    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines()[-1] == (
        "nibbleforge: dense2k_array: it does not fit an LFE5U-12F: it has 30 MULT18X18D of 28, "
        "7% too many; lower rows or columns."
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--seeds", 0), "--seeds must be at least 1, got 0."),
        (("--clock", 0), "--clock must be at least 1, got 0."),
        (("--device", "7k"), "--device must be 12k, 25k, 45k or 85k, got '7k'."),
        (("--family", "ice40"), "--family must be ecp5, xilinx or cells, got 'ice40'."),
        (("--preset", "huge"), None),
    ],
)
def test_bad_options(refused, options, sentence):
    assert refused(*SMALL, *options, "-o", "out") == sentence or sentence is None


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("ecp5", "nextpnr-ecp5"),
        ("cells", "liberty"),
        pytest.param("cells", "sta", marks=pytest.mark.needs("liberty")),
    ],
)
def test_missing_tools(refused, monkeypatch, family, name):
    tool = toolchain.TOOLS[name]
    missing = type(tool)(tool.name, tool.purpose, tool.remedy, lambda: None)
    monkeypatch.setitem(toolchain.TOOLS, name, missing)
    assert refused(*SMALL, "--family", family, "-o", "out") == tool.missing


@pytest.mark.needs("nextpnr-ecp5")
@pytest.mark.parametrize("name", ["python", "nextpnr"])
def test_interrupted(interrupt, name):
    """Neither synthesis nor place and route outlives the command."""
    interrupt(lambda comm: name in comm, "timing", "dense2k", "--preset", "fpga", patience=PATIENCE)
