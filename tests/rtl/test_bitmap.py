"""BitmapDecoder and BitmapEncoder: emitted Verilog against golden."""

import pytest
from nibbleforge.golden import bitmap
from nibbleforge.golden.bitmap import BitmapConfig
from nibbleforge.golden.units import unit
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import verify
from nibbleforge.sim.verify.regress import variations

PRESETS = list(unit("bitmap").presets)
VARIATIONS = variations(["bitmap"], PRESETS)

EXHAUSTIVE = [
    (bitmap.DECODER, BitmapConfig(group=16, beat=4, width=3)),
    (bitmap.ENCODER, BitmapConfig(group=16, beat=4)),
    (bitmap.DECODER, BitmapConfig(group=16, beat=4, mode="scatter")),
    (bitmap.DECODER, BitmapConfig(group=16, value_width=0, width=4)),
]
ODD_SHAPES = [
    (bitmap.DECODER, BitmapConfig(group=4, beat=1, value_width=3, mode="scatter")),
    (bitmap.ENCODER, BitmapConfig(group=4, beat=1, value_width=1)),
    (bitmap.DECODER, BitmapConfig(group=4, beat=1, value_width=1)),
    (bitmap.DECODER, BitmapConfig(group=128, beat=64, width=8, value_width=16)),
    (bitmap.DECODER, BitmapConfig(group=8, beat=8, value_width=2, mode="scatter")),
    (bitmap.ENCODER, BitmapConfig(group=8, beat=8, value_width=9)),
]


def describe(case):
    return f"{case[0].name}-{case[1].config_hash[:6]}"


@pytest.mark.quick("tiny")
@pytest.mark.parametrize("variation", VARIATIONS, ids=lambda v: v.name)
def test_both_harnesses_equal_golden_and_each_other(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_harnesses(variation, model, seeds=[0, 1])
    checked += verify.check_random(model, seeds=range(2, 5))
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 10_000


@pytest.mark.first(2, deep=len(EXHAUSTIVE))
@pytest.mark.parametrize("case", EXHAUSTIVE, ids=describe)
def test_every_bitmap_of_16_elements(case):
    checked = verify.check_exhaustive(Model(*case, optimise="quick"))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.first(2, deep=len(ODD_SHAPES))
@pytest.mark.parametrize("case", ODD_SHAPES, ids=describe)
def test_extreme_parameters(case):
    checked = verify.check_random(Model(*case, optimise="quick"), seeds=range(3))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.parametrize("variation", VARIATIONS, ids=lambda v: v.name)
def test_stimuli_hit_every_functional_bin(variation):
    assert not verify.missing_bins(variation, range(20))
