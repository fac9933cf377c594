"""DenseArray: emitted Verilog against golden."""

from itertools import product

import pytest
from nibbleforge.golden.dense import ARRAY, DenseConfig, design
from nibbleforge.golden.units import unit
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import verify
from nibbleforge.sim.verify.regress import variations
from nibbleforge.tb import tb_dense

PRESETS = list(unit("dense2k").presets)
VARIATIONS = variations(["dense", "dense2k"], PRESETS)


def describe(config):
    kind = f"{config.passes}-{config.recode}-{config.lanes}-{config.tree}"
    return f"k{config.k}-w{config.weight_bits}a{config.bits_per_activation}-{kind}"


@pytest.mark.quick("tiny")
@pytest.mark.parametrize("variation", VARIATIONS, ids=lambda v: v.name)
def test_both_harnesses_equal_golden_and_each_other(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_harnesses(variation, model, seeds=[0, 1])
    checked += verify.check_random(model, seeds=range(2, 10))
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 1_000


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(
            config, marks=pytest.mark.slow if config.columns > 4 else (), id=describe(config)
        )
        for config in tb_dense.SMALL
    ],
)
def test_every_product(config):
    checked = verify.check_exhaustive(Model(ARRAY, config, optimise="quick"))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.first(4, deep=12)
@pytest.mark.parametrize(
    ("lanes", "passes", "tree"),
    list(product([8, 2, 16, 6], [1, 2], ["pair_sums", "packed", "carry_save", "operators"])),
)
def test_lanes(lanes, passes, tree):
    config = DenseConfig(rows=3, columns=5, max_k=600, passes=passes, lanes=lanes, tree=tree)
    model = Model(design(config), config, optimise="quick")
    checked = verify.check_random(model, seeds=range(3))
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 900


@pytest.mark.parametrize("variation", VARIATIONS, ids=lambda v: v.name)
def test_stimuli_hit_every_functional_bin(variation):
    assert not verify.missing_bins(variation, range(40))
