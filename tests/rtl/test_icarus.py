"""Emitted Verilog in Icarus, which knows x, against golden: as Verilog and as SystemVerilog."""

import shlex
import subprocess

import cocotb_tools.config
import pytest
from nibbleforge.golden.units import UNITS, core_name, unit
from nibbleforge.sim.run import cocotb
from nibbleforge.sim.run.emitted import emitted
from nibbleforge.sim.tools import toolchain
from nibbleforge.sim.tools.workers import Workers
from nibbleforge.tb.job import Job

QUICK = {("nm", "tiny"), ("anda", "fpga"), ("figna", "fpga"), ("core/anda", "tiny")}
"""Those that had an x or stood still where a process did not run at time 0."""

CASES = [
    pytest.param(
        name,
        preset,
        standard,
        marks=() if (name, preset) in QUICK and standard == "-g2012" else pytest.mark.slow,
    )
    for name in (*UNITS, *map(core_name, UNITS))
    for preset in (("tiny",) if "/" in name else ("tiny", "fpga"))
    for standard in ("-g2005", "-g2012")
]


@pytest.mark.needs("iverilog")
@pytest.mark.parametrize(("name", "preset", "standard"), CASES)
def test_icarus_equals_golden(name, preset, standard, tmp_path):
    config = unit(name).presets[preset]
    for design in unit(name).designs(config):
        generated = emitted(design, config)
        executable = compiled(generated.verilog, generated.name, standard, tmp_path)
        job = Job.of(name, design, config, [0], profiles=("none", "random"))
        with Workers(1) as workers:
            outcome = cocotb.run(executable, job, workers)
        assert outcome.passed, [verdict.message for verdict in outcome.verdicts]
        assert len(outcome.notes) >= 3
        assert all(note["scalars"] for note in outcome.notes)


def compiled(verilog, top, standard, folder):
    """A simulation that cocotb can run."""
    (folder / "design.v").write_text(verilog)
    (folder / "commands").write_text("+timescale+1ns/1ps\n")
    found = toolchain.require("iverilog")
    options = [standard, "-f", "commands", "-s", top, "-o", "design.vvp", "design.v"]
    subprocess.run([*found.command, *options], cwd=folder, check=True)
    library = cocotb_tools.config.lib_entry("vpi", "icarus")
    command = [str(found.path.with_name("vvp")), "-m", library, str(folder / "design.vvp")]
    executable = folder / "simulate"
    executable.write_text(f"#!/bin/sh\nexec {shlex.join(command)}\n")
    executable.chmod(0o755)
    return executable
