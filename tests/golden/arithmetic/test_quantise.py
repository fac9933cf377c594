import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden.arithmetic.quantise import (
    check_matrix,
    quantise_activations,
    quantise_weights,
    take_activations,
    take_weights,
)
from nibbleforge.golden.contract.errors import UserError

F32 = np.float32
LIMITS = (5, 7, 119, 127, 32639, 32767)


def refuses(sentence, function, *args, **kwargs):
    with pytest.raises(UserError) as error:
        function(*args, **kwargs)
    assert str(error.value) == sentence


def floats(shape, seed, spread=4.0):
    """Normal values whose rows differ in magnitude, as tokens and outputs do."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) * np.exp2(rng.uniform(-spread, spread, (shape[0], 1)))


# --- check_matrix ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_floats_become_float32(dtype):
    checked = check_matrix("activations", np.asfortranarray(np.array([[1, 2.5], [0, -3]], dtype)))
    assert checked.dtype == F32
    assert checked.flags.c_contiguous
    assert checked.tolist() == [[1, 2.5], [0, -3]]


def test_int8_stays():
    assert check_matrix("weights", np.array([[-128, 127]], np.int8)).dtype == np.int8


@pytest.mark.parametrize(
    ("name", "array", "sentence"),
    [
        (
            "activations",
            np.zeros(3),
            "activations must be 2-D (tokens, in_features), got shape (3,).",
        ),
        ("gate", np.zeros(()), "gate must be 2-D (out_features, in_features), got shape ()."),
        (
            "activations",
            np.zeros((0, 4)),
            "activations must have at least one row and one column (tokens, in_features),"
            " got shape (0, 4).",
        ),
        (
            "weights",
            np.zeros((4, 0), np.int8),
            "weights must have at least one row and one column (out_features, in_features),"
            " got shape (4, 0).",
        ),
        (
            "activations",
            np.zeros((2, 2), np.int32),
            "activations must be float16, float32, float64 or int8, got int32.",
        ),
        (
            "weights",
            np.zeros((2, 2), np.complex64),
            "weights must be float16, float32, float64 or int8, got complex64.",
        ),
        (
            "activations",
            np.array([[0, 0], [0, np.nan]], np.float16),
            "activations must be finite, got nan in row 1, column 1.",
        ),
        (
            "weights",
            np.array([[0, -np.inf]]),
            "weights must be finite, got -inf in row 0, column 1.",
        ),
        (
            "weights",
            np.array([[1.0], [-1e39]]),
            "weights must fit float32, got -1e+39 in row 1, column 0.",
        ),
    ],
)
def test_check_matrix_refuses(name, array, sentence):
    refuses(sentence, check_matrix, name, array)


# --- activations ----------------------------------------------------------------------------------


def oracle_activations(x, limit):
    """The definition, one scalar at a time."""
    q, scales = [], []
    for token in x.astype(F32):
        scale = F32(max(abs(v) for v in token)) / F32(limit)
        scales.append(scale)
        exact = [round(float(v / scale)) if scale else 0 for v in token]
        q.append([max(-limit, min(limit, v)) for v in exact])
    return q, scales


@given(
    st.integers(1, 5),
    st.integers(1, 20),
    st.integers(0, 2**32),
    st.sampled_from(LIMITS),
    st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_activations_match_oracle(tokens, in_features, seed, limit, dtype):
    x = floats((tokens, in_features), seed).astype(dtype)
    quantised = quantise_activations(x, limit)
    q, scale = oracle_activations(x, limit)
    assert quantised.q.tolist() == q
    assert quantised.scale.tolist() == scale
    assert quantised.scale.dtype == F32
    assert quantised.q.dtype == (np.int8 if limit <= 127 else np.int16)


def test_activations_divide():
    """A multiplication by the reciprocal would give 11 and 3."""
    x = np.array([[1, 0.09663865715265274], [3, 0.06302521377801895]], F32)
    quantised = quantise_activations(x, 119)
    reciprocal = np.rint(x * (F32(1) / quantised.scale[:, None]))
    assert quantised.q.tolist() == [[119, 12], [119, 2]]
    assert reciprocal.tolist() == [[119, 11], [119, 3]]


def test_activations_round_half_to_even():
    x = np.array([[127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5]], F32)
    assert quantise_activations(x, 127).q.tolist() == [[127, 0, 2, 2, 0, -2, -2]]


def test_activations_without_magnitude():
    quantised = quantise_activations(np.array([[0, -0.0], [0.5, -2], [1e-45, -1e-45]], F32), 119)
    assert quantised.q.tolist() == [[0, 0], [30, -119], [0, 0]]
    assert not np.signbit(quantised.scale).any()


def test_activations_clip_where_the_scale_is_subnormal():
    smallest = 2.0**-149
    quantised = quantise_activations(np.array([[178, -178, 100]], F32) * F32(smallest), 119)
    assert quantised.scale.tolist() == [smallest]
    assert quantised.q.tolist() == [[119, -119, 100]]


@pytest.mark.parametrize("limit", LIMITS)
def test_activation_error_is_half_a_step(limit):
    x = floats((64, 257), 1).astype(F32)
    quantised = quantise_activations(x, limit)
    scale = quantised.scale.astype(np.float64)[:, None]
    error = np.abs(quantised.q * scale - x.astype(np.float64)) / scale
    assert error.max() <= 0.5 + limit * 2.0**-22
    assert np.abs(quantised.q).max(axis=1).tolist() == [limit] * 64


def test_quantisers_refuse_int8():
    q = np.zeros((2, 2), np.int8)
    refuses(
        "activations to be quantised must be floating point, got int8.",
        quantise_activations,
        q,
        119,
    )
    refuses("weights to be quantised must be floating point, got int8.", quantise_weights, q)


@pytest.mark.parametrize("limit", LIMITS)
def test_float_activations_are_quantised(limit):
    x = floats((3, 40), 2)
    taken, quantised = take_activations(x, limit), quantise_activations(x, limit)
    assert np.array_equal(taken.q, quantised.q)
    assert np.array_equal(taken.scale, quantised.scale)
    assert taken.recode == ("balanced" if limit in (5, 119, 32639) else "twos")


@pytest.mark.parametrize(
    ("limit", "policy", "recode", "highest"),
    [
        (119, "saturate", "balanced", 119),
        (119, "twos", "twos", 127),
        (127, "error", "twos", 127),
        (32639, "error", "balanced", 127),
    ],
)
def test_int8_activations_are_taken(limit, policy, recode, highest):
    x = np.arange(-128, 128).astype(np.int8).reshape(2, 128)
    taken = take_activations(x, limit, policy)
    assert taken.q.tolist() == np.minimum(x, highest).tolist()
    assert taken.q.dtype == (np.int8 if limit <= 127 else np.int16)
    assert taken.scale.tolist() == [1, 1]
    assert taken.recode == recode


@pytest.mark.parametrize("policy", ["error", "saturate", "twos"])
def test_int8_policy_is_idle_without_high_values(policy):
    x = np.arange(-128, 120).astype(np.int8).reshape(2, 124)
    taken = take_activations(x, 119, policy)
    assert np.array_equal(taken.q, x)
    assert taken.recode == "balanced"


def test_int8_activations_out_of_range():
    x = np.array([[-128, 120, 125]], np.int8)
    refuses(
        "activations must be in -128..119 for the balanced recoding, got 125; choose"
        " --int8-policy saturate to clip them or --int8-policy twos to recode in two's complement.",
        take_activations,
        x,
        119,
    )
    for policy in ("error", "twos"):
        refuses(
            "activations must be in -8..5, got -128..125; --int8-policy saturate clips them.",
            take_activations,
            x,
            5,
            policy,
        )
    assert take_activations(x, 5, "saturate").q.tolist() == [[-8, 5, 5]]


# --- weights --------------------------------------------------------------------------------------


def oracle_weights(w, group, symmetric, bits):
    """The definition, one scalar at a time."""
    q, scales, minima = [], [], []
    levels, largest = {4: (15, 7), 3: (7, 3), 2: (3, 1)}[bits]
    for row in w.astype(F32):
        q.append([])
        scales.append([])
        minima.append([])
        for start in range(0, len(row), group):
            part = row[start : start + group]
            low, high = (0, levels)
            minimum = F32(np.float16(min(part)))
            scale = F32(np.float16((max(part) - min(part)) / F32(levels)))
            if symmetric:
                low, high = (-largest, largest)
                minimum = F32(0)
                scale = F32(np.float16(max(abs(v) for v in part) / F32(largest)))
            steps = [round(float((v - minimum) / scale)) if scale else 0 for v in part]
            q[-1] += [max(low, min(high, v)) - (0 if symmetric else largest + 1) for v in steps]
            scales[-1].append(scale)
            minima[-1].append(minimum)
    return q, scales, minima


@given(
    st.integers(1, 4),
    st.integers(1, 40),
    st.integers(0, 2**32),
    st.sampled_from(["channel", 4, 16, 128]),
    st.booleans(),
    st.sampled_from([4, 4, 3, 2]),
    st.floats(0, 18),
)
def test_weights_match_oracle(rows, in_features, seed, group, symmetric, bits, spread):
    w = floats((rows, in_features), seed, spread).clip(-3e4, 3e4).astype(F32)
    grain = ("channel",) if group == "channel" else ("group", group)
    quantised = quantise_weights(w, *grain, symmetric=symmetric, bits=bits)
    size = in_features if group == "channel" else group
    q, scale, minimum = oracle_weights(w, size, symmetric, bits)
    assert quantised.q.dtype == np.int8
    assert quantised.q.tolist() == q
    assert quantised.scale.dtype == np.float16
    assert quantised.scale.tolist() == scale
    assert quantised.scale.shape == (rows, math.ceil(in_features / size))
    if symmetric:
        assert quantised.minimum is None
    else:
        assert quantised.minimum.dtype == np.float16
        assert quantised.minimum.tolist() == minimum


def test_scale_is_rounded_before_it_divides():
    """0.3571 is 2.4997 steps of 1/7 but 2.5003 steps of fp16(1/7)."""
    quantised = quantise_weights(np.array([[1, 0.3571, -0.3571]], F32))
    assert float(quantised.scale[0, 0]) == 0.142822265625
    assert quantised.q.tolist() == [[7, 3, -3]]


def test_subnormal_scale_clips():
    smallest = 2.0**-24
    quantised = quantise_weights(np.array([[10, -10, 3]]) * smallest)
    assert quantised.scale.tolist() == [[smallest]]
    assert quantised.q.tolist() == [[7, -7, 3]]


def test_weights_without_magnitude():
    assert quantise_weights(np.array([[0, 1e-9, -1e-9]])).q.tolist() == [[0, 0, 0]]
    constant = quantise_weights(np.full((1, 3), 1001.7), symmetric=False)
    assert (constant.scale.tolist(), constant.minimum.tolist()) == ([[0]], [[1001.5]])
    assert constant.q.tolist() == [[-8, -8, -8]]
    assert constant.dequantise().tolist() == [[1001.5, 1001.5, 1001.5]]


def test_asymmetric_as_q4_1():
    """``w = d*u + min``, u = 0..15, stored as u - 8; a second, short group of its own."""
    w = np.concatenate([np.arange(16) * 0.25 - 1, [7, 8]])[None]
    quantised = quantise_weights(w, "group", 16, symmetric=False)
    assert quantised.scale.tolist() == [[0.25, float(np.float16(1 / 15))]]
    assert quantised.minimum.tolist() == [[-1, 7]]
    assert quantised.q.tolist() == [[*range(-8, 8), -8, 7]]
    assert np.array_equal(quantised.dequantise()[:, :16], w[:, :16])


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("grain", [("channel",), ("group", 32), ("group", 128)])
def test_weight_error_is_half_a_step(grain, symmetric):
    w = floats((32, 300), 3).astype(F32)
    quantised = quantise_weights(w, *grain, symmetric=symmetric)
    step = np.repeat(quantised.scale.astype(np.float64), quantised.group, axis=1)[:, :300]
    error = np.abs(quantised.dequantise().astype(np.float64) - w)
    rounded = np.abs(w).max(axis=1, keepdims=True) * 2.0**-10
    assert (error <= 0.5 * step + rounded).all()


def test_weights_overflow():
    refuses(
        "the scale of weights in row 1, group 0 must fit FP16 (at most 65504), got 71428.6.",
        quantise_weights,
        np.array([[1.0], [5e5]]),
    )
    refuses(
        "the scale of weights in row 0, group 0 must fit FP16 (at most 65504), got inf.",
        quantise_weights,
        np.array([[-3e38, 3e38]]),
        symmetric=False,
    )
    refuses(
        "the minimum of weights in row 0, group 1 must fit FP16 (at most 65504), got 70000.",
        quantise_weights,
        np.array([[0.0, 1, 2, 3, 7e4]]),
        "group",
        4,
        symmetric=False,
    )


def test_weight_group():
    for function in (quantise_weights, take_weights):
        refuses(
            "the weight group must be one of 4, 8, 16, 32, 64, 128, got 48.",
            function,
            np.zeros((1, 48)),
            "group",
            48,
        )


def test_float_weights_are_quantised():
    w = floats((4, 70), 4)
    taken = take_weights(w, "group", 32, symmetric=False)
    quantised = quantise_weights(w, "group", 32, symmetric=False)
    assert np.array_equal(taken.q, quantised.q)
    assert np.array_equal(taken.minimum, quantised.minimum)


@pytest.mark.parametrize("symmetric", [True, False])
def test_int8_weights_are_taken(symmetric):
    w = np.tile(np.arange(-8, 8), 3)[None].astype(np.int8)
    taken = take_weights(w, "group", 32, symmetric)
    assert taken.scale.tolist() == [[1, 1]]
    assert taken.scale.dtype == np.float16
    assert np.array_equal(taken.q, w)
    assert np.array_equal(taken.dequantise(), w)


@pytest.mark.parametrize(
    ("bits", "symmetric", "figure"), [(3, True, 3.5), (2, True, 2.5), (3, False, 4)]
)
def test_bits_per_weight(bits, symmetric, figure):
    quantised = quantise_weights(floats((2, 64), 4), "group", 32, symmetric, bits)
    assert quantised.bits_per_weight == figure
    assert quantise_weights(floats((2, 64), 4), bits=bits).bits_per_weight == bits


def test_int2_weights_are_ternary():
    assert quantise_weights(np.array([[-2.0, -0.9, 0.9, 1.1]]), bits=2).q.tolist() == [
        [-1, 0, 0, 1]
    ]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3])
def test_int8_weights_of_fewer_bits_are_taken(bits, symmetric):
    half = 2 ** (bits - 1)
    w = np.arange(-half, half)[None].astype(np.int8)
    taken = take_weights(w, symmetric=symmetric, bits=bits)
    assert np.array_equal(taken.dequantise(), w)
    refuses(
        f"int8 weights must hold INT{bits} values in {-half}..{half - 1}, got {-half}..{half}.",
        take_weights,
        np.append(w, np.int8(half))[None],
        bits=bits,
    )


def test_int8_weights_out_of_range():
    refuses(
        "int8 weights must hold INT4 values in -8..7, got -1..8.",
        take_weights,
        np.array([[-1, 8]], np.int8),
    )
