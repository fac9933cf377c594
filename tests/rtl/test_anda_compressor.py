"""Compressor of the Anda format: emitted Verilog against golden."""

import pytest
from nibbleforge.golden.anda.compressor import COMPRESSOR, CompressorConfig
from nibbleforge.golden.units import unit
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import verify
from nibbleforge.sim.verify.jams import BEATS, check_jams
from nibbleforge.sim.verify.regress import Variation, variations
from nibbleforge.tb import tb_anda_compressor

CONFIGS = {
    "rows of an array": CompressorConfig(group=16, lanes=4, lanes_per_beat=1, beat=8),
    "one beat": CompressorConfig(group=16, lanes=2, lanes_per_beat=2),
    "whole groups, lane after lane": CompressorConfig(group=32, lanes=3, lanes_per_beat=1, beat=32),
    "one element a beat": CompressorConfig(group=16, lanes=1, lanes_per_beat=1, beat=1),
    "blocks of lanes": CompressorConfig(group=64, lanes=6, lanes_per_beat=2, beat=16),
}
OWN = [Variation("compressor", name, COMPRESSOR, config) for name, config in CONFIGS.items()]
PRESETS = variations(["compressor"], list(unit("compressor").presets))
WAITING = [v for v in OWN + PRESETS if v.config.beats > max(BEATS)]
"""In all others the input would be closed between groups, where nothing waits for it."""


@pytest.mark.quick(*list(CONFIGS)[:1])
@pytest.mark.parametrize("variation", OWN + PRESETS, ids=lambda v: v.name)
def test_both_harnesses_equal_golden_and_each_other(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_harnesses(variation, model, seeds=[0, 1])
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 10_000


@pytest.mark.quick(*list(CONFIGS)[:1], deep=list(CONFIGS)[:3])
@pytest.mark.parametrize("variation", OWN + PRESETS, ids=lambda v: v.name)
def test_random_and_corner_operands(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_random(model, seeds=range(2, 20))
    corners = COMPRESSOR.schedule(
        variation.config, tb_anda_compressor.corner_groups(variation.config)
    )
    for profile in ("none", "random"):
        checked += verify.check_schedule(model, corners, profile, label="corners")
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 20_000


@pytest.mark.quick(*list(CONFIGS)[:1])
@pytest.mark.parametrize("variation", WAITING, ids=lambda v: v.name)
def test_waiting_is_counted_where_it_happens(variation):
    model = Model(variation.design, variation.config, optimise="quick")

    def play(schedule, stalls):
        return model.run(schedule.beats, gates=stalls).seen

    for seed in range(3):
        assert check_jams(variation.design, variation.config, play, seed) == []


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(tb_anda_compressor.SMALL[0], id="group-16", marks=pytest.mark.slow),
        pytest.param(tb_anda_compressor.SMALL[1], id="group-64", marks=pytest.mark.deep),
    ],
)
def test_every_pattern_with_every_mantissa(config):
    checked = verify.check_exhaustive(Model(COMPRESSOR, config, optimise="quick"))
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 10_000_000


@pytest.mark.quick(*list(CONFIGS)[:1], deep=CONFIGS)
@pytest.mark.parametrize("variation", OWN, ids=lambda v: v.name)
def test_lint(variation):
    assert not verify.check_lint(variation.design, variation.config)


@pytest.mark.parametrize("variation", OWN + PRESETS, ids=lambda v: v.name)
def test_stimuli_hit_every_functional_bin(variation):
    assert not verify.missing_bins(variation, range(40))
