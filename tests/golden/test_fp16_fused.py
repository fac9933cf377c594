import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibbleforge.golden import fp16, fp16_fused
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.workload import Workload
from nibbleforge.golden.fp16 import Fp16Config, Fp16Layer
from nibbleforge.golden.fp16_fused import Fp16FusedConfig
from nibbleforge.sim.tensors.files import Capture, sample_path
from nibbleforge.tb import tb_fp16_fused

from . import half_arrays
from .half_arrays import simulate, single

# --- an independent model: fractions --------------------------------------------------------------


def exponent_of(value):
    """Exponent field of a finite FP16 number; 1 for subnormal ones and zeros."""
    return max(1, math.frexp(value)[1] + 14) if value else 1


def nearest(value, unit):
    """Multiple of a unit next to a value, the higher one of two."""
    return math.floor(value / unit + Fraction(1, 2)) * unit


def summed(config, x, w):
    """Sum of an element before it is rounded to FP32, its unit, and how often that grew."""
    total, peak, growths = Fraction(0), 0, 0
    for start in range(0, len(x), config.lanes):
        pairs = list(zip(x[start : start + config.lanes], w[start : start + config.lanes],
                         strict=True))  # fmt: skip
        pairs += [(0.0, 0.0)] * (config.lanes - len(pairs))
        before = peak
        peak = max(peak, *(exponent_of(a) + exponent_of(b) for a, b in pairs))
        growths += bool(before and peak > before)
        unit = Fraction(2) ** (peak - 50 - config.guard)
        total = nearest(total, unit)
        for a, b in pairs:
            product = Fraction(a) * Fraction(b)
            total += nearest(abs(product), unit) * (-1 if product < 0 else 1)
    return total, unit, growths


def element(config, x, w):
    """One result from lists of K numbers."""
    return single(float(summed(config, x, w)[0]))


def check_schedule(config, layer):
    simulated = simulate(config, layer, element, turns=1, lead=2, leave=1 + config.convert_latency)
    half_arrays.check_schedule(fp16_fused, config, layer, simulated)


@st.composite
def layers(draw):
    config = Fp16FusedConfig(
        rows=draw(st.integers(1, 9)),
        columns=draw(st.integers(1, 4)),
        lanes=draw(st.sampled_from([1, 2, 4, 8, 16])),
        guard=draw(st.integers(0, 9)),
        convert_latency=draw(st.integers(1, 3)),
        max_k=draw(st.integers(40, 300)),
    )
    extent = draw(st.tuples(st.integers(1, 12), st.integers(1, 40), st.integers(1, 9)))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return config, tb_fp16_fused.layer(config, rng, *extent)


@given(layers())
def test_schedule_and_values_equal_the_state_machine(drawn):
    check_schedule(*drawn)


@given(layers())
def test_law_of_the_docstring(drawn):
    config, layer = drawn
    steps = math.ceil(layer.x.shape[1] / config.lanes)
    count = len(list(half_arrays.tiles(config, layer)))
    kept = [steps + 2]
    while len(kept) < count:
        kept.append(kept[-1] + max(steps, config.rows))
    rows = [c + 1 + config.convert_latency + r for c in kept for r in range(config.rows)]
    assert fp16_fused.schedule(config, layer).cycles["y"].tolist() == rows
    counts = fp16_fused.cycles(config, Workload(*layer.x.shape, len(layer.w)))
    assert counts.cycles == rows[-1] + 1
    tiles, period = count, max(steps, config.rows)
    law = 3 + steps + (tiles - 1) * period + config.rows + config.convert_latency
    assert counts.cycles == law
    assert counts.ideal_cycles == count * steps


# --- values ---------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(layers())
def test_the_error_is_within_its_bound(drawn):
    config, layer = drawn
    for x in layer.x.tolist():
        for w in layer.w.tolist():
            exact = sum((Fraction(a) * Fraction(b) for a, b in zip(x, w, strict=True)), Fraction(0))
            total, unit, growths = summed(config, x, w)
            assert abs(total - exact) <= (len(x) + growths) * unit / 2


@settings(max_examples=30)
@given(st.integers(0, 9), st.integers(0, 999), st.sampled_from([1, 4, 16]))
def test_exact_where_guard_bits_cover_all_exponents(guard, seed, lanes):
    """Then a result is the exact sum, rounded once."""
    rng = np.random.default_rng(seed)
    config = Fp16FusedConfig(lanes=lanes, guard=guard)
    # exponents of products differ by guard at most
    spread = (guard // 2, guard - guard // 2)
    x, w = (
        np.ldexp(rng.integers(1024, 2048, (3, 50)), rng.integers(-10, -9 + most, (3, 50)))
        * rng.choice([-1, 1], (3, 50))
        for most in spread
    )
    layer = Fp16Layer(x.astype(np.float16), w.astype(np.float16))
    exact = [[math.fsum(a * b for a, b in zip(p, q, strict=True)) for q in w] for p in x]
    assert fp16_fused.compute(config, layer).tolist() == np.float32(exact).tolist()


@pytest.mark.parametrize("max_k", [1, 5, 64, 14336])
@pytest.mark.parametrize("guard", [0, 3, 9])
def test_accumulators_hold_the_largest_sums_and_no_more(max_k, guard):
    config = Fp16FusedConfig(max_k=max_k, guard=guard)
    x = np.full((1, max_k), 65504, np.float16)
    for sign in (1, -1):
        total, peak = fp16_fused.sums(config, Fp16Layer(x, sign * x))
        assert peak.tolist() == [[60]]
        assert total.tolist() == [[sign * max_k * 2047**2 << guard]]
        assert int(abs(total[0, 0])).bit_length() + 1 == config.accumulator_bits


def test_products_and_sums_round_as_defined():
    """One unit is 2^-20: halves of products go away from 0, halves of the sum go up."""
    config = Fp16FusedConfig(rows=1, columns=1, lanes=2, guard=0)
    half = 2.0**-11  # its square times 2 is half a unit beside 1 * 1
    for sign in (1, -1):
        x = np.array([[1, half]], np.float16)
        w = np.array([[1, 2 * sign * half]], np.float16)
        assert fp16_fused.compute(config, Fp16Layer(x, w)).tolist() == [[1 + sign * 2.0**-20]]
        x = np.array([[half, 0, 1, 0]], np.float16)
        w = np.array([[2 * sign * half, 0, 1, 0]], np.float16)
        expected = 1 + (2.0**-20 if sign == 1 else 0)
        assert fp16_fused.compute(config, Fp16Layer(x, w)).tolist() == [[expected]]


def rms_error(y, layer):
    """Root of the mean square of errors, over that of exact results."""
    exact = layer.x.astype(np.float64) @ layer.w.astype(np.float64).T
    return np.sqrt(np.mean((y - exact) ** 2) / np.mean(exact**2))


def normal_layer(features, outliers):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((16, features)), rng.standard_normal((32, features)) / 50
    x[:, ::64] *= 50 if outliers else 1
    return Fp16Layer(x.astype(np.float16), w.astype(np.float16))


def sample_layer():
    capture = Capture.open(sample_path())
    name = capture.layers[0]
    weights = capture.quantised_weights(name)
    w = capture.weights(name) if weights is None else weights.dequantise()
    return Fp16Layer(capture.activations(name)[:16].astype(np.float16), w[:64].astype(np.float16))


LAYERS = {
    "normal, K = 64": lambda: normal_layer(64, False),
    "normal, K = 4096": lambda: normal_layer(4096, False),
    "normal with outliers, K = 4096": lambda: normal_layer(4096, True),
    "SmolLM2": sample_layer,
}


@pytest.mark.parametrize("name", LAYERS)
def test_results_are_as_accurate_as_sums_in_fp32(name, record_property):
    layer = LAYERS[name]()
    fused = rms_error(fp16_fused.compute(Fp16FusedConfig(), layer), layer)
    single_sums = rms_error(fp16.compute(Fp16Config(), layer), layer)
    record_property("errors", f"{fused:.3g} {single_sums:.3g}")
    assert fused < single_sums < 2e-6


@pytest.mark.parametrize("tokens", [1, 300])
def test_blocks_change_nothing(tokens, monkeypatch):
    config = Fp16FusedConfig(lanes=4)
    layer = tb_fp16_fused.layer(config, np.random.default_rng(1), tokens, 9, 7)
    whole = fp16_fused.compute(config, layer)
    monkeypatch.setattr(fp16_fused, "_BLOCK", 64)
    np.testing.assert_array_equal(fp16_fused.compute(config, layer).view("u4"), whole.view("u4"))
    assert not np.signbit(whole[whole == 0]).any()


@pytest.mark.parametrize(
    ("shape", "period"), [((512, 576, 1536), 36), ((1, 4096, 4096), 256), ((17, 3, 33), 16)]
)
def test_law_of_large_layers(shape, period):
    tokens, features, outputs = shape
    counts = fp16_fused.cycles(Fp16FusedConfig(), Workload(*shape))
    number, beats = -(-tokens // 16) * -(-outputs // 16), -(-features // 16)
    assert counts.cycles == 3 + beats + (number - 1) * period + 16 + 3
    assert counts.events == {
        "macs": number * beats * 4096,
        "x_beats": number * beats,
        "w_beats": number * beats,
        "y_beats": number * 16,
        "tiles": number,
        "stall_operands": 0,
        "stall_drain": (number - 1) * (period - beats),
    }


# --- validation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"rows": 0}, "rows: input should be greater than or equal to 1, got 0."),
        ({"columns": 257}, "columns: input should be less than or equal to 256, got 257."),
        ({"lanes": 3}, "lanes: input should be 1, 2, 4, 8, 16 or 32, got 3."),
        ({"guard": 10}, "guard: input should be less than or equal to 9, got 10."),
        ({"guard": -1}, "guard: input should be greater than or equal to 0, got -1."),
        (
            {"multiplier": "booth"},
            "multiplier: input should be 'operators' or 'carry_save', got 'booth'.",
        ),
        (
            {"convert_latency": 4},
            "convert_latency: input should be less than or equal to 3, got 4.",
        ),
        ({"max_k": 0}, "max_k: input should be greater than or equal to 1, got 0."),
    ],
)
def test_illegal_parameters(values, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        Fp16FusedConfig(**values)


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (
            Fp16Layer(np.zeros((2, 5), np.float16), np.zeros((2, 5), np.float16)),
            "in_features must not exceed max_k = 4, got 5.",
        ),
        (
            Fp16Layer(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float16)),
            "activations must be a matrix of float16, got float32 (2, 3).",
        ),
        (
            Fp16Layer(np.full((2, 3), np.inf, np.float16), np.zeros((2, 3), np.float16)),
            "activations must be finite, got inf.",
        ),
    ],
)
@pytest.mark.parametrize(
    "function", [fp16_fused.compute, fp16_fused.sums, fp16_fused.schedule, fp16_fused.traffic]
)
def test_illegal_operands(function, layer, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        function(Fp16FusedConfig(max_k=4), layer)
