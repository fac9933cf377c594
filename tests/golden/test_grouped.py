"""Arrays joined to the dequantizer: values against scalar arithmetic, counts against schedules."""

import re

import numpy as np
import pytest
from nibbleforge.golden import dense, grouped
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.tiling import Tiling
from nibbleforge.golden.contract.workload import PackedBitmap, Workload
from nibbleforge.golden.dense import DenseConfig
from nibbleforge.golden.grouped import GroupedLayer, GroupScales
from nibbleforge.golden.sparqle import format as hybrid
from nibbleforge.golden.sparqle import timing as sparqle_timing
from nibbleforge.golden.sparqle import unit as sparqle
from nibbleforge.golden.sparqle.config import SparqleConfig, SparqleSettings
from nibbleforge.tb.stimuli import stimuli_of

DESIGNS = {design.name: design for design in (dense.GROUPED, sparqle.GROUPED)}


def drawn(name, seed):
    rng = np.random.default_rng(seed)
    stimuli = stimuli_of(DESIGNS[name])
    while True:
        try:
            config = stimuli.config(rng)
        except UserError:
            continue
        return config, stimuli.random(config, rng)


def scalar_result(config, layer, token, output):
    """One result by numpy scalars, every operation rounded once."""
    total = np.float32(0)
    for g in range(layer.groups):
        part = slice(g * config.weight_group, (g + 1) * config.weight_group)
        x, w = layer.x[token, part].astype(object), layer.w[output, part].astype(object)
        d = np.float32(layer.d[output, g])
        if not config.dequantizer.asymmetric:
            total = total + np.float32(int((x * w).sum())) * d
            continue
        total = total + np.float32(int((x * (w + 8)).sum())) * d
        total = total + np.float32(int(x.sum())) * np.float32(layer.minimum[output, g])
    return total


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("seed", range(20))
def test_results_equal_scalar_arithmetic(name, seed):
    config, layer = drawn(name, seed)
    y = grouped.compute(config, layer)
    assert y.shape == (len(layer.x), len(layer.w))
    for token, output in np.ndindex(y.shape):
        expected = scalar_result(config, layer, token, output)
        assert y[token, output].tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("seed", range(60))
def test_counts_equal_the_schedule(name, seed):
    config, layer = drawn(name, seed)
    detailed = DESIGNS[name].schedule(config, layer).counts()
    shape = (*layer.x.shape, len(layer.w))
    if isinstance(config, DenseConfig):
        quick = dense.cycles(config, Workload(*shape))
    else:
        profile = PackedBitmap(hybrid.encode(config.format, layer.x).bitmap)
        settings = SparqleSettings(sort=False)
        quick = sparqle_timing.cycles(config, Workload(*shape, settings, profile=profile))
    assert quick.cycles == detailed.cycles
    assert quick.events == detailed.events


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("seed", range(20))
def test_the_dequantizer_adds_only_its_latency_and_passes(name, seed):
    config, layer = drawn(name, seed)
    design = DESIGNS[name]
    array = dense.ARRAY if name == "dense_grouped" else sparqle.ARRAY
    alone = array.schedule(config.array, layer)
    together = design.schedule(config, layer)
    unit = config.dequantizer
    extra = (unit.passes - 1) * unit.period + unit.latency
    assert together.counts().cycles == alone.counts().cycles + extra
    for port in design.ports(config):
        if port.name in alone.cycles and port.direction == "in":
            np.testing.assert_array_equal(together.cycles[port.name], alone.cycles[port.name])


def test_groups_are_the_innermost_loop():
    tiling = Tiling(tokens=3, outputs=3, rows=2, columns=2, groups=2)
    assert tiling.order.tolist() == [
        [0, 0], [1, 1], [0, 2], [1, 3], [2, 0], [3, 1], [2, 2], [3, 3],
    ]  # fmt: skip
    x = np.arange(3 * 8).reshape(3, 8)
    blocks = tiling.blocks_of_tokens(x)
    np.testing.assert_array_equal(blocks[1], x[:2, 4:])
    np.testing.assert_array_equal(blocks[2], [x[2, :4], np.zeros(4)])
    sums = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    tiles = tiling.split_result(sums)
    np.testing.assert_array_equal(tiles[0], sums[0, :2, :2])
    np.testing.assert_array_equal(tiles[1], sums[1, :2, :2])
    np.testing.assert_array_equal(tiles[7], [[sums[1, 2, 2], 0], [0, 0]])
    assert tiling.utilisation == 9 / 16


@pytest.mark.parametrize(
    ("kind", "values", "sentence"),
    [
        (DenseConfig, {"dequant": {"weight_group": 48}},
         "dequant.weight_group must be one of 4, 8, 16, 32, 64, 128, got 48."),
        (DenseConfig, {"max_k": 64}, "weight_group must not exceed max_k, got 128, max_k 64."),
        (DenseConfig, {"dequant": "group"},
         "dequant must be none, or group scales such as dequant.weight_group=128, got 'group'."),
        (DenseConfig, {"dequant": {"add_latency": 9}},
         "dequant.add_latency: input should be less than or equal to 4, got 9."),
        (DenseConfig, {"dequant": {"rows": 9}},
         "dequant.rows is not a parameter here; the parameters are convert_latency, "
         "multiply_latency, add_latency, weight_group."),
        (SparqleConfig, {"dequant": {"weight_group": 32}},
         "chunk must divide weight_group, got chunk 64, weight_group 32."),
        (SparqleConfig, {"dequant": {"weight_group": 32}, "chunk": 32},
         "group must divide weight_group, got group 64, weight_group 32."),
        (SparqleConfig, {"rows": 32, "dequant": {"weight_group": 32}, "chunk": 32, "group": 32,
                         "asymmetric": True},
         "weight_group must be at least 64 here, for the dequantizer takes two passes over 32 rows,"
         " got 32."),
    ],
)  # fmt: skip
def test_illegal_parameters(kind, values, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        kind(**{"dequant": {}, **values})


CONFIG = DenseConfig(rows=2, columns=2, dequant=GroupScales(weight_group=4), max_k=16)


@pytest.mark.parametrize(
    ("features", "d", "sentence"),
    [
        (6, np.ones((3, 1), np.float16),
         "in_features must be a multiple of weight_group = 4, got 6."),
        (20, np.ones((3, 5), np.float16), "in_features must not exceed max_k = 16, got 20."),
        (8, np.ones((3, 1), np.float16), "d must be float16 of shape (3, 2), got float16 (3, 1)."),
        (8, np.ones((3, 2)), "d must be float16 of shape (3, 2), got float64 (3, 2)."),
        (8, np.full((3, 2), np.inf, np.float16), "d must be finite, got inf."),
    ],
)  # fmt: skip
def test_operands_that_the_unit_does_not_take(features, d, sentence):
    layer = GroupedLayer(np.zeros((2, features), np.int8), np.zeros((3, features), np.int8), d)
    for use in (dense.GROUPED.schedule, dense.GROUPED.traffic, grouped.compute):
        with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
            use(CONFIG, layer)
