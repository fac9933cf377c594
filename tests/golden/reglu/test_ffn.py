from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.reglu.ffn import down_inputs, quantise_ffn, reference, run
from nibbleforge.golden.reglu.format import (
    LARGEST_FACTOR,
    Factor,
    between,
    exact_product,
    fixed_point,
    multiply_shift,
)

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)


def refuses(sentence, function, *args, **kwargs):
    with pytest.raises(UserError) as error:
        function(*args, **kwargs)
    assert str(error.value) == sentence


def weights(rng, d, D, spread=1.0):
    """Rows of different size, as in an LLM."""
    spread = np.exp(spread * rng.normal(size=(D, 1)))
    gate, up = (rng.normal(size=(D, d)) * spread / np.sqrt(d) for _ in range(2))
    return gate - 0.1, up, rng.normal(size=(d, D)) / np.sqrt(D)


def sample(seed=1, d=24, D=40, tokens=12):
    rng = np.random.default_rng(seed)
    w, x = weights(rng, d, D), rng.normal(size=(tokens, d)).astype(np.float32)
    return w, x, quantise_ffn(*w, x)


# --- fixed point ----------------------------------------------------------------------------------


@given(INT32, st.integers(0, 65535), st.integers(1, 47), st.sampled_from([8, 16, 32]))
def test_multiply_shift_in_exact_arithmetic(v, mult, shift, bits):
    """The nearest integer, a half upwards, saturated."""
    nearest = (Fraction(v * mult, 2**shift) + Fraction(1, 2)).__floor__()
    limit = 1 << (bits - 1)
    assert multiply_shift(v, mult, shift, bits) == min(max(nearest, -limit), limit - 1)


def test_multiply_shift_at_its_limits():
    v = np.array([-(1 << 31), (1 << 31) - 1])
    assert multiply_shift(v, 65535, 1, 16).tolist() == [-32768, 32767]
    assert multiply_shift(v, 65535, 47, 16).tolist() == [-1, 1]
    assert multiply_shift([-3, -2, -1, 1, 2, 3], 1, 1, 8).tolist() == [-1, -1, 0, 1, 1, 2]


@given(st.floats(2.0**-32, LARGEST_FACTOR))
def test_fixed_point_is_the_nearest(factor):
    mult, shift = fixed_point(factor)
    assert 1 <= shift <= 47
    assert mult >= 1 << 15
    found = Fraction(int(mult), 2 ** int(shift))
    assert abs(found - Fraction(factor)) <= Fraction(1, 2 ** (int(shift) + 1))


def test_fixed_point_by_hand():
    factors = [0, 2.0**-47, 2.0**-49, 0.5, 1, 3, 65535.75 / 65536, LARGEST_FACTOR]
    mult, shift = fixed_point(factors)
    assert mult.tolist() == [0, 1, 0, 32768, 32768, 49152, 32768, 65535]
    assert shift.tolist() == [1, 47, 1, 16, 15, 14, 15, 1]
    assert (mult.dtype, shift.dtype) == (np.uint16, np.uint8)
    for factor in (-1, np.nan, np.inf, 32768):
        refuses(
            f"a factor in fixed point must be in 0..32767.5, got {factor}.", fixed_point, factor
        )


# --- the FFN in Python's integers -----------------------------------------------------------------


def slow_shift(v, mult, shift, low, high):
    return min(max((v * mult + (1 << (shift - 1))) >> shift, low), high)


def slow_run(ffn, x, mask, double_relu):
    """One token, one neuron at a time."""
    (d, D), y, fates = (ffn.features, ffn.neurons), [0] * ffn.features, [""] * ffn.neurons
    factors = [
        list(zip(f.mult.tolist(), f.shift.tolist(), strict=True)) for f in (ffn.to_g16, ffn.to_u16)
    ]
    gate_q, up_q, down_q, x = (a.tolist() for a in (ffn.gate_q, ffn.up_q, ffn.down_q, x))
    for i in range(D):
        g = sum(a * b for a, b in zip(gate_q[i], x, strict=True))
        u = sum(a * b for a, b in zip(up_q[i], x, strict=True))
        ends = g <= 0 or (double_relu and u <= 0)
        if not mask[i]:
            fates[i] = "" if ends else "false negative"
            continue
        fates[i] = "false positive" if g <= 0 else "gate only" if ends else "survivor"
        if ends:
            continue
        g16 = slow_shift(g, *factors[0][i], -32768, 32767)
        u16 = slow_shift(u, *factors[1][i], -32768, 32767)
        h = slow_shift(max(g16, 0) * u16, *ffn.to_h, -127, 127)
        for k in range(d):
            y[k] += h * down_q[i][k]
    return y, fates


def fates_of(result):
    fates = np.full(result.survivors.shape, "", dtype="U16")
    fates[result.gate_survivors] = "gate only"
    fates[result.survivors] = "survivor"
    fates[result.false_positives] = "false positive"
    fates[result.false_negatives] = "false negative"
    return fates.tolist()


@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_like_the_slow_model(seed, d, D, double_relu):
    """Inputs beyond the calibrated range, so that every saturation occurs."""
    rng = np.random.default_rng(seed)
    ffn = quantise_ffn(*weights(rng, d, D), rng.normal(size=(3, d)) * rng.choice([1, 1e-3, 0]))
    x = rng.integers(-128, 128, (2, d)).astype(np.int8)
    mask = rng.random((2, D)) < 0.7
    result = run(ffn, x, mask, double_relu)
    slow = [slow_run(ffn, *token, double_relu) for token in zip(x, mask, strict=True)]
    assert result.y.tolist() == [y for y, _ in slow]
    assert fates_of(result) == [fates for _, fates in slow]


def test_extreme_operands():
    """INT32 holds the sums of the largest operands; h stays within +-127."""
    tokens, d, D = 2, 300, 500
    _, _, ffn = sample(d=d, D=D)
    all_of = np.full((D, d), 127, np.int8)
    fastest = Factor(65535, 1)
    ffn = replace(ffn, gate_q=all_of, up_q=-all_of, down_q=all_of, to_h=fastest)
    x = np.full((tokens, d), 127, np.int8)
    assert (run(ffn, x).y == -127 * 127 * D).all()
    assert (run(replace(ffn, up_q=all_of), x).y == 127 * 127 * D).all()
    assert not run(ffn, -x - np.int8(1)).survivors.any()
    widest = np.full((1, 1 << 17), -128, np.int8)
    assert exact_product(widest, np.full_like(widest, 127)).item() == -128 * 127 << 17


# --- against floating point -----------------------------------------------------------------------


def error_in_db(ffn, w, x, double_relu=False):
    exact = reference(*w, x, double_relu)
    found = ffn.dequantise(run(ffn, ffn.take(x), double_relu=double_relu).y)
    return 10 * np.log10(np.square(found - exact).sum() / np.square(exact).sum())


@pytest.mark.parametrize("double_relu", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_close_to_floating_point(seed, double_relu):
    rng = np.random.default_rng(seed)
    w, x = weights(rng, 64, 256, 0.3), rng.normal(size=(200, 64)).astype(np.float32)
    ffn = quantise_ffn(*w, x[:100])
    assert error_in_db(ffn, w, x[:100], double_relu) < -26
    assert error_in_db(ffn, w, x[100:], double_relu) < -22  # h saturates


@pytest.mark.parametrize("seed", range(4))
def test_sixteen_bits_cost_next_to_nothing(seed):
    """The FFN is one in float64 with x, the weights and h rounded, but for h off by one."""
    rng = np.random.default_rng(seed)
    w, x = weights(rng, 64, 256), rng.normal(size=(200, 64)).astype(np.float32)
    ffn = quantise_ffn(*w, x)
    x_q = ffn.take(x)
    gate, up = ffn.gate_q * ffn.gate_scale[:, None], ffn.up_q * ffn.up_scale[:, None]
    exact = down_inputs(gate.astype(float), up.astype(float), x_q * np.float64(ffn.x_scale))
    h = np.clip(np.rint(exact / ffn.h_scale), -127, 127)
    one_hot = replace(ffn, down_q=np.eye(256, dtype=np.int8))  # y is then h itself
    difference = np.abs(run(one_hot, x_q).y - h)
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_weights_round_to_the_nearest():
    w, x, ffn = sample()
    for q, scale, exact in (
        (ffn.gate_q, ffn.gate_scale[:, None], w[0]),
        (ffn.up_q, ffn.up_scale[:, None], w[1]),
        (ffn.down_q.T, ffn.down_scale[:, None], w[2]),
        (ffn.take(x), ffn.x_scale, x),
    ):
        assert (np.abs(q * scale - exact) <= scale * 0.50001).all()
        assert np.abs(q).max() == 127
    assert ffn.down_q.flags.c_contiguous


def test_inputs_beyond_calibration_saturate():
    _, x, ffn = sample()
    assert ffn.take(x * 100).min() == -127
    assert ffn.take(x * 100).max() == 127


def test_sixteen_bits_are_used_and_enough():
    """On calibration inputs, no gate and no up of a survivor saturates by more than a rounding."""
    _, x, ffn = sample(d=48, D=64, tokens=300)
    g = exact_product(ffn.take(x), ffn.gate_q)
    g16 = multiply_shift(g, *ffn.to_g16, bits=32)
    assert 32000 < g16.max() < 33500
    u16 = multiply_shift(exact_product(ffn.take(x), ffn.up_q), *ffn.to_u16, bits=32)
    assert 32000 < np.abs(u16[g > 0]).max() < 33500


def test_a_factor_beyond_the_largest_saturates_all_the_same():
    """A neuron that calibration never saw alive may have weights of another size."""
    gate, one = np.array([[1.0, 1.0], [-1e6, -1e6]]), np.ones((2, 2))
    ffn = quantise_ffn(gate, one, one, one)
    assert (ffn.to_g16.mult[1], ffn.to_g16.shift[1]) == (65535, 1)
    x_q = np.array([[1, 1], [-1, 0]], np.int8)
    g16 = multiply_shift(exact_product(x_q, ffn.gate_q), *ffn.to_g16, bits=16)
    assert g16[:, 1].tolist() == [-32768, 32767]
    assert between(1, 5e-324) == between(32768, 1) == (65535, 1)
    assert not between([0, 1e-9, 1, 1e300], 0).mult.any()


def test_int8_inputs_are_scaled_by_one():
    w, x, ffn = sample()
    x_q = np.full((2, 24), -128, np.int8)
    assert np.array_equal(quantise_ffn(*w, x, 1.0).take(x_q), x_q)
    assert np.array_equal(ffn.take(x_q), ffn.take(x_q.astype(np.float32)))


# --- masks ----------------------------------------------------------------------------------------


def test_no_neuron_and_all_neurons():
    _, x, ffn = sample()
    x_q = ffn.take(x)
    everything, nothing = run(ffn, x_q), run(ffn, x_q, np.zeros((12, 40), bool))
    assert np.array_equal(everything.y, run(ffn, x_q, np.ones((12, 40), bool)).y)
    assert not everything.false_negatives.any()
    assert np.array_equal(everything.false_positives, ~everything.survivors)
    assert not nothing.y.any()
    assert np.array_equal(nothing.false_negatives, everything.survivors)
    assert not (nothing.survivors | nothing.gate_survivors | nothing.false_positives).any()


@pytest.mark.parametrize("double_relu", [False, True])
def test_only_survivors_matter(double_relu):
    """A mask with all survivors gives the dense result; each neuron adds up on its own."""
    _, x, ffn = sample()
    x_q = ffn.take(x)
    dense = run(ffn, x_q, None, double_relu)
    assert np.array_equal(run(ffn, x_q, dense.survivors, double_relu).y, dense.y)
    parts = [np.arange(40) % 3 == part for part in range(3)]
    pieces = [run(ffn, x_q, np.tile(part, (12, 1)), double_relu) for part in parts]
    assert np.array_equal(sum(piece.y for piece in pieces), dense.y)
    assert np.array_equal(sum(piece.survivors for piece in pieces) > 0, dense.survivors)
    assert (dense.survivors.sum() < dense.gate_survivors.sum()) == double_relu


def test_nothing_in_calibration():
    """A scale of 0: the FFN gives 0, not a division by 0."""
    w, x, _ = sample()
    ffn = quantise_ffn(*w, np.zeros((2, 24)))
    assert not ffn.take(x).any()
    assert not run(ffn, np.full((1, 24), 5, np.int8)).y.any()
    silent = quantise_ffn(-np.abs(w[0]), w[1], w[2], np.abs(x))
    assert not run(silent, silent.take(np.abs(x))).survivors.any()


# --- what is refused ------------------------------------------------------------------------------


def test_bad_weights():
    w, x, ffn = sample()
    refuses(
        "gate and up must be (D, d) and down (d, D), got (40, 24), (40, 24) and (40, 24).",
        quantise_ffn,
        w[0],
        w[1],
        w[2].T,
        x,
    )
    refuses("activations must have 24 in_features, got 23.", quantise_ffn, *w, x[:, :23])
    refuses("activations must have 24 in_features, got 23.", ffn.take, x[:, :23])
    refuses(
        "up must be finite, got nan in row 0, column 0.",
        quantise_ffn,
        w[0],
        np.full_like(w[1], np.nan),
        w[2],
        x,
    )
    wide = np.zeros((1, (1 << 17) + 1), np.int8)
    refuses("d and D must be at most 131072, got 131073.", quantise_ffn, wide, wide, wide.T, wide)


@pytest.mark.parametrize(
    ("gate", "up", "down", "x", "largest"),
    [
        (1e38, 1e-9, 1, 1, "4e+38"),
        (1e20, 1e20, 1e-9, 1, "1.6e+41"),
        (1, 1, 1e19, 0, "4e+38"),
        (1, 1, 1, 1e19, "3.2e+39"),
    ],
)
def test_numbers_that_overflow(gate, up, down, x, largest):
    refuses(
        f"the FFN's values must fit float32, but with inputs up to {x:.3g} and weights up to"
        f" {gate:.3g} of gate, {up:.3g} of up and {down:.3g} of down they may reach {largest}.",
        quantise_ffn,
        *(np.full((2, 4), float(w)) for w in (gate, up)),
        np.full((4, 2), float(down)),
        np.full((3, 4), float(x)),
    )


def test_bad_inputs():
    _, x, ffn = sample()
    x_q = ffn.take(x)
    refuses("x_q must be int8 (tokens, 24), got float32 (12, 24).", run, ffn, x)
    refuses("x_q must be int8 (tokens, 24), got int8 (12, 23).", run, ffn, x_q[:, :23])
    refuses(
        "the mask must be bool of shape (12, 40), got int64 (12, 40).",
        run,
        ffn,
        x_q,
        np.ones((12, 40), int),
    )
    refuses(
        "the mask must be bool of shape (12, 40), got bool (40,).", run, ffn, x_q, np.ones(40, bool)
    )
