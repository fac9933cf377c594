"""Arrays joined to the dequantizer: emitted Verilog against golden."""

import numpy as np
import pytest
from nibbleforge.golden import dense
from nibbleforge.golden.grouped import GroupedLayer, GroupScales
from nibbleforge.golden.sparqle import schedule as sparqle_schedule
from nibbleforge.golden.sparqle import unit as sparqle
from nibbleforge.golden.sparqle.config import SparqleConfig
from nibbleforge.golden.units import unit
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import verify
from nibbleforge.sim.verify.regress import Variation
from nibbleforge.tb import tb_grouped, tb_sparqle

VARIATIONS = [
    Variation("dense", "q4_0", dense.GROUPED, unit("dense").presets["q4_0"]),
    Variation("dense2k", "q4_0", dense.GROUPED_2K, unit("dense2k").presets["q4_0"]),
    Variation("sparqle", "q4_1", sparqle.GROUPED, unit("sparqle").presets["q4_1"]),
]
SMALL = [
    (dense.GROUPED, tb_grouped.SMALL_DENSE[0]),
    (sparqle.GROUPED, tb_grouped.SMALL_SPARQLE[1]),
    (dense.GROUPED, tb_grouped.SMALL_DENSE[1]),
    (sparqle.GROUPED, tb_grouped.SMALL_SPARQLE[0]),
]
ODD_SHAPES = [
    (dense.GROUPED, {"rows": 1, "columns": 2, "passes": 1,
                     "dequant": GroupScales(weight_group=4, add_latency=4)}),
    (sparqle.GROUPED, {"rows": 1, "columns": 2, "group": 4, "chunk": 4, "beat": 1,
                       "dequant": GroupScales(weight_group=4, add_latency=4)}),
    (dense.GROUPED, {"rows": 5, "columns": 1, "passes": 2, "k": 8,
                     "dequant": GroupScales(weight_group=4)}),
    (sparqle.GROUPED, {"rows": 4, "columns": 2, "group": 8, "chunk": 4, "sharing": 2,
                       "dequant": GroupScales(weight_group=8, add_latency=4), "asymmetric": True}),
]  # fmt: skip
CONFIGS = {dense.GROUPED.name: dense.DenseConfig, sparqle.GROUPED.name: SparqleConfig}


def describe(value):
    return value.config_hash[:6] if hasattr(value, "config_hash") else getattr(value, "name", None)


@pytest.mark.slow
@pytest.mark.parametrize("variation", VARIATIONS, ids=lambda v: v.name)
def test_both_harnesses_equal_golden_and_each_other(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_harnesses(variation, model, seeds=[0])
    checked += verify.check_random(model, seeds=[1])
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 1_000


@pytest.mark.first(2, deep=3)
@pytest.mark.parametrize(("design", "values"), ODD_SHAPES)
def test_extreme_parameters(design, values):
    config = CONFIGS[design.name](**values, max_k=3 * values["dequant"].weight_group)
    checked = verify.check_random(Model(design, config, optimise="quick"), seeds=range(5))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.first(2, deep=len(SMALL))
@pytest.mark.parametrize(("design", "config"), SMALL, ids=describe)
def test_every_product(design, config):
    checked = verify.check_exhaustive(Model(design, config, optimise="quick"))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.parametrize(("design", "config"), SMALL, ids=describe)
def test_stimuli_hit_every_functional_bin(design, config):
    config = config.replace(max_k=2 * config.weight_group)
    assert not verify.missing_bins(Variation("", "", design, config), range(60))


@pytest.mark.parametrize(("described", "wrong"), [(8, True), (16, False), (24, True)])
def test_a_bitmap_of_another_length_is_reported_behind_the_dequantizer(described, wrong):
    config = SparqleConfig(
        rows=4, columns=2, group=8, chunk=8, beat=2, dequant=GroupScales(weight_group=16), max_k=64
    )

    def layer(features):
        drawn = tb_sparqle.layer(config, np.random.default_rng(0), 4, 2 * features, 2)
        return GroupedLayer(drawn.x, drawn.w, np.ones((2, 2), np.float16))

    beats = sparqle.GROUPED.traffic(config, layer(config.weight_group))
    other = sparqle_schedule.traffic(config.array.replace(max_k=64), layer(described))
    beats |= {name: other[name] for name in ("bitmap_0", "values_0")}
    seen = Model(sparqle.GROUPED, config, optimise="quick").run(beats).seen
    y = sparqle.GROUPED.ports(config)[-1].unpack(seen.words["y"])
    assert y["error"].tolist() == [wrong] * 4
