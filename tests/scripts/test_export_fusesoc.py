"""``nibbleforge export --flow fusesoc``: targets that FuseSoC runs."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from nibbleforge.golden.units import UNITS, core_name, unit
from nibbleforge.sim.tools import toolchain

TOP = "core_dense2k_array"
CORES = [
    (name, design.name)
    for name in UNITS
    for design in unit(core_name(name)).designs(unit(core_name(name)).presets["tiny"])
]

pytestmark = pytest.mark.needs("fusesoc")


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """FuseSoC with no files of a user, and the tools that the project finds by their names."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("verilator", "fusesoc"):
        found = toolchain.require(name)
        shim = programs / name
        settings = " ".join(f"{key}={shlex.quote(v)}" for key, v in found.environment.items())
        shim.write_text(f'#!/bin/sh\n{settings} exec {shlex.join(found.command)} "$@"\n')
        shim.chmod(0o755)
    home = {name: str(tmp_path / "home") for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    return {**os.environ, **home, "PATH": f"{programs}:{os.environ['PATH']}"}


@pytest.fixture
def export(run, tmp_path):
    """``export(*arguments)``: the folder."""

    def exporter(*arguments) -> Path:
        out = tmp_path / "out"
        done = run("export", *arguments, "--flow", "fusesoc", "-o", out)
        assert (done.status, done.err) == (0, "")
        return out

    return exporter


def fusesoc(folder: Path, target: str, environment, more: str = "") -> tuple[int, str]:
    """Status and output of the README's line for a target."""
    (line,) = re.findall(
        rf"^    (fusesoc .*--target={target} .*)$", (folder / "README.md").read_text(), re.MULTILINE
    )
    done = subprocess.run(
        ["sh", "-c", line + more],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_lint_passes_and_finds_what_is_not_waived(export, environment):
    folder = export("dense2k", "--preset", "tiny")
    status, printed = fusesoc(folder, "lint", environment)
    assert status == 0, printed
    assert "%Warning" not in printed
    (folder / f"{TOP}.vlt").write_text("`verilator_config\n")
    status, printed = fusesoc(folder, "lint", environment)
    assert status != 0
    assert "%Warning-DECLFILENAME" in printed


@pytest.mark.needs("iverilog")
def test_simulation_passes_and_finds_a_broken_result(export, environment):
    folder = export("dense2k", "--preset", "tiny")
    for more in ("", " --pauses"):
        status, printed = fusesoc(folder, "sim", environment, more)
        assert status == 0, printed
        assert re.search(r"^PASS: \d+ words and \d+ registers equal golden$", printed, re.M)
    results = folder / f"{TOP}_results.hex"
    results.write_text("1" + results.read_text()[1:])  # a TLAST at the first word
    status, printed = fusesoc(folder, "sim", environment)
    assert status != 0
    assert "FAIL: 1 words and 0 registers differ from golden" in printed


@pytest.mark.slow
@pytest.mark.needs("iverilog")
@pytest.mark.parametrize("preset", ["tiny", "fpga"])
@pytest.mark.parametrize(("name", "design"), CORES)
def test_every_core_passes(export, environment, name, design, preset):
    owner = unit(core_name(name))
    several = len(owner.designs(owner.presets[preset])) > 1
    folder = export(name, "--preset", preset, *(("--design", design) if several else ()))
    for target in ("lint", "sim"):
        status, printed = fusesoc(folder, target, environment)
        assert status == 0, printed
        assert "arning" not in printed


def test_names_follow_the_top_module(export):
    folder = export("dense2k", "--preset", "tiny", "--name", "mine")
    described = (folder / "mine.core").read_text()
    assert described.startswith("CAPI=2:\n\nname: nibbleforge:cores:mine:")
    assert TOP not in described
    named = set(re.findall(r"^      - (\S+):", described, re.MULTILINE))
    assert named == {"mine.v", "mine.vlt", "mine_tb.v", "mine_stream.hex", "mine_results.hex"}
    assert named <= {path.name for path in folder.iterdir()}
