from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden.anda import dots as anda_dots
from nibbleforge.golden.anda import format as anda_format
from nibbleforge.golden.anda.format import AndaFormat
from nibbleforge.golden.arithmetic.quantise import QuantisedWeights, quantise_weights, take_weights
from nibbleforge.golden.contract.errors import UserError

STEP = Fraction(2) ** -53  # every value is a multiple of it
FINITE = np.setdiff1d(np.arange(1 << 16), np.r_[0x7C00:0x8000, 0xFC00:0x10000])
FINITE = FINITE.astype(np.uint16).view(np.float16)


def refuses(sentence, function, *args, **kwargs):
    with pytest.raises(UserError) as error:
        function(*args, **kwargs)
    assert str(error.value) == sentence


# --- an independent model: exact fractions, rounded after every step ------------------------------


def nearest(value, bits, finest=None):
    """Nearest number of a significand of some bits, ties to even, on a grid not below finest."""
    if value == 0:
        return Fraction(0)
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    step = Fraction(2) ** (exponent - bits + 1)
    step = step if finest is None else max(step, finest)
    return round(value / step) * step


def single(value):
    assert (value / STEP).denominator == 1
    return nearest(value, 24)


def half(value):
    return max(min(nearest(value, 11, Fraction(2) ** -24), Fraction(65504)), Fraction(-65504))


def model(encoded, w, accumulate):
    """One output after the other, one element after the other."""
    size = encoded.group
    y = np.zeros((encoded.tokens, len(w.q)))
    convert = half if accumulate == "paper_fp16" else single
    for t, n in np.ndindex(y.shape):
        total = Fraction(0)
        for g in range(encoded.groups):
            features = range(g * size, min((g + 1) * size, encoded.in_features))
            x = [int(encoded.magnitude[t, k]) * (-1) ** int(encoded.sign[t, k]) for k in features]
            power = Fraction(2) ** (int(encoded.exponent[t, g]) - 15 - (encoded.mantissa - 1))
            offset = 0 if w.minimum is None else 8
            acc = sum(a * (int(w.q[n, k]) + offset) for a, k in zip(x, features, strict=True))
            factors = [(acc, w.scale)]
            if w.minimum is not None:
                factors.append((sum(x), w.minimum))
            for integer, per_group in factors:
                factor = Fraction(float(per_group[n, features[0] // w.group]))
                v = convert(single(Fraction(integer)) * power)
                total = single(total + single(v * factor))
        y[t, n] = total
    return y


def random_fp16(rng, shape, exponents=(0, 31)):
    bits = rng.integers(0, 2, shape) << 15 | rng.integers(*exponents, shape) << 10
    return (bits | rng.integers(0, 1024, shape)).astype(np.uint16).view(np.float16)


def random_weights(rng, outputs, in_features, group, asymmetric, exponents=(0, 31)):
    q = rng.integers(-8, 8, (outputs, in_features)).astype(np.int8)
    shape = (outputs, -(-in_features // group))
    scale = np.abs(random_fp16(rng, shape, exponents))
    minimum = random_fp16(rng, shape, exponents) if asymmetric else None
    return QuantisedWeights(q, scale, minimum, group)


@st.composite
def layers(draw):
    """Activations and weights that fit together, numbers of any size."""
    group = draw(st.sampled_from([16, 32, 64]))
    in_features = draw(st.integers(1, 200))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    low = rng.integers(0, 31)
    exponents = (low, min(31, low + 1 + rng.integers(0, 31)))
    x = random_fp16(rng, (draw(st.integers(1, 2)), in_features), exponents)
    encoded = anda_format.encode(AndaFormat(group=group), draw(st.integers(1, 16)), x)
    weight_group = draw(st.sampled_from([group, 2 * group, in_features]))
    return encoded, random_weights(rng, 2, in_features, weight_group, draw(st.booleans()))


@given(layers(), st.sampled_from(["fp32", "paper_fp16"]))
def test_bit_for_bit(layer, accumulate):
    encoded, w = layer
    y = anda_dots.compute(encoded, w, accumulate=accumulate)
    assert y.dtype == np.float32
    assert np.array_equal(y, model(encoded, w, accumulate))


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("mantissa", [14, 15, 16])
def test_long_mantissas_are_rounded(mantissa, asymmetric):
    """All elements as large as can be: the widest sums, which FP32 cannot hold exactly."""
    x = np.full((1, 192), 65504, np.float16)
    x[0, ::2] = 40000
    encoded = anda_format.encode(AndaFormat(), mantissa, x)
    rng = np.random.default_rng(mantissa)
    w = random_weights(rng, 8, 192, 64, asymmetric)
    w.q[:] = rng.integers(6, 8, w.q.shape)
    assert np.array_equal(anda_dots.compute(encoded, w), model(encoded, w, "fp32"))


def test_known_layer():
    """1 * 3 - 0.5 * 2 under a scale of 0.25, then 4 * 7 under a scale of 2."""
    x = np.zeros((1, 32), np.float16)
    x[0, [0, 1, 16]] = [1, 0.5, 4]
    w = np.zeros((1, 32), np.int8)
    w[0, [0, 1, 16]] = [3, -2, 7]
    encoded = anda_format.encode(AndaFormat(group=16), 4, x)
    scale = np.array([[0.25, 2]], np.float16)
    assert anda_dots.compute(encoded, QuantisedWeights(w, scale, None, 16)).tolist() == [[56.5]]
    minimum = np.array([[-1, 0.5]], np.float16)  # w = d * (q + 8) + min
    asymmetric = QuantisedWeights(w, scale, minimum, 16)
    expected = 0.25 * (11 + 3) - 1.5 + 2 * 4 * 15 + 0.5 * 4
    assert anda_dots.compute(encoded, asymmetric).tolist() == [[expected]]


def test_paper_fp16_saturates():
    x = np.full((1, 64), 65504, np.float16)
    encoded = anda_format.encode(AndaFormat(), 8, x)
    w = take_weights(np.full((2, 64), 7, np.int8) * np.array([[1], [-1]], np.int8))
    assert anda_dots.compute(encoded, w, accumulate="paper_fp16").tolist() == [[65504, -65504]]
    exact = 64 * 7 * 255 * 256
    assert anda_dots.compute(encoded, w).tolist() == [[exact, -exact]]


@pytest.mark.parametrize("symmetric", [True, False])
def test_close_to_real_numbers(symmetric):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(6, 300)).astype(np.float16)
    w = quantise_weights(rng.normal(size=(10, 300)).astype(np.float32), "group", 64, symmetric)
    encoded = anda_format.encode(AndaFormat(group=32), 16, x)
    exact = encoded.decode() @ w.dequantise().T.astype(np.float64)
    assert np.allclose(anda_dots.compute(encoded, w), exact, rtol=1e-5, atol=1e-4)
    loose = anda_dots.compute(encoded, w, accumulate="paper_fp16")
    assert 1e-4 < np.abs(loose - exact).max() < 0.2


# --- integer dot products -------------------------------------------------------------------------


@given(layers())
def test_dot_products_by_bit_planes(layer):
    """The serial order: each plane's sum of signed weights is added to twice the ones before."""
    encoded, w = layer
    pad = encoded.padded_features - encoded.in_features
    weights = np.pad(w.q, ((0, 0), (0, pad))).astype(np.int64)
    weights = weights.reshape(len(w.q), encoded.groups, encoded.group)
    planes = encoded.planes()
    sign = np.where(planes[:, :, 0], -1, 1)
    acc = np.zeros((encoded.groups, encoded.tokens, len(w.q)), np.int64)
    for j in range(1, 1 + encoded.mantissa):
        acc = 2 * acc + np.einsum("tgi,tgi,ngi->gtn", planes[:, :, j], sign, weights)
    dots = anda_dots.group_dots(encoded, w.q)
    assert dots.dtype == np.int64
    assert np.array_equal(dots, acc)


@pytest.mark.parametrize(
    ("group", "mantissa", "asymmetric", "bits"),
    [(64, 16, False, 26), (64, 16, True, 27), (64, 1, False, 11), (16, 4, False, 12)],
)
def test_width_of_dot_products(group, mantissa, asymmetric, bits):
    assert anda_dots.acc_bits(group, mantissa, asymmetric) == bits
    largest = group * (2**mantissa - 1) * (15 if asymmetric else 8)
    assert largest < 2 ** (bits - 1) <= 2 * largest
    if asymmetric:
        return
    x = np.full((1, group), -65504, np.float16)
    encoded = anda_format.encode(AndaFormat(group=group), mantissa, x)
    dots = anda_dots.group_dots(encoded, np.full((1, group), -8, np.int8))
    assert dots.item() == group * 8 * int(encoded.magnitude[0, 0])


# --- no FP32 subnormal number ---------------------------------------------------------------------


def test_powers_and_scales_are_multiples():
    """A group's step is at least 2^-29 and a scale a multiple of 2^-24: products are of 2^-53.

    Rounding a multiple of a power of two to 24 bits keeps it one, be it exact or to a coarser
    grid, and so do sums. The smallest number but 0 is then 2^-53, far above 2^-126. An FP16 result
    is a multiple of 2^-24, which leaves 2^-48.
    """
    x = np.zeros((30, 16), np.float16)
    x[:, 0] = 2.0 ** (np.arange(1, 31) - 15)
    steps = [anda_format.encode(AndaFormat(group=16), m, x).scale() for m in range(1, 17)]
    assert np.min(steps) == 2.0**-29
    assert (np.log2(steps) % 1 == 0).all()
    assert (FINITE.astype(np.float64) * 2.0**24 % 1 == 0).all()


@given(st.integers(-(2**90), 2**90), st.integers(0, 70))
def test_rounding_keeps_multiples(integer, shift):
    rounded = nearest((integer >> shift) * STEP, 24)
    assert (rounded / STEP).denominator == 1
    assert rounded == 0 or abs(rounded) >= STEP


@pytest.mark.parametrize("accumulate", ["fp32", "paper_fp16"])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_extremes_without_subnormals(accumulate, asymmetric):
    """The smallest numbers of all: plain IEEE-754 with subnormals gives the same bits."""
    rng = np.random.default_rng(6)
    for mantissa in (1, 8, 15, 16):
        x = random_fp16(rng, (16, 256), exponents=(0, 2))
        encoded = anda_format.encode(AndaFormat(), mantissa, x)
        w = random_weights(rng, 32, 256, 128, asymmetric, exponents=(0, 1))
        w.q[::2] = rng.integers(-1, 2, w.q[::2].shape)
        y = anda_dots.compute(encoded, w, accumulate=accumulate)
        assert (y * 2.0**53 % 1 == 0).all()
        assert np.abs(y[y != 0]).min() >= 2.0**-53
        assert y.tobytes() == ieee(encoded, w, accumulate).tobytes()


def ieee(encoded, w, accumulate):
    """The same layer in numpy's float32, subnormal numbers included."""
    dots = anda_dots.group_dots(encoded, w.q)
    ones = anda_dots.group_dots(encoded, np.ones((1, w.q.shape[1]), np.int8))
    steps = encoded.scale().astype(np.float32).T[:, :, None]
    kind = np.float16 if accumulate == "paper_fp16" else np.float32
    total = np.zeros(dots.shape[1:], np.float32)
    for g in range(encoded.groups):
        per_group = [(dots[g], w.scale)]
        if w.minimum is not None:
            per_group = [(dots[g] + 8 * ones[g], w.scale), (ones[g], w.minimum)]
        for integers, factors in per_group:
            v = (integers.astype(np.float32) * steps[g]).astype(kind).astype(np.float32)
            total = total + v * factors[:, g * encoded.group // w.group].astype(np.float32)
    return total


# --- validation -----------------------------------------------------------------------------------


def operands(group=64, in_features=256, weight_group=128):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(2, in_features)).astype(np.float16)
    w = random_weights(rng, 3, in_features, weight_group, True)
    return anda_format.encode(AndaFormat(group=group), 8, x), w


def test_groups_that_do_not_nest():
    encoded, w = operands(weight_group=32)
    refuses(
        "each Anda group must lie inside one weight group,"
        " got Anda groups of 64 and weight groups of 32.",
        anda_dots.compute,
        encoded,
        w,
    )


@pytest.mark.parametrize(("in_features", "weight_group"), [(200, 200), (20, 32), (30, 30)])
def test_one_weight_group_holds_any_group(in_features, weight_group):
    encoded, w = operands(in_features=in_features, weight_group=weight_group)
    assert np.array_equal(anda_dots.compute(encoded, w), model(encoded, w, "fp32"))


def test_other_in_features():
    encoded, _ = operands()
    _, w = operands(in_features=255)
    sentence = "weights must have the 256 in_features of the activations, got 255."
    refuses(sentence, anda_dots.compute, encoded, w)
    refuses(sentence, anda_dots.group_dots, encoded, w.q)


@pytest.mark.parametrize(("name", "value"), [("scale", np.inf), ("minimum", np.nan)])
def test_factors_that_are_not_finite(name, value):
    encoded, w = operands()
    getattr(w, name)[1, 1] = value
    plural = {"scale": "scales", "minimum": "minima"}[name]
    sentence = f"the {plural} of weights must be finite, got {value}."
    refuses(sentence, anda_dots.compute, encoded, w)
