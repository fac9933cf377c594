import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibbleforge.golden import fp16
from nibbleforge.golden.arithmetic import floating
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.workload import Workload
from nibbleforge.golden.fp16 import Fp16Config, Fp16Layer
from nibbleforge.tb import tb_fp16

from . import half_arrays
from .half_arrays import simulate, single, tiles

# --- an independent model -------------------------------------------------------------------------


def tree(values):
    """Sum of a list; the lower part is a full binary tree, the upper part what is left."""
    if len(values) == 1:
        return values[0]
    low = 1 << (len(values) - 1).bit_length() - 1
    return single(tree(values[:low]) + tree(values[low:]))


def element(config, x, w):
    """One result from lists of K numbers."""
    lanes, turns = config.lanes, config.add_latency
    sums = [0.0] * (lanes * turns)
    for feature, (a, b) in enumerate(zip(x, w, strict=True)):
        place = feature // lanes % turns * lanes + feature % lanes
        sums[place] = single(sums[place] + single(a * b))
    return tree(sums)


def check_schedule(config, layer):
    levels = sum(1 << n < config.lanes * config.add_latency for n in range(9))
    turns, lead = config.add_latency, config.multiply_latency + 1
    leave = config.add_latency * (1 + levels)
    simulated = simulate(config, layer, element, turns, lead, leave)
    half_arrays.check_schedule(fp16, config, layer, simulated)


# --- schedules and values -------------------------------------------------------------------------


@st.composite
def layers(draw):
    config = Fp16Config(
        rows=draw(st.integers(1, 9)),
        columns=draw(st.integers(1, 4)),
        lanes=draw(st.sampled_from([1, 2, 4, 8])),
        multiply_latency=draw(st.integers(1, 3)),
        add_latency=draw(st.integers(1, 4)),
        max_k=draw(st.integers(40, 300)),
    )
    extent = draw(st.tuples(st.integers(1, 12), st.integers(1, 40), st.integers(1, 9)))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return config, tb_fp16.layer(config, rng, *extent)


@given(layers())
def test_schedule_equals_the_state_machine(drawn):
    check_schedule(*drawn)


@given(layers())
def test_law_of_the_docstring(drawn):
    config, layer = drawn
    turns, lanes = config.add_latency, config.lanes
    steps = turns * math.ceil(math.ceil(layer.x.shape[1] / lanes) / turns)
    levels = int(np.ceil(np.log2(lanes * turns)))
    count = len(list(tiles(config, layer)))
    kept = [steps + config.multiply_latency + 1]
    while len(kept) < count:
        kept.append(kept[-1] + max(steps, config.rows))
    rows = [c + turns * (1 + levels) + r for c in kept for r in range(config.rows)]
    assert fp16.schedule(config, layer).cycles["y"].tolist() == rows
    counts = fp16.cycles(config, Workload(*layer.x.shape, len(layer.w)))
    assert counts.cycles == rows[-1] + 1
    assert counts.ideal_cycles == count * -(-layer.x.shape[1] // lanes)


@settings(max_examples=30)
@given(layers())
def test_plain_arithmetic_is_that_of_the_hardware(drawn):
    """Products and sums equal the flushing ones of golden.floating, and products are exact."""
    config, layer = drawn
    x, w = (matrix.astype(np.float32) for matrix in (layer.x, layer.w))
    total = np.zeros((config.sums, len(x), len(w)), np.float32)
    for feature in range(x.shape[1]):
        place = feature // config.lanes % config.add_latency * config.lanes + feature % config.lanes
        product = floating.multiply(x[:, None, feature], w[None, :, feature])
        exact = x[:, None, feature].astype(np.float64) * w[None, :, feature]
        np.testing.assert_array_equal(product, exact)
        total[place] = floating.add(total[place], product)
    np.testing.assert_array_equal(fp16.sums(config, layer).view("u4"), total.view("u4"))
    assert not np.signbit(total[total == 0]).any()


def test_extreme_products_and_sums_stay_within_fp32():
    """What the docstring says of ranges, for the largest in_features."""
    smallest, largest = Fraction(1, 1 << 24), Fraction(65504)
    assert smallest**2 == Fraction(1, 1 << 48)
    assert largest**2 < 1 << 32
    assert (1 << 20) * largest**2 * (1 + Fraction(1, 1 << 23)) ** 20 < 1 << 53
    x = np.array([[2.0**-24, 65504, -(2.0**-24)]], np.float16)
    for value in x[0]:
        layer = Fp16Layer(np.array([[value]]), x.T)
        assert fp16.compute(Fp16Config(), layer).tolist() == [
            [float(value) * float(v) for v in x[0]]
        ]


def test_order_of_the_tree_matters_and_is_as_defined():
    """Sums 0 to 5 with three sums of two lanes: ((s0 + s1) + (s2 + s3)) + (s4 + s5)."""
    config = Fp16Config(rows=1, columns=1, lanes=2, add_latency=3)
    x = np.array([[2.0**12, 1, -(2.0**12), 2.0**-12, 1, 1]], np.float16)
    w = np.array([[2.0**12, 1, 2.0**12, 2.0**-12, 1, 2.0**-10]], np.float16)
    one = np.float32(1)
    big, tiny = np.float32(2.0**24), np.float32(2.0**-24)
    expected = ((big + one) + (-big + tiny)) + (one + np.float32(2.0**-10))
    assert fp16.compute(config, Fp16Layer(x, w)).tolist() == [[float(expected)]]
    assert float(expected) != float((x.astype(np.float64) @ w.T.astype(np.float64))[0, 0])


@pytest.mark.parametrize(
    ("shape", "period"), [((512, 576, 1536), 144), ((1, 4096, 4096), 1024), ((17, 3, 33), 16)]
)
def test_law_of_large_layers(shape, period):
    tokens, features, outputs = shape
    counts = fp16.cycles(Fp16Config(), Workload(*shape))
    number, beats = -(-tokens // 16) * -(-outputs // 16), -(-features // 4)
    assert counts.cycles == 1 + beats + (number - 1) * period + 16 + 1 + 3
    assert counts.ideal_cycles == number * beats
    assert counts.events == {
        "macs": number * beats * 1024,
        "x_beats": number * beats,
        "w_beats": number * beats,
        "y_beats": number * 16,
        "tiles": number,
        "stall_operands": 0,
        "stall_drain": (number - 1) * (period - beats),
    }


def test_bandwidth():
    """One beat of each operand a cycle."""
    config = Fp16Config(rows=3, columns=5, lanes=2)
    assert fp16.bandwidth(config) == {"x": 97.0, "w": 160.0}


# --- validation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"rows": 0}, "rows: input should be greater than or equal to 1, got 0."),
        ({"columns": 257}, "columns: input should be less than or equal to 256, got 257."),
        ({"lanes": 3}, "lanes: input should be 1, 2, 4 or 8, got 3."),
        ({"add_latency": 5}, "add_latency: input should be less than or equal to 4, got 5."),
        (
            {"multiply_latency": 0},
            "multiply_latency: input should be greater than or equal to 1, got 0.",
        ),
        ({"max_k": 0}, "max_k: input should be greater than or equal to 1, got 0."),
    ],
)
def test_illegal_parameters(values, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        Fp16Config(**values)


def zeros(tokens, features, outputs, w_features=None):
    w = np.zeros((outputs, features if w_features is None else w_features), np.float16)
    return Fp16Layer(np.zeros((tokens, features), np.float16), w)


def with_value(name, value):
    layer = zeros(2, 3, 2)
    getattr(layer, name).flat[-1] = value
    return layer


AT_LEAST_1 = "tokens, in_features and outputs must be at least 1, "


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (zeros(2, 3, 2, 4), "activations and weights differ in in_features: 3 and 4."),
        (zeros(2, 5, 2), "in_features must not exceed max_k = 4, got 5."),
        (zeros(0, 3, 2), AT_LEAST_1 + "got 0, 3 and 2."),
        (zeros(2, 0, 2), AT_LEAST_1 + "got 2, 0 and 2."),
        (
            Fp16Layer(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float16)),
            "activations must be a matrix of float16, got float32 (2, 3).",
        ),
        (
            Fp16Layer(np.zeros((2, 3), np.float16), np.zeros(3, np.float16)),
            "weights must be a matrix of float16, got float16 (3,).",
        ),
        (with_value("x", np.inf), "activations must be finite, got inf."),
        (with_value("w", np.nan), "weights must be finite, got nan."),
    ],
)
@pytest.mark.parametrize("function", [fp16.check, fp16.compute, fp16.schedule, fp16.traffic])
def test_illegal_operands(function, layer, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        function(Fp16Config(max_k=4), layer)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((2, 3, -1), AT_LEAST_1 + "got 2, 3 and -1."),
        ((2, 5, 2), "in_features must not exceed max_k = 4, got 5."),
    ],
)
def test_illegal_shapes(shape, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        fp16.cycles(Fp16Config(max_k=4), Workload(*shape))
