import re
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden.arithmetic import floating
from nibbleforge.golden.arithmetic.floating import (
    FloatAddConfig,
    FloatMultiplyConfig,
    IntToFloatConfig,
)
from nibbleforge.golden.contract.errors import UserError

# --- an independent model: exact fractions, rounded once ------------------------------------------


def fraction(bits):
    """Exact value of finite FP32 bits; subnormals count as zero."""
    exponent, mantissa = bits >> 23 & 255, bits & 0x7FFFFF
    if exponent == 0:
        return Fraction(0)
    sign = -1 if bits >> 31 else 1
    return sign * Fraction(2**23 + mantissa) * Fraction(2) ** (exponent - 150)


def rounded(value, zero_sign):
    """FP32 bits of an exact value: nearest even, infinite beyond the range, no subnormals."""
    if value == 0:
        return zero_sign << 31
    sign, size = int(value < 0) << 31, abs(value)
    if size < Fraction(2) ** -126:
        return sign
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    mantissa = round(size / Fraction(2) ** (exponent - 23))  # Python rounds to even
    return sign | min((exponent + 126 << 23) + mantissa, 0x7F800000)


def product(a, b):
    return rounded(fraction(a) * fraction(b), (a ^ b) >> 31)


def total(a, b):
    x, y = fraction(a), fraction(b)
    both = (a & b) >> 31 if x == y == 0 else 0
    return rounded(x + y, both)


def as_float(bits):
    return np.array(bits, np.uint32).view(np.float32)


def as_bits(value):
    return int(np.asarray(value, np.float32).view(np.uint32))


FINITE = st.builds(
    lambda sign, exponent, mantissa: sign << 31 | exponent << 23 | mantissa,
    st.integers(0, 1),
    st.one_of(st.integers(0, 254), st.integers(118, 136)),
    st.one_of(st.integers(0, (1 << 23) - 1), st.sampled_from([0, 1, 1 << 22, (1 << 23) - 1])),
)

# --- operations -----------------------------------------------------------------------------------


@given(FINITE, FINITE)
def test_multiply(a, b):
    assert as_bits(floating.multiply(as_float(a), as_float(b))) == product(a, b)


@given(FINITE, FINITE)
def test_add(a, b):
    assert as_bits(floating.add(as_float(a), as_float(b))) == total(a, b)


@given(FINITE, st.integers(-3, 3))
def test_add_to_nearly_its_negative(a, step):
    b = min(max((a ^ 1 << 31) + step, 0), 0xFF7FFFFF)
    if b >> 23 & 255 != 255:
        assert as_bits(floating.add(as_float(a), as_float(b))) == total(a, b)


@given(FINITE, st.integers(0, 0xFFFF).filter(lambda half: half >> 10 & 31 != 31))
def test_multiply_by_fp16(a, half):
    """FP16 widens exactly; its subnormal numbers are normal in FP32."""
    narrow = np.array(half, np.uint16).view(np.float16)
    wide = as_bits(struct.unpack("<e", struct.pack("<H", half))[0])
    assert narrow == 0 or wide >> 23 & 255
    assert as_bits(floating.multiply(as_float(a), narrow)) == product(a, wide)


@given(st.integers(2, 64), st.data())
def test_int_to_fp32(bits, data):
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    value = data.draw(st.one_of(st.integers(low, high), st.sampled_from([low, high, 0])))
    assert as_bits(floating.int_to_fp32(value, bits)) == rounded(Fraction(value), 0)


def test_integers_up_to_25_bits_are_exact():
    values = np.concatenate([[-(1 << 24)], np.arange((1 << 24) - 1000, 1 << 24)])
    assert floating.int_to_fp32(values, 25).astype(np.int64).tolist() == values.tolist()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1 << 24) + 1, 1 << 24),
        ((1 << 24) + 3, (1 << 24) + 4),
        ((1 << 25) + 6, (1 << 25) + 8),
        ((1 << 25) + 2, 1 << 25),
        (-(1 << 24) - 1, -(1 << 24)),
        ((1 << 26) - 1, 1 << 26),
    ],
)
def test_integers_round_to_nearest_even(value, expected):
    assert floating.int_to_fp32(value, 28) == expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (0x00000000, 0x80000000, 0x00000000),
        (0x80000000, 0x80000000, 0x80000000),
        (0x3F800000, 0xBF800000, 0x00000000),
        (0xBF800000, 0x3F800000, 0x00000000),
        (0x7F7FFFFF, 0x7F7FFFFF, 0x7F800000),
        (0x7F7FFFFF, 0x73000000, 0x7F800000),
        (0x7F7FFFFF, 0x72FFFFFF, 0x7F7FFFFF),
        (0x3F800000, 0x33800000, 0x3F800000),
        (0x3F800001, 0x33800000, 0x3F800002),
        (0x3F800000, 0x33800001, 0x3F800001),
        (0x3F800000, 0xB3000000, 0x3F800000),
        (0x3F800000, 0xB3000001, 0x3F7FFFFF),
        (0x00800001, 0x80800000, 0x00000000),
        (0x80800001, 0x00800000, 0x80000000),
    ],
)
def test_sums(a, b, expected):
    assert as_bits(floating.add(as_float(a), as_float(b))) == expected == total(a, b)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (0x80000000, 0x3F800000, 0x80000000),
        (0x80000000, 0xBF800000, 0x00000000),
        (0x7F000000, 0x40000000, 0x7F800000),
        (0xFF7FFFFF, 0x3F800001, 0xFF800000),
        (0x20000000, 0x20000000, 0x00800000),
        (0xA07FFFFF, 0x20000000, 0x80FFFFFF),
        (0x1FFFFFFF, 0x20000000, 0x00000000),
        (0x1FFFFFFF, 0x207FFFFF, 0x00FFFFFE),
        (0x1F800000, 0x20000000, 0x00000000),
        (0x9F800000, 0x207FFFFF, 0x80000000),
    ],
)
def test_products(a, b, expected):
    assert as_bits(floating.multiply(as_float(a), as_float(b))) == expected == product(a, b)


def test_never_fused():
    """The product is rounded before it is added."""
    a, b = np.float32(1 + 2**-12), np.float32(1 - 2**-13)
    c = -floating.multiply(a, b)
    assert floating.add(floating.multiply(a, b), c) == 0
    assert float(a) * float(b) + float(c) != 0


def test_arrays_keep_their_shape_and_type():
    a = np.ones((2, 1, 3), np.float16)
    b = np.full((4, 1), 2, np.float32)
    for function in (floating.multiply, floating.add):
        assert function(a, b).shape == (2, 4, 3)
        assert function(a, b).dtype == np.float32


@pytest.mark.parametrize("scale", [2.0**-24, 1023 * 2.0**-24, 65504])
@pytest.mark.parametrize("exponent", [1 - 15 - 15, 0, 30 - 15])
def test_every_value_of_the_units_is_normal(scale, exponent):
    """An integer times an FP16 scale is a multiple of 2^-53 under any group exponent of Anda."""
    v = floating.multiply(np.float32(2.0**exponent), floating.int_to_fp32(-1, 2))
    value = float(floating.multiply(v, np.float16(scale)))
    assert value < 0
    assert (value * 2.0**53).is_integer()
    assert floating.SMALLEST < 2.0**-53


# --- FP32 to FP16 ---------------------------------------------------------------------------------

HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
LADDER = np.arange(0x7C01, dtype=np.uint16).view(np.float16).astype(np.float64)
LADDER[-1] = 65536  # where the next number would be


def nearest_half(values):
    """Bits by search among all FP16 numbers: the nearest, on a tie the even one; 0x7C00: beyond."""
    size = np.abs(values.astype(np.float64))
    below = np.clip(np.searchsorted(LADDER, size, side="right") - 1, 0, 0x7BFF)
    middle = (LADDER[below] + LADDER[below + 1]) / 2
    return below + ((size > middle) | (size == middle) & (below % 2 == 1))


def test_every_fp16_number_comes_back():
    numbers = HALVES[~np.isnan(HALVES)]
    wide = numbers.astype(np.float32)
    back = floating.fp32_to_fp16(wide, overflow="inf")
    assert np.array_equal(back.view(np.uint16), numbers.view(np.uint16))
    saturated = floating.fp32_to_fp16(wide)
    finite = np.isfinite(numbers)
    assert np.array_equal(saturated.view(np.uint16)[finite], numbers.view(np.uint16)[finite])
    assert sorted(saturated[~finite].tolist()) == [-65504, 65504]


@pytest.mark.parametrize("overflow", ["saturate", "inf"])
def test_nan_stays(overflow):
    nan = HALVES[np.isnan(HALVES)].astype(np.float32)
    assert np.isnan(floating.fp32_to_fp16(nan, overflow=overflow)).all()


def around_fp16(seed):
    """FP32 numbers of all sizes FP16 knows and some more, and every tie with its neighbours."""
    rng = np.random.default_rng(seed)
    exponent = rng.integers(127 - 28, 127 + 19, 200_000, dtype=np.uint32)
    bits = exponent << 23 | rng.integers(0, 1 << 23, exponent.shape, dtype=np.uint32)
    ties = ((LADDER[:-1] + LADDER[1:]) / 2).astype(np.float32)
    sides = [ties, np.nextafter(ties, np.float32(0)), np.nextafter(ties, np.float32(1e9))]
    odd = np.array([0, 2.0**-126, 2.0**-149, 3.4e38], np.float32)
    values = np.concatenate([bits.view(np.float32), *sides, odd])
    return np.concatenate([values, -values])


def test_fp32_to_fp16_is_the_nearest():
    values = around_fp16(1)
    expected = nearest_half(values)
    sign = np.signbit(values) * 0x8000
    infinite = floating.fp32_to_fp16(values, overflow="inf").view(np.uint16)
    assert np.array_equal(infinite, expected + sign)
    saturated = floating.fp32_to_fp16(values).view(np.uint16)
    assert np.array_equal(saturated, np.minimum(expected, 0x7BFF) + sign)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (65519.996, 65504),
        (65520, np.inf),
        (-65520, -np.inf),
        (2.0**-25, 0),
        (2.0**-25 * (1 + 2.0**-23), 2.0**-24),
        (3 * 2.0**-25, 2.0**-23),
        (1023.5 * 2.0**-24, 2.0**-14),
        (1 + 2.0**-11, 1),
        (1 + 3 * 2.0**-11, 1 + 2.0**-9),
    ],
)
def test_fp32_to_fp16(value, expected):
    half = floating.fp32_to_fp16(np.full((2, 1), value, np.float32), overflow="inf")
    assert half.dtype == np.float16
    assert half.tolist() == [[expected]] * 2
    assert floating.fp32_to_fp16(np.float32(value)) == np.clip(expected, -65504, 65504)


# --- validation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "bits"), [(8, 4), (-9, 4), (1 << 24, 25)])
def test_integers_that_do_not_fit(value, bits):
    sentence = f"{bits} bits cannot hold all integers of {value}..{value}."
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        floating.int_to_fp32(value, bits)


@pytest.mark.parametrize(
    ("kind", "values", "sentence"),
    [
        (IntToFloatConfig, {"bits": 1}, "bits: input should be greater than or equal to 2, got 1."),
        (IntToFloatConfig, {"bits": 65}, "bits: input should be less than or equal to 64, got 65."),
        (
            IntToFloatConfig,
            {"stages": 4},
            "stages: input should be less than or equal to 3, got 4.",
        ),
        (
            FloatMultiplyConfig,
            {"significand": 12},
            "significand: input should be 11 or 24, got 12.",
        ),
        (
            FloatMultiplyConfig,
            {"stages": 0},
            "stages: input should be greater than or equal to 1, got 0.",
        ),
        (FloatAddConfig, {"stages": 5}, "stages: input should be less than or equal to 4, got 5."),
    ],
)
def test_illegal_parameters(kind, values, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        kind(**values)
