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

HERE = Path(__file__).parent
NAMES = ("anda", "dense", "dense2k", "figna", "fp16", "nm", "reglu", "sparqle")
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
        bench,
        generated.name,
        report,
        {"NIBBLEFORGE_AXI": json.dumps(job), "COCOTB_LOG_LEVEL": "ERROR"},
    )
    environment["PYTHONPATH"] += os.pathsep + str(HERE)
    with Workers(1) as workers:
        log = workers.run([str(executable)], environment, cwd=folder, check=False)
    return cocotb.read_verdicts(report, log), log


@pytest.mark.parametrize(
    ("bench", "name"),
    [("axi_bench", "dense2k"), ("axi_bench", "sparqle"), ("axi_bench", "reglu"),
     ("memory_bench", "reglu")],
)  # fmt: skip
def test_core_behind_axi(bench, name, tmp_path):
    verdicts, _ = run_bench(bench, name, tmp_path)
    assert [str(verdict) for verdict in verdicts if not verdict.passed] == []
    tests = re.findall(r"^@cocotb.test", (HERE / f"{bench}.py").read_text(), re.MULTILINE)
    assert len(verdicts) == len(tests) + 2  # one of them runs three times


@pytest.mark.parametrize(
    ("name", "tiles"),
    [("dense2k", 250), *(pytest.param(name, TILES, marks=pytest.mark.slow) for name in NAMES)],
)
def test_many_tiles_behind_axi(name, tiles, tmp_path):
    verdicts, log = run_bench("axi_soak", name, tmp_path, tiles=tiles)
    assert [str(verdict) for verdict in verdicts if not verdict.passed] == []
    assert len(verdicts) == 1
    done = json.loads(next(line for line in log.splitlines() if line.startswith("{")))
    assert done["tiles"] >= tiles
    print(name, done)
