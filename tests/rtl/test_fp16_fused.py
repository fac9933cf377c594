"""Fp16FusedArray: emitted Verilog against golden."""

import pytest
from nibbleforge.golden.fp16_fused import ARRAY, Fp16FusedConfig
from nibbleforge.golden.units import unit
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import verify
from nibbleforge.sim.verify.jams import check_jams
from nibbleforge.sim.verify.regress import Variation, variations
from nibbleforge.tb import tb_fp16_fused

ODD_SHAPES = {  # few columns: every one is the same
    "one lane": Fp16FusedConfig(rows=4, columns=2, lanes=1, max_k=200),
    "operators": Fp16FusedConfig(
        rows=5, columns=1, lanes=8, multiplier="operators", convert_latency=2, max_k=200
    ),
    "most guard bits": Fp16FusedConfig(rows=2, columns=2, lanes=2, guard=9, max_k=1 << 20),
    "one row, no guard bits": Fp16FusedConfig(rows=1, columns=2, lanes=16, guard=0, max_k=70),
}
OWN = [Variation("fp16_fused", name, ARRAY, config) for name, config in ODD_SHAPES.items()]
PRESETS = variations(["fp16_fused"], list(unit("fp16_fused").presets))


@pytest.mark.quick("tiny")
@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_both_harnesses_equal_golden_and_each_other(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_harnesses(variation, model, seeds=[0, 1])
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 100


@pytest.mark.quick("tiny", "operators", deep=["one lane"])
@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_random_and_corner_operands(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_random(model, seeds=range(2, 12))
    corners = ARRAY.schedule(model.config, tb_fp16_fused.corner_layer(model.config))
    for profile in ("none", "bursty"):
        checked += verify.check_schedule(model, corners, profile, label="corners")
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 500


@pytest.mark.quick("tiny", "operators", deep=["one lane"])
@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_waiting_cycles_are_counted_one_for_one(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    for seed in range(2):
        found = check_jams(
            model.design, model.config, lambda s, g: model.run(s.beats, gates=g).seen, seed
        )
        assert not found, found[0]


@pytest.mark.parametrize(
    "config",
    [
        tb_fp16_fused.SMALL[0],
        *(pytest.param(c, marks=pytest.mark.slow) for c in tb_fp16_fused.SMALL[1:]),
    ],
    ids=lambda c: f"{c.lanes}-{c.multiplier}",
)
def test_every_number(config):
    checked = verify.check_exhaustive(Model(ARRAY, config, optimise="quick"))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.quick("operators", deep=["one lane"])
@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_lint(variation):
    assert not verify.check_lint(variation.design, variation.config)


@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_stimuli_hit_every_functional_bin(variation):
    assert not verify.missing_bins(variation, range(40))
