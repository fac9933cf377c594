"""A core with AXI names, driven by cocotbext-axi."""

import json
import os
import re
from pathlib import Path

import pytest
from nibbleforge.golden.soc.registers import is_stream
from nibbleforge.golden.units import UNITS, core_name, unit
from nibbleforge.hw.soc.generate import generate_core
from nibbleforge.sim.run import cocotb, verilator
from nibbleforge.sim.tools.workers import Workers

HERE = Path(__file__).parent
DESIGNS = [
    (name, preset, number)
    for name, owner in UNITS.items()
    for preset in ("tiny", "chained")
    if preset in owner.presets
    for number in range(len(owner.designs(owner.presets[preset])))
]
MARKS = {
    ("axi", "dense2k", "tiny", 0): (),
    ("stream", "bitmap", "tiny", 0): (),
    ("memory", "reglu", "tiny", 0): pytest.mark.deep,
}
"""Of jobs that do not wait for the soak."""
TILES = 10_000
FEW = 250


def run_bench(bench, name, preset, number, folder, **options):
    """Verdicts of a bench on the core around a unit, and what it printed."""
    owner = unit(core_name(name))
    config = owner.presets[preset]
    design = owner.designs(config)[number]
    generated = generate_core(design, config, name)
    source = generated.write(folder)[0]
    executable = verilator.build_cocotb([source], generated.name)
    report = folder / "results.xml"
    config_json = config.model_dump(mode="json")
    job = {"unit": owner.name, "design": design.name, "config": config_json, "seed": 3, **options}
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


def bench_of(name, preset, number):
    """Which benches a core needs: those of streams, or those of layers behind AXI."""
    owner = UNITS[name]
    config = owner.presets[preset]
    return "stream" if is_stream(owner.designs(config)[number].ports(config)) else "axi"


@pytest.mark.parametrize(
    ("bench", "name", "preset", "number"),
    [
        pytest.param(*job, marks=MARKS.get(job, pytest.mark.slow))
        for job in (*((bench_of(*of), *of) for of in DESIGNS), ("memory", "reglu", "tiny", 0))
    ],
)
def test_core_behind_axi(bench, name, preset, number, tmp_path):
    verdicts, _ = run_bench(f"{bench}_bench", name, preset, number, tmp_path)
    assert [str(verdict) for verdict in verdicts if not verdict.passed] == []
    tests = re.findall(r"^@cocotb.test", (HERE / f"{bench}_bench.py").read_text(), re.MULTILINE)
    assert len(verdicts) == len(tests) + 2  # one of them runs three times


@pytest.mark.parametrize(
    ("tiles", "name", "preset", "number"),
    [pytest.param(FEW, "dense2k", "tiny", 0, marks=pytest.mark.deep),
     *(pytest.param(TILES, *of, marks=pytest.mark.slow) for of in DESIGNS)],
)  # fmt: skip
def test_many_tiles_behind_axi(tiles, name, preset, number, tmp_path, record_testsuite_property):
    bench = f"{bench_of(name, preset, number)}_soak"
    verdicts, log = run_bench(bench, name, preset, number, tmp_path, tiles=tiles)
    assert [str(verdict) for verdict in verdicts if not verdict.passed] == []
    assert len(verdicts) == 1
    done = next(line for line in log.splitlines() if line.startswith("{"))
    assert json.loads(done)["tiles"] >= tiles
    design = UNITS[name].designs(UNITS[name].presets[preset])[number]
    record_testsuite_property(design.name, done)
