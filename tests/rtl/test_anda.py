"""AndaArray: emitted Verilog against golden."""

import pytest
from nibbleforge.golden.anda.config import AndaConfig
from nibbleforge.golden.anda.unit import ARRAY
from nibbleforge.golden.units import unit
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import verify
from nibbleforge.sim.verify.regress import variations
from nibbleforge.tb import tb_anda

PRESETS = list(unit("anda").presets)
VARIATIONS = variations(["anda"], PRESETS)
ODD_SHAPES = [
    AndaConfig(group=16, rows=1, columns=1, fp_share=1, weight_beat=1, max_mantissa=1),
    AndaConfig(
        group=16, rows=2, columns=4, sign_plane="serial", asymmetric=True, add_latency=4,
        weight_beat=1,
    ),
    AndaConfig(
        group=32, rows=1, columns=2, fp_share=1, weight_beat=32, tree="binary", add_latency=4,
        weight_registers="processor", output="fp16",
    ),
    AndaConfig(group=64, rows=5, columns=3, fp_share=3, weight_beat=64, convert_latency=3),
]  # fmt: skip


def describe(config):
    return config.config_hash[:6]


@pytest.mark.quick("tiny")
@pytest.mark.parametrize("variation", VARIATIONS, ids=lambda v: v.name)
def test_both_harnesses_equal_golden_and_each_other(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_harnesses(variation, model, seeds=[0])
    checked += verify.check_random(model, seeds=[1, 2])
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 500


@pytest.mark.first(1, deep=2)
@pytest.mark.parametrize("config", ODD_SHAPES, ids=describe)
def test_extreme_parameters(config):
    checked = verify.check_random(Model(ARRAY, config, optimise="quick"), seeds=range(5))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.first(1, deep=2)
@pytest.mark.parametrize("config", tb_anda.SMALL, ids=describe)
def test_every_product(config):
    checked = verify.check_exhaustive(Model(ARRAY, config, optimise="quick"))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.parametrize("mantissa", range(1, 17))
def test_every_mantissa(mantissa):
    config = AndaConfig(group=16, rows=3, columns=4, weight_beat=8, asymmetric=True)
    model = Model(ARRAY, config, optimise="quick")
    schedule = ARRAY.schedule(config, tb_anda.with_mantissa(config, mantissa, seed=mantissa))
    for profile in ("none", "random", "skewed"):
        checked = verify.check_schedule(model, schedule, profile, mantissa)
        assert not checked.wrong, checked.wrong[0]


@pytest.mark.parametrize("config", tb_anda.SMALL, ids=describe)
def test_stimuli_hit_every_functional_bin(config):
    variation = next(v for v in VARIATIONS if v.preset == "tiny")
    for one in (config, variation.config):
        found = verify.missing_bins(type(variation)("", "", ARRAY, one), range(80))
        assert not found
