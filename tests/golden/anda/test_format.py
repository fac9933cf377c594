import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden.anda import format as anda_format
from nibbleforge.golden.anda.format import AndaFormat
from nibbleforge.golden.contract.errors import UserError

EVERY = np.arange(1 << 16, dtype=np.uint16)
FINITE = EVERY[(EVERY >> 10 & 31) != 31].view(np.float16)
MANTISSAS = range(1, 17)
every_mantissa = pytest.mark.parametrize("mantissa", MANTISSAS)


def refuses(sentence, function, *args, **kwargs):
    with pytest.raises(UserError) as error:
        function(*args, **kwargs)
    assert str(error.value) == sentence


def group_of(bits, group=16):
    """Bit patterns, at most a group, as one token of float16."""
    padded = np.zeros((1, group), np.uint16)
    padded[0, : len(bits)] = bits
    return padded.view(np.float16)


# --- an independent model: the serial aligner, cycle by cycle -------------------------------------


def aligner(x, largest, mantissa):
    """The paper's serial aligner for many FP16 numbers at once, with the group's exponent given.

    Each cycle: if the exponent difference is above 0, decrement it and emit 0, else emit the top
    bit and shift left. The significand comes from the value, not from its bits.
    """
    fraction, exponent = np.frexp(np.abs(x.astype(np.float64)))  # value = fraction * 2^exponent
    effective = np.maximum(exponent + 14, 1)
    register = np.ldexp(fraction, exponent + 14 - effective + 11).astype(np.int64)
    difference = largest - effective
    emitted = np.zeros(x.shape, np.int64)
    for _ in range(mantissa):
        waits = difference > 0
        emitted = 2 * emitted + np.where(waits, 0, register >> 10)
        register = np.where(waits, register, (register << 1) & 0x7FF)
        difference = difference - waits
    return emitted


@every_mantissa
def test_every_number_at_every_distance_like_the_serial_aligner(mantissa):
    """Beside each finite number stands one of every exponent that is not below its own."""
    for largest in range(1, 31):
        numbers = FINITE[FINITE.view(np.uint16) & 0x7FFF < (largest + 1) << 10]
        leader = np.uint16(largest << 10).view(np.float16)
        x = np.full((len(numbers), 2), leader)
        x[:, 1] = numbers
        encoded = anda_format.encode(AndaFormat(group=16), mantissa, x)
        assert (encoded.exponent == largest).all()
        assert np.array_equal(encoded.magnitude[:, 1], aligner(numbers, largest, mantissa))
        assert np.array_equal(encoded.sign[:, 1], np.signbit(numbers))
        assert (encoded.magnitude[:, 0] == 1 << mantissa - 1).all()
        assert not encoded.magnitude[:, 2:].any()
        assert not encoded.sign[:, 2:].any()


@st.composite
def tensors(draw):
    """A format, a mantissa and finite activations, some groups narrow, some subnormal."""
    format = AndaFormat(group=draw(st.sampled_from([16, 32, 64])))
    tokens, in_features = draw(st.integers(1, 4)), draw(st.integers(1, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    low = rng.integers(0, 31, (tokens, 1))
    exponent = np.minimum(low + rng.integers(0, 1 + rng.integers(0, 31), (tokens, in_features)), 30)
    bits = rng.integers(0, 2, exponent.shape) << 15 | exponent << 10
    bits |= rng.integers(0, 1024, exponent.shape)
    return format, draw(st.integers(1, 16)), bits.astype(np.uint16).view(np.float16)


@given(tensors())
def test_groups_like_exact_fractions(drawn):
    """Each value is the largest multiple of the group's step that is not larger in size."""
    format, mantissa, x = drawn
    encoded = anda_format.encode(format, mantissa, x)
    decoded = encoded.decode()
    for token, row in enumerate(x.tolist()):
        for start in range(0, len(row), format.group):
            group = row[start : start + format.group]
            top = max(abs(Fraction(v)) for v in group)
            exponent = max([e for e in range(1, 31) if Fraction(2) ** (e - 15) <= top], default=1)
            step = Fraction(2) ** (exponent - 15 - (mantissa - 1))
            assert encoded.exponent[token, start // format.group] == exponent
            for k, value in enumerate(group, start):
                assert Fraction(decoded[token, k]) == int(Fraction(value) / step) * step
                assert np.signbit(decoded[token, k]) == np.signbit(value)


@given(tensors())
def test_nearest_like_exact_fractions(drawn):
    """Python rounds fractions to the nearest integer, ties to even."""
    format, mantissa, x = drawn
    plain = anda_format.encode(format, mantissa, x)
    encoded = anda_format.encode(format, mantissa, x, "nearest")
    assert np.array_equal(encoded.exponent, plain.exponent)
    assert np.array_equal(encoded.sign, plain.sign)
    decoded, steps = encoded.decode(), encoded.scale()
    for token, row in enumerate(x.tolist()):
        for k, value in enumerate(row):
            step = Fraction(steps[token, k // format.group])
            integer = round(abs(Fraction(value)) / step)
            magnitude = min(integer, (1 << mantissa) - 1) * step
            assert abs(Fraction(decoded[token, k])) == magnitude
            assert np.signbit(decoded[token, k]) == np.signbit(value)


def mxint8(values):
    """A block of OCP MXINT8 by its definition, in exact fractions: exponent and elements.

    The exponent is that of the largest magnitude, as far as FP16 has it; elements are integers in
    steps of 2^-6, rounded to even, within +-127.
    """
    exact = [Fraction(float(value)) for value in values]
    largest = max(abs(value) for value in exact)
    exponent = max([e for e in range(-14, 16) if Fraction(2) ** e <= largest], default=-14)
    elements = [round(value / Fraction(2) ** exponent * 64) for value in exact]
    return exponent, [max(-127, min(127, element)) for element in elements]


@pytest.mark.parametrize("seed", range(20))
def test_mantissas_of_7_bits_for_32_elements_are_those_of_mxint8(seed):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(4, 64)) * 2.0 ** rng.integers(-20, 14)).astype(np.float16)
    x[0, 3:6] = np.array([1.9921875, -1.9921875, 0.0078125]) * 2.0 ** rng.integers(-12, 15)
    encoded = anda_format.encode(AndaFormat(group=32), 7, x, "nearest")
    for token, row in enumerate(x):
        for block in range(2):
            exponent, elements = mxint8(row[32 * block : 32 * block + 32])
            found = encoded.integers()[token, 32 * block : 32 * block + 32]
            assert encoded.exponent[token, block] == exponent + 15
            assert found.tolist() == elements


@pytest.mark.parametrize(
    ("bits", "mantissa", "exponent", "magnitudes"),
    [
        ([0x3C00, 0xBFFF, 0x3FF0], 4, 15, [8, 15, 15]),  # all of nearly 2: no 16
        ([0x3C00, 0x3C40, 0x3C80, 0x3CC0, 0x3D40], 4, 15, [8, 8, 9, 10, 10]),  # 8.5: 8, 9.5: 10
        ([0x3C00, 0x2C00, 0x2C01, 0xAC00], 4, 15, [8, 0, 1, 0]),  # a half, and above it
        ([0x3C00, 0x3000], 4, 15, [8, 1]),
        ([0x7BFF, 0x0001], 16, 30, [2047 << 5, 0]),  # distance 29
        ([0x7800, 0x3BFF, 0x3400], 16, 30, [1 << 15, 1, 0]),  # distances 16, 17: 0.99.., 0.25
        ([0x0001, 0x8003], 10, 1, [0, 2]),  # subnormal numbers: halves to even
    ],
)
def test_known_groups_to_the_nearest(bits, mantissa, exponent, magnitudes):
    encoded = anda_format.encode(AndaFormat(group=16), mantissa, group_of(bits), "nearest")
    assert encoded.exponent.tolist() == [[exponent]]
    assert encoded.magnitude[0, : len(bits)].tolist() == magnitudes


@given(tensors())
def test_views_agree(drawn):
    format, mantissa, x = drawn
    encoded = anda_format.encode(format, mantissa, x)
    tokens, groups = encoded.exponent.shape
    assert encoded.padded_features == groups * format.group
    assert 0 <= encoded.padded_features - x.shape[1] < format.group
    assert not encoded.nonfinite.any()
    planes = encoded.planes()
    assert planes.shape == (tokens, groups, 1 + mantissa, format.group)
    places = 2.0 ** (encoded.exponent[:, :, None, None] - 15.0 - np.arange(mantissa)[:, None])
    sign = np.where(planes[:, :, 0], -1, 1)
    values = sign * (planes[:, :, 1:] * places).sum(axis=2)
    flat = values.reshape(tokens, -1)
    assert np.array_equal(flat[:, : x.shape[1]], encoded.decode())
    assert not flat[:, x.shape[1] :].any()
    scaled = encoded.integers().reshape(tokens, groups, -1) * encoded.scale()[:, :, None]
    assert np.array_equal(scaled, values)


@pytest.mark.parametrize("mantissa", range(11, 17))
def test_lossless_near_the_largest(mantissa):
    """M bits hold FP16 numbers whose exponent is at most M - 11 below the group's."""
    exponents = np.arange(10, 10 + mantissa - 10, dtype=np.uint16)
    x = (exponents << 10 | np.arange(1024, dtype=np.uint16)[:, None]).view(np.float16)
    encoded = anda_format.encode(AndaFormat(), mantissa, x)
    assert np.array_equal(encoded.decode(), x.astype(np.float64))


def test_longer_mantissas_extend_shorter_ones():
    x = np.random.default_rng(1).normal(size=(8, 128)).astype(np.float16)
    full = anda_format.encode(AndaFormat(), 16, x)
    for mantissa in MANTISSAS:
        encoded = anda_format.encode(AndaFormat(), mantissa, x)
        assert np.array_equal(encoded.magnitude, full.magnitude >> 16 - mantissa)
        assert np.array_equal(encoded.planes(), full.planes()[:, :, : 1 + mantissa])


@pytest.mark.parametrize(
    ("bits", "mantissa", "exponent", "magnitudes"),
    [
        ([0x3C00, 0xBFFF], 4, 15, [8, 15]),  # 1, nearly -2
        ([0x3C00, 0x3BFF], 4, 15, [8, 7]),
        ([0x0000, 0x8000], 8, 1, [0, 0]),
        ([0x0001, 0x83FF], 11, 1, [1, 1023]),  # subnormal numbers
        ([0x0001, 0x83FF], 16, 1, [32, 1023 << 5]),
        ([0x03FF, 0x0400], 4, 1, [7, 8]),
        ([0x7BFF, 0x0400], 16, 30, [2047 << 5, 0]),
        ([0x7BFF, 0x3FFF], 16, 30, [2047 << 5, 1]),  # distance 15
    ],
)
def test_known_groups(bits, mantissa, exponent, magnitudes):
    encoded = anda_format.encode(AndaFormat(group=16), mantissa, group_of(bits))
    assert encoded.exponent.tolist() == [[exponent]]
    assert encoded.magnitude[0, : len(bits)].tolist() == magnitudes
    assert encoded.sign[0, : len(bits)].tolist() == [b >> 15 == 1 for b in bits]


@every_mantissa
def test_nonfinite_numbers_count_as_the_largest(mantissa):
    odd = np.setdiff1d(EVERY, FINITE.view(np.uint16))
    x = np.zeros((len(odd), 20), np.uint16)
    x[:, 18] = odd
    encoded = anda_format.encode(AndaFormat(group=16), mantissa, x.view(np.float16))
    x[:, 18] = odd & 0x8000 | 0x7BFF
    expected = anda_format.encode(AndaFormat(group=16), mantissa, x.view(np.float16))
    assert np.array_equal(encoded.planes(), expected.planes())
    assert np.array_equal(encoded.exponent, expected.exponent)
    assert (encoded.nonfinite == [False, True]).all()
    assert not expected.nonfinite.any()


def test_layout_of_memory_does_not_matter():
    x = np.random.default_rng(2).normal(size=(5, 70)).astype(np.float16)
    plain = anda_format.encode(AndaFormat(), 7, x).planes()
    for other in (np.asfortranarray(x), x.astype(">f2"), np.repeat(x, 2, axis=1)[:, ::2]):
        assert np.array_equal(anda_format.encode(AndaFormat(), 7, other).planes(), plain)


@pytest.mark.parametrize(("group", "mantissa", "bits"), [(64, 5, 6.078125), (16, 16, 17.3125)])
def test_size(group, mantissa, bits):
    encoded = anda_format.encode(AndaFormat(group=group), mantissa, np.ones((2, 64), np.float16))
    assert encoded.bits_per_element == bits
    stored = encoded.planes().size + 5 * encoded.exponent.size
    assert stored == bits * 2 * 64


def test_a_layer_of_an_llm_takes_seconds():
    x = np.zeros((2048, 11008), np.float16)
    x[:] = np.random.default_rng(3).normal(size=11008)
    begin = time.process_time()
    anda_format.encode(AndaFormat(), 8, x)
    assert time.process_time() - begin < 5


# --- activations of the user ----------------------------------------------------------------------


def test_floats_are_rounded_once():
    """1 + 2^-11 + 2^-30 is above the tie in float64, but on it after a rounding to float32."""
    tie = np.array([[1 + 2.0**-11 + 2.0**-30, 1 + 2.0**-11, -(2.0**-25) - 2.0**-60]])
    assert anda_format.to_fp16("activations", tie).tolist() == [[1 + 2.0**-10, 1, -(2.0**-24)]]


def test_fp16_stays():
    x = FINITE.reshape(-1, 64)
    taken = anda_format.to_fp16("activations", x)
    assert np.array_equal(taken.view(np.uint16), x.view(np.uint16))


def test_int8_counts_as_scaled_by_1():
    x = np.arange(-128, 128, dtype=np.int8)[None]
    assert anda_format.to_fp16("activations", x).tolist() == x.tolist()


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (
            np.array([[1.0, 2], [-65520, 7e9]]),
            "activations must fit FP16 (at most 65504), got -65520.0 in row 1, column 0.",
        ),
        (
            np.array([[0, 1e6]], np.float32),
            "activations must fit FP16 (at most 65504), got 1000000.0 in row 0, column 1.",
        ),
        (
            np.array([[1e300]]),
            "activations must fit float32, got 1e+300 in row 0, column 0.",
        ),
        (
            np.array([[0, np.nan]], np.float16),
            "activations must be finite, got nan in row 0, column 1.",
        ),
        (
            np.array([[-np.inf]], np.float32),
            "activations must be finite, got -inf in row 0, column 0.",
        ),
        (
            np.ones((2, 2), np.int32),
            "activations must be float16, float32, float64 or int8, got int32.",
        ),
    ],
)
def test_illegal_activations(x, sentence):
    refuses(sentence, anda_format.to_fp16, "activations", x)


def test_the_largest_number_that_fits():
    assert anda_format.to_fp16("activations", [[65519.99, -65504.0]]).tolist() == [[65504, -65504]]


# --- validation -----------------------------------------------------------------------------------


def test_illegal_parameters():
    refuses("group: input should be 16, 32 or 64, got 128.", AndaFormat, group=128)
    x = np.ones((1, 1), np.float16)
    for mantissa in (0, 17, -1):
        sentence = f"mantissa must be in 1..16, got {mantissa}."
        refuses(sentence, anda_format.encode, AndaFormat(), mantissa, x)


@pytest.mark.parametrize(
    ("x", "given"),
    [
        (np.ones((2, 3), np.float32), "float32 of shape (2, 3)"),
        (np.ones(3, np.float16), "float16 of shape (3,)"),
        (np.ones((0, 3), np.float16), "float16 of shape (0, 3)"),
    ],
)
def test_illegal_tensors(x, given):
    refuses(
        f"x must be 2-D float16 (tokens, in_features) and not empty, got {given}.",
        anda_format.encode,
        AndaFormat(),
        8,
        x,
    )
