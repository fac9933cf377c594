"""Fp16Array: emitted Verilog against golden."""

import pytest
from nibbleforge.golden.fp16 import ARRAY, Fp16Config
from nibbleforge.golden.units import unit
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import verify
from nibbleforge.sim.verify.jams import check_jams
from nibbleforge.sim.verify.regress import Variation, variations
from nibbleforge.tb import tb_fp16

ODD_SHAPES = {  # few columns: every one is the same
    "one sum": Fp16Config(rows=4, columns=2, lanes=1, max_k=200),
    "three sums a lane": Fp16Config(
        rows=5, columns=1, lanes=2, multiply_latency=2, add_latency=3, max_k=200
    ),
    "longest pipelines": Fp16Config(
        rows=2, columns=2, lanes=8, multiply_latency=3, add_latency=4, max_k=200
    ),
    "one row": Fp16Config(rows=1, columns=2, lanes=1, add_latency=4, max_k=200),
}
OWN = [Variation("fp16", name, ARRAY, config) for name, config in ODD_SHAPES.items()]
PRESETS = variations(["fp16"], list(unit("fp16").presets))


@pytest.mark.quick("tiny")
@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_both_harnesses_equal_golden_and_each_other(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_harnesses(variation, model, seeds=[0, 1])
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 100


@pytest.mark.quick("tiny", "three sums a lane", deep=["one sum"])
@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_random_and_corner_operands(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_random(model, seeds=range(2, 12))
    corners = ARRAY.schedule(model.config, tb_fp16.corner_layer(model.config))
    for profile in ("none", "bursty"):
        checked += verify.check_schedule(model, corners, profile, label="corners")
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 500


@pytest.mark.quick("tiny", "three sums a lane", deep=["one sum"])
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
    [tb_fp16.SMALL[0], *(pytest.param(c, marks=pytest.mark.slow) for c in tb_fp16.SMALL[1:])],
    ids=lambda c: f"{c.lanes}-{c.add_latency}",
)
def test_every_number(config):
    checked = verify.check_exhaustive(Model(ARRAY, config, optimise="quick"))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.quick("three sums a lane", deep=["one sum"])
@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_lint(variation):
    assert not verify.check_lint(variation.design, variation.config)


@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_stimuli_hit_every_functional_bin(variation):
    assert not verify.missing_bins(variation, range(40))
