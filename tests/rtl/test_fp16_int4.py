"""Fp16Int4Array: emitted Verilog against golden."""

import pytest
from nibbleforge.golden.fp16_int4 import ARRAY, Fp16Int4Config
from nibbleforge.golden.units import unit
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import verify
from nibbleforge.sim.verify.jams import check_jams
from nibbleforge.sim.verify.regress import Variation, variations
from nibbleforge.tb import tb_fp16_int4

ODD_SHAPES = {
    "one of each": Fp16Int4Config(
        group=16, rows=1, columns=1, fp_share=1, lanes=1, tree="operators", mantissa=4
    ),
    "a group a beat": Fp16Int4Config(group=16, rows=2, columns=2, fp_share=1, lanes=16),
    "two words": Fp16Int4Config(group=16, rows=2, columns=2, fp_share=2, lanes=8, mantissa=8),
    "post-processors last": Fp16Int4Config(
        group=16, rows=2, columns=4, fp_share=4, lanes=8, asymmetric=True, add_latency=4
    ),
    "longest mantissas": Fp16Int4Config(
        group=64, rows=2, columns=2, fp_share=2, lanes=8, mantissa=16, asymmetric=True
    ),
}
OWN = [Variation("fp16_int4", name, ARRAY, config) for name, config in ODD_SHAPES.items()]
PRESETS = variations(["fp16_int4"], list(unit("fp16_int4").presets))


def named(name):
    return next(v for v in PRESETS + OWN if v.preset == name)


@pytest.mark.quick("tiny")
@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_both_harnesses_equal_golden_and_each_other(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_harnesses(variation, model, seeds=[0, 1])
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 20


@pytest.mark.quick("tiny", "a group a beat", deep=["one of each"])
@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_random_and_corner_operands(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_random(model, seeds=range(2, 10))
    corners = ARRAY.schedule(model.config, tb_fp16_int4.ARRAY.corners(model.config))
    for profile in ("none", "bursty"):
        checked += verify.check_schedule(model, corners, profile, label="corners")
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 200


@pytest.mark.first(1, deep=3)
@pytest.mark.parametrize("name", ["tiny", "a group a beat", "post-processors last"])
def test_waiting_cycles_are_counted_one_for_one(name):
    variation = named(name)
    model = Model(variation.design, variation.config, optimise="quick")
    for seed in range(2):
        found = check_jams(
            model.design, model.config, lambda s, g: model.run(s.beats, gates=g).seen, seed
        )
        assert not found, found[0]


@pytest.mark.first(0, deep=1)
@pytest.mark.parametrize("config", tb_fp16_int4.SMALL, ids=lambda c: c.tree)
def test_every_product(config):
    checked = verify.check_exhaustive(Model(ARRAY, config, optimise="quick"))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.first(1, deep=3)
@pytest.mark.parametrize("name", ["tiny", "one of each", "a group a beat", "longest mantissas"])
def test_lint(name):
    variation = named(name)
    assert not verify.check_lint(variation.design, variation.config)


@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_stimuli_hit_every_functional_bin(variation):
    assert not verify.missing_bins(variation, range(80))
