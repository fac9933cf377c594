"""A core with AXI names, driven by cocotbext-axi."""

import json
import os
import re
from pathlib import Path

import pytest
from nibbleforge.golden.units import core_name, unit
from nibbleforge.hw.soc.generate import generate_core
from nibbleforge.sim.run import cocotb, verilator
from nibbleforge.sim.tools.workers import Workers

BENCH = Path(__file__).with_name("axi_bench.py")
TESTS = len(re.findall(r"^@cocotb.test", BENCH.read_text(), re.MULTILINE)) + 2
SOAK = Path(__file__).with_name("axi_soak.py")
NAMES = ("anda", "dense", "dense2k", "figna", "fp16", "nm", "sparqle")
TILES = 10_000


def run_bench(bench, name, folder, **options):
    """Verdicts of a bench on the core around a unit, and what it printed."""
    owner = unit(core_name(name))
    config = owner.presets["tiny"]
    (design,) = owner.designs(config)
    generated = generate_core(design, config, name)
    source = generated.write(folder)[0]
    executable = verilator.build_cocotb([source], generated.name)
    report = folder / "results.xml"
    job = {"unit": owner.name, "config": config.model_dump(mode="json"), "seed": 3, **options}
    environment = verilator.cocotb_environment(
        bench.stem,
        generated.name,
        report,
        {"NIBBLEFORGE_AXI": json.dumps(job), "COCOTB_LOG_LEVEL": "ERROR"},
    )
    environment["PYTHONPATH"] += os.pathsep + str(bench.parent)
    with Workers(1) as workers:
        log = workers.run([str(executable)], environment, cwd=folder, check=False)
    return cocotb.read_verdicts(report, log), log


@pytest.mark.parametrize("name", ["dense2k", "sparqle"])
def test_core_behind_axi(name, tmp_path):
    verdicts, _ = run_bench(BENCH, name, tmp_path)
    assert [str(verdict) for verdict in verdicts if not verdict.passed] == []
    assert len(verdicts) == TESTS


@pytest.mark.parametrize(
    ("name", "tiles"),
    [("dense2k", 250), *(pytest.param(name, TILES, marks=pytest.mark.slow) for name in NAMES)],
)
def test_many_tiles_behind_axi(name, tiles, tmp_path):
    verdicts, log = run_bench(SOAK, name, tmp_path, tiles=tiles)
    assert [str(verdict) for verdict in verdicts if not verdict.passed] == []
    assert len(verdicts) == 1
    done = json.loads(next(line for line in log.splitlines() if line.startswith("{")))
    assert done["tiles"] >= tiles
    print(name, done)
