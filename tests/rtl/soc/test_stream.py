"""Cores around units of plain streams: emitted Verilog against golden, and behind AXI."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.soc.stream import stream_core_design
from nibbleforge.golden.units import UNITS, core_name, unit
from nibbleforge.hw.soc.generate import generate_core
from nibbleforge.sim.run import cocotb, verilator
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.tools.workers import Workers
from nibbleforge.sim.verify import verify
from nibbleforge.sim.verify.regress import variations
from nibbleforge.tb.stimuli import stimuli_of

NAMES = ("bitmap", "compressor", "dequantizer")
PRESETS = ("tiny", "fpga", "scatter", "mask", "asymmetric")
VARIATIONS = variations([core_name(name) for name in NAMES], PRESETS)
BENCH = Path(__file__).with_name("stream_bench.py")
TESTS = len(re.findall(r"^@cocotb.test", BENCH.read_text(), re.MULTILINE)) + 2


def cases(variations):
    slow = pytest.mark.slow
    return [
        pytest.param(v, id=v.name, marks=() if v.preset == "tiny" else slow) for v in variations
    ]


@pytest.mark.parametrize("variation", cases(VARIATIONS))
def test_both_harnesses_equal_golden_and_each_other(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_harnesses(variation, model, seeds=[0, 1])
    checked += verify.check_random(model, seeds=range(2, 10))
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 1_000


@pytest.mark.parametrize("variation", cases(v for v in VARIATIONS if v.preset == "tiny"))
def test_stimuli_hit_every_functional_bin(variation):
    assert not verify.missing_bins(variation, range(60))


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in range(1, 8))]
)
@pytest.mark.parametrize("name", NAMES)
def test_random_cores(name, seed):
    """Any unit, any bus, buffers of any size."""
    rng = np.random.default_rng(seed)
    owner = UNITS[name]
    designs = owner.designs(owner.presets["tiny"])
    design = stream_core_design(designs[seed % len(designs)])
    stimuli = stimuli_of(design)
    while True:
        try:
            config = stimuli.config(rng)
            if design.inner not in owner.designs(config.unit):
                continue
            for trial in range(8):
                design.schedule(config, stimuli.random(config, np.random.default_rng(trial)))
            break
        except UserError:  # an illegal draw, or buffers too small for a piece
            continue
    model = Model(design, config, optimise="quick")
    checked = verify.check_random(model, seeds=range(4))
    assert not checked.wrong, (config, checked.wrong[0])


@pytest.mark.parametrize(
    ("name", "number"),
    [("bitmap", 0), *(pytest.param(*which, marks=pytest.mark.slow) for which in
                      (("bitmap", 1), ("compressor", 0), ("dequantizer", 0)))],
)  # fmt: skip
def test_core_behind_axi(name, number, tmp_path):
    owner = unit(core_name(name))
    config = owner.presets["tiny"]
    design = owner.designs(config)[number]
    generated = generate_core(design, config, name)
    source = generated.write(tmp_path)[0]
    executable = verilator.build_cocotb([source], generated.name)
    report = tmp_path / "results.xml"
    config_json = config.model_dump(mode="json")
    job = {"unit": owner.name, "design": design.name, "config": config_json, "seed": 3}
    environment = verilator.cocotb_environment(
        BENCH.stem,
        generated.name,
        report,
        {"NIBBLEFORGE_AXI": json.dumps(job), "COCOTB_LOG_LEVEL": "WARNING"},
    )
    environment["PYTHONPATH"] += os.pathsep + str(BENCH.parent)
    with Workers(1) as workers:
        log = workers.run([str(executable)], environment, cwd=tmp_path, check=False)
    verdicts = cocotb.read_verdicts(report, log)
    assert [str(verdict) for verdict in verdicts if not verdict.passed] == []
    assert len(verdicts) == TESTS
