"""Dequantizer: emitted Verilog against golden."""

import pytest
from nibbleforge.golden.dequantizer import DEQUANTIZER, DequantizerConfig
from nibbleforge.golden.units import unit
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import verify
from nibbleforge.sim.verify.regress import Variation, variations
from nibbleforge.tb import tb_dequantizer

SMALL = DequantizerConfig(rows=3, columns=2, acc_bits=20, multiply_latency=1, add_latency=2)
CONFIGS = {  # few columns: every one is the same
    "loop as long as a pass": SMALL.replace(add_latency=3),
    "two passes and a long loop": SMALL.replace(asymmetric=True, convert_latency=3, add_latency=4),
    "one row": SMALL.replace(rows=1, acc_bits=33),
    "several rows a beat": SMALL.replace(rows=8, rows_per_beat=2),
    "two passes": SMALL.replace(asymmetric=True, convert_latency=2),
    "rows hide the loop": SMALL.replace(rows=5, multiply_latency=3),
    "loop longer than a pass": SMALL.replace(add_latency=4, multiply_latency=2),
    "a beat of all rows": SMALL.replace(rows=4, rows_per_beat=4, add_latency=4),
    "two passes of one row": SMALL.replace(rows=1, asymmetric=True, add_latency=1),
}
OWN = [Variation("dequantizer", name, DEQUANTIZER, config) for name, config in CONFIGS.items()]
PRESETS = variations(["dequantizer"], list(unit("dequantizer").presets))


@pytest.mark.quick(*list(CONFIGS)[:1])
@pytest.mark.parametrize("variation", OWN + PRESETS, ids=lambda v: v.name)
def test_both_harnesses_equal_golden_and_each_other(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_harnesses(variation, model, seeds=[0, 1])
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 100


@pytest.mark.quick(*list(CONFIGS)[:2], deep=list(CONFIGS)[:5])
@pytest.mark.parametrize("variation", OWN + PRESETS, ids=lambda v: v.name)
def test_random_and_corner_operands(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_random(model, seeds=range(2, 20))
    corners = DEQUANTIZER.schedule(variation.config, tb_dequantizer.corner_sums(variation.config))
    checked += verify.check_schedule(model, corners, label="corners")
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 500


@pytest.mark.first(1, deep=2)
@pytest.mark.parametrize("config", tb_dequantizer.SMALL, ids=lambda c: f"passes-{c.passes}")
def test_every_scale(config):
    checked = verify.check_exhaustive(Model(DEQUANTIZER, config, optimise="quick"))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.quick(*list(CONFIGS)[:2], deep=[v.preset for v in OWN + PRESETS])
@pytest.mark.parametrize("variation", OWN + PRESETS, ids=lambda v: v.name)
def test_lint(variation):
    assert not verify.check_lint(variation.design, variation.config)


@pytest.mark.parametrize("variation", PRESETS, ids=lambda v: v.name)
def test_stimuli_hit_every_functional_bin(variation):
    assert not verify.missing_bins(variation, range(40))
