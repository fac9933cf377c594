"""AndaCompressed: emitted Verilog against golden."""

import pytest
from nibbleforge.golden.anda.compressed import COMPRESSED
from nibbleforge.golden.anda.config import AndaConfig
from nibbleforge.golden.units import unit
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import verify
from nibbleforge.sim.verify.regress import Variation
from nibbleforge.tb import tb_anda_compressed

CHAINED = unit("anda").presets["chained"]
ODD_SHAPES = [
    AndaConfig(group=16, rows=1, columns=1, fp_share=1, sign_plane="serial", output="anda"),
    AndaConfig(group=16, rows=5, columns=2, fp_share=2, asymmetric=True, output="anda"),
    AndaConfig(group=16, rows=8, columns=8, fp_share=1, add_latency=2, output="anda"),
]


def describe(config):
    return config.config_hash[:6]


def test_both_harnesses_equal_golden_and_each_other():
    model = Model(COMPRESSED, CHAINED, optimise="quick")
    variation = Variation("anda", "chained", COMPRESSED, CHAINED)
    checked = verify.check_harnesses(variation, model, seeds=[0])
    checked += verify.check_random(model, seeds=[1, 2])
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 10_000


@pytest.mark.first(1, deep=2)
@pytest.mark.parametrize("config", ODD_SHAPES, ids=describe)
def test_extreme_parameters(config):
    checked = verify.check_random(Model(COMPRESSED, config, optimise="quick"), seeds=range(3))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(tb_anda_compressed.SMALL[1], marks=pytest.mark.deep),
        pytest.param(tb_anda_compressed.SMALL[0], marks=pytest.mark.slow),
    ],
    ids=describe,
)
def test_every_product(config):
    checked = verify.check_exhaustive(Model(COMPRESSED, config, optimise="quick"))
    assert not checked.wrong, checked.wrong[0]


def test_stimuli_hit_every_functional_bin():
    assert not verify.missing_bins(Variation("", "", COMPRESSED, CHAINED), range(80))
