"""Cores: emitted Verilog against golden, in both harnesses."""

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.soc.unit import CoreRun
from nibbleforge.golden.units import UNITS, core_name, unit
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import verify
from nibbleforge.sim.verify.regress import variations
from nibbleforge.tb.stimuli import stimuli_of
from nibbleforge.tb.tb_reglu import drawn

PRESETS = ("tiny", "fpga", "chained", "scatter", "mask", "asymmetric")
VARIATIONS = variations([core_name(name) for name in UNITS], PRESETS)
PROMPT, DEEP, SLOW = (), pytest.mark.deep, pytest.mark.slow
TINY = {
    "core_dense2k_array": PROMPT,
    "core_reglu_ffn": PROMPT,
    "core_bitmap_decoder": PROMPT,
    "core_bitmap_encoder": DEEP,
}
"""Of designs in their preset tiny; all others are slow."""
HARNESS_SEED = 1  # few cycles
RANDOM = {
    "bitmap": SLOW,
    "compressor": DEEP,
    "dense2k": PROMPT,
    "dequantizer": PROMPT,
    "nm": SLOW,
    "reglu": SLOW,
    "sparqle": DEEP,
}
"""Of the first seed; all others are slow."""
SEEDS = 8


@pytest.mark.parametrize(
    "variation",
    [
        pytest.param(v, marks=TINY.get(v.design.name, SLOW) if v.preset == "tiny" else SLOW)
        for v in VARIATIONS
    ],
    ids=lambda variation: variation.name,
)
def test_both_harnesses_equal_golden_and_each_other(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_harnesses(variation, model, seeds=[HARNESS_SEED])
    checked += verify.check_random(model, seeds=range(2, 10))
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 1_000


@pytest.mark.parametrize(
    "variation", [v for v in VARIATIONS if v.preset == "tiny"], ids=lambda variation: variation.name
)
def test_stimuli_hit_every_functional_bin(variation):
    assert not verify.missing_bins(variation, range(30))


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        pytest.param(name, seed, marks=SLOW if seed else mark)
        for name, mark in RANDOM.items()
        for seed in range(SEEDS)
    ],
)
def test_random_cores(name, seed):
    """Any unit, any bus, buffers of any size."""
    rng = np.random.default_rng(seed)
    owner = unit(core_name(name))
    designs = owner.designs(owner.presets["tiny"])
    design = designs[seed % len(designs)]
    stimuli = stimuli_of(design)
    while True:
        try:
            config = stimuli.config(rng)
            if design not in owner.designs(config):
                continue
            for _ in range(8):
                design.schedule(config, stimuli.random(config, rng))
            break
        except UserError:  # an illegal draw, or buffers too small for what is to run
            continue
    model = Model(design, config, optimise="quick")
    checked = verify.check_random(model, seeds=range(4))
    assert not checked.wrong, (config, checked.wrong[0])


@pytest.mark.parametrize(
    ("values", "latency"),
    [
        pytest.param({"burst": 16, "bus_width": 64, "rows_ahead": 2}, [1, 90, 7], marks=DEEP),
        pytest.param({"burst": 256}, [25], marks=SLOW),
    ],
)
def test_long_rows_from_memory_in_every_cycle(values, latency):
    """Rows of many bursts and pages, without stalls: every beat and event in its cycle."""
    owner = unit(core_name("reglu"))
    config = owner.presets["fpga"].replace(**values)
    (design,) = owner.designs(config)
    model = Model(design, config, optimise="quick")
    operands = drawn(config.unit, np.random.default_rng(1), 11, (1000, 90, 60), 0.4)
    run = CoreRun(operands, address=4096 - 24, latency=np.array(latency))
    checked = verify.check_schedule(model, design.schedule(config, run))
    assert checked.wrong == []
