"""N:M array: published figures, configurations and operands that are refused."""

import re
from dataclasses import replace

import numpy as np
import pytest
from nibbleforge.golden import dense
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.workload import Workload
from nibbleforge.golden.grouped import GroupScales
from nibbleforge.golden.nm import schedule as nm_schedule
from nibbleforge.golden.nm import timing as nm_timing
from nibbleforge.golden.nm import unit as nm
from nibbleforge.golden.nm import values as nm_values
from nibbleforge.golden.nm.config import NMConfig, NMSettings
from nibbleforge.golden.nm.values import NMLayer
from nibbleforge.golden.units import UNITS, unit

# --- figures --------------------------------------------------------------------------------------


def utilisation(config, counts, n, tokens, features, outputs):
    """Slots of real tokens and outputs to those the array could have done."""
    slots = tokens * outputs * -(-features // config.m) * n
    return slots / (config.rows * config.columns * counts.cycles)


def cycles_of(config, n, tokens, features, outputs, weight_group=None):
    return nm_timing.cycles(
        config, Workload(tokens, features, outputs, NMSettings(n=n), weight_group)
    )


def test_utilisation_of_a_large_layer():
    config = unit("nm").presets["channel"]
    shape = (64, 4096, 4096)
    counts = cycles_of(config, 2, *shape)
    assert counts.cycles == 2 + 4 * 256 * 2048 + 8 + 16
    assert utilisation(config, counts, 2, *shape) >= 0.9999


def test_utilisation_where_groups_are_short():
    """1:16 with group scales and few input features, drain and dequantizer included."""
    config = unit("nm").presets["m16"]
    assert (config.dequant_rows, config.weight_group) == (2, 128)
    shape = (64, 256, 256)
    counts = cycles_of(config, 1, *shape)
    assert counts.cycles == 1 + 4 * 16 * 16 + 8 + 8 + 6
    assert round(utilisation(config, counts, 1, *shape), 3) == 0.978
    slow = cycles_of(config.replace(dequant_rows=1), 1, *shape)
    assert utilisation(config, slow, 1, *shape) < 0.5


@pytest.mark.parametrize(
    ("n", "m", "least"), [(2, 4, 1.98), (4, 8, 1.98), (1, 4, 3.9), (2, 8, 3.9), (1, 8, 7.6)]
)
def test_speed_up_over_the_dense_array(n, m, least):
    shape = (64, 4096, 4096)
    rival = UNITS["dense2k"].presets["paper"]
    assert (rival.passes, rival.rows, rival.columns) == (1, 16, 16)
    cycles = cycles_of(NMConfig(m=m), n, *shape).cycles
    assert dense.cycles(rival, Workload(*shape)).cycles / cycles >= least
    assert cycles * m / n < 1.0001 * 4 * 256 * 4096


# --- validation -----------------------------------------------------------------------------------

CONFIGS = [
    ({"span": 3}, "span must divide rows, got span 3, rows 16."),
    ({"columns": 6}, "span must divide columns, got span 4, columns 6."),
    ({"dequant_rows": 8}, "dequant_rows must divide span, got dequant_rows 8, span 4."),
    ({"dequant_rows": 3}, "dequant_rows must divide span, got dequant_rows 3, span 4."),
    ({"m": 5}, "m: input should be 4, 8 or 16, got 5."),
    ({"rows": 0}, "rows: input should be greater than or equal to 1, got 0."),
    ({"span": 65}, "span: input should be less than or equal to 64, got 65."),
    ({"max_k": 0}, "max_k: input should be greater than or equal to 1, got 0."),
    (
        {"dequant": {"weight_group": 48}},
        "dequant.weight_group must be one of 4, 8, 16, 32, 64, 128, got 48.",
    ),
    (
        {"dequant": {"weight_group": 4}, "m": 8},
        "lanes * m must divide weight_group, got lanes 1, m 8, weight_group 4.",
    ),
    (
        {"dequant": {}, "max_k": 64},
        "weight_group must not exceed max_k, got 128, max_k 64.",
    ),
    (
        {"dequant": {}, "rows": 4, "dequant_rows": 2},
        "rows / dequant_rows must be at least add_latency, "
        "got rows 4, dequant_rows 2, add_latency 3.",
    ),
]


@pytest.mark.parametrize(("values", "sentence"), CONFIGS)
def test_illegal_parameters(values, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        NMConfig(**values)


TINY = NMConfig(rows=4, columns=2, span=2, max_k=64)
GROUPED = TINY.replace(dequant=GroupScales(weight_group=16))


def legal(config=TINY, n=2, features=32):
    """Zeros, three tokens and three outputs."""
    slots = (3, -(-features // config.m), n)
    indices = np.broadcast_to(np.arange(n, dtype=np.uint8), slots).copy()
    d = (3, -(-features // 16)) if config.grouped else (0, 0)
    return NMLayer(
        np.zeros((3, features), np.int8),
        np.zeros(slots, np.int8),
        indices,
        16 if config.grouped else features,
        np.ones(d, np.float16),
    )


def with_one(name, place, value):
    """A legal layer but for one number."""
    array = getattr(legal(), name).copy()
    array[place] = value
    return replace(legal(), **{name: array})


OPERANDS = [
    (
        replace(legal(), x=np.zeros((3, 32), np.int16)),
        "activations must be a matrix of int8 and not empty, got int16 (3, 32).",
    ),
    (
        replace(legal(), x=np.zeros(32, np.int8)),
        "activations must be a matrix of int8 and not empty, got int8 (32,).",
    ),
    (
        replace(legal(), x=np.zeros((0, 32), np.int8)),
        "activations must be a matrix of int8 and not empty, got int8 (0, 32).",
    ),
    (
        replace(legal(), values=np.zeros((3, 16), np.int8)),
        "values must be (outputs, blocks, N), got shape (3, 16).",
    ),
    (legal(n=5), "N must be in 1..4, got 5."),
    (
        replace(legal(), weight_group=16.0),
        "weight_group must be a plain integer, got 16.0.",
    ),
    (
        replace(legal(), weight_group=10),
        "m must divide the weight group, got m 4, weight group 10.",
    ),
    (
        replace(legal(), weight_group=0),
        "m must divide the weight group, got m 4, weight group 0.",
    ),
    (legal(features=68), "in_features must not exceed max_k = 64, got 68."),
    (
        replace(legal(), x=np.zeros((3, 28), np.int8)),
        "28 in_features at 2:4 take 7 blocks, got 8.",
    ),
    (with_one("values", (1, 2, 0), 8), "values of row 1, block 2 must be in -8..7, got 8."),
    (with_one("indices", (2, 7, 1), 4), "indices of row 2, block 7 must be in 0..3, got 4."),
    (with_one("indices", (0, 3, 1), 0), "indices of row 0, block 3 must ascend, got [0, 0]."),
    (
        replace(with_one("values", (1, 7, 1), 3), x=np.zeros((3, 29), np.int8)),
        "row 1, block 7 must hold 0 where it points at padding, got 3 at index 1.",
    ),
]


@pytest.mark.parametrize(("layer", "sentence"), OPERANDS)
@pytest.mark.parametrize(
    "function", [nm_values.check, nm_values.compute, nm_schedule.schedule, nm_schedule.traffic]
)
def test_illegal_operands(function, layer, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        function(TINY, layer)


SCALED = [
    (
        replace(legal(GROUPED), d=np.ones((3, 3), np.float16)),
        "d must be float16 of shape (3, 2), got float16 (3, 3).",
    ),
    (
        replace(legal(GROUPED), d=np.ones((3, 2), np.float32)),
        "d must be float16 of shape (3, 2), got float32 (3, 2).",
    ),
    (
        replace(legal(GROUPED), d=np.full((3, 2), np.inf, np.float16)),
        "d must be finite, got inf.",
    ),
    (
        replace(legal(GROUPED), weight_group=32),
        "the weight group must be 16, got 32.",
    ),
    (legal(GROUPED, features=80), "in_features must not exceed max_k = 64, got 80."),
]


@pytest.mark.parametrize(("layer", "sentence"), SCALED)
@pytest.mark.parametrize(
    "function", [nm_values.dequantised, nm.GROUPED.schedule, nm.GROUPED.traffic]
)
def test_illegal_operands_of_the_joined_unit(function, layer, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        function(GROUPED, layer)


AT_LEAST_1 = "tokens, in_features and outputs must be at least 1, "
EXTENTS = [
    ((0, 3, 8, 2), "n: input should be greater than or equal to 1, got 0."),
    ((5, 3, 8, 2), "N must be in 1..4, got 5."),
    ((2, 0, 8, 2), AT_LEAST_1 + "got 0, 8 and 2."),
    ((2, 3, 8, -1), AT_LEAST_1 + "got 3, 8 and -1."),
    ((2, 3, 0, 2), AT_LEAST_1 + "got 3, 0 and 2."),
    ((2, 3, 65, 2), "in_features must not exceed max_k = 64, got 65."),
    ((2, 3, 65, 2, 10), "m must divide the weight group, got m 4, weight group 10."),
]


@pytest.mark.parametrize(("extent", "sentence"), EXTENTS)
def test_illegal_shapes(extent, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        cycles_of(TINY, *extent)
