"""Cores: emitted Verilog against golden, in both harnesses."""

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.soc.unit import CoreRun, core_design
from nibbleforge.golden.units import UNITS, core_name, unit
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import verify
from nibbleforge.sim.verify.regress import variations
from nibbleforge.tb.stimuli import stimuli_of
from nibbleforge.tb.tb_reglu import drawn

NAMES = ("anda", "dense", "dense2k", "figna", "fp16", "nm", "reglu", "sparqle")
VARIATIONS = variations([core_name(name) for name in NAMES], ["tiny", "fpga", "chained"])
QUICK = ("core/dense2k/tiny", "core/reglu/tiny", "core/sparqle/tiny")


def cases(variations):
    slow = pytest.mark.slow
    return [
        pytest.param(v, id=v.name, marks=() if v.name.startswith(QUICK) else slow)
        for v in variations
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
@pytest.mark.parametrize("name", ["dense2k", pytest.param("sparqle", marks=pytest.mark.slow),
                                  pytest.param("nm", marks=pytest.mark.slow), "reglu"])  # fmt: skip
def test_random_cores(name, seed):
    """Any unit, any bus, buffers of any size."""
    rng = np.random.default_rng(seed)
    owner = UNITS[name]
    design = core_design(owner.designs(owner.presets["tiny"])[0])
    stimuli = stimuli_of(design)
    while True:
        try:
            config = stimuli.config(rng)
            for _ in range(8):
                design.schedule(config, stimuli.random(config, rng))
            break
        except UserError:  # an illegal draw, or buffers too small for the layers
            continue
    model = Model(design, config, optimise="quick")
    checked = verify.check_random(model, seeds=range(4))
    assert not checked.wrong, (config, checked.wrong[0])


@pytest.mark.parametrize(
    ("values", "latency"),
    [({"burst": 16}, [25]), ({"burst": 256, "bus_width": 64, "rows_ahead": 2}, [1, 90, 7])],
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
