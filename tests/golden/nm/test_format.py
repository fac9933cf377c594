import time
import tracemalloc
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden.arithmetic.quantise import quantise_weights
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.nm import format as nm_format
from nibbleforge.golden.nm.format import dense, pack, quantise_sparse, slots, unpack
from nibbleforge.golden.nm.pattern import BLOCKS, Pattern

ENCODINGS = ("index", "bitmap")
EVERY = [Pattern(n, m, encoding) for m in BLOCKS for n in range(1, m + 1) for encoding in ENCODINGS]
every_pattern = pytest.mark.parametrize("pattern", EVERY, ids=lambda p: f"{p}-{p.encoding}")
two_of_four = Pattern(2, 4)


def refuses(sentence, function, *args, **kwargs):
    with pytest.raises(UserError) as error:
        function(*args, **kwargs)
    assert str(error.value) == sentence


def masks(pattern, codes):
    """Rows of one block each, from bitmaps as numbers."""
    return (np.asarray(codes)[:, None] >> np.arange(pattern.m) & 1).astype(bool)


def random_mask(rng, rows, in_features, pattern):
    """Exactly N of every M places, in the last block as many as there are."""
    score = rng.random((rows, pattern.blocks(in_features), pattern.m))
    rank = score.argsort(axis=2).argsort(axis=2)
    return (rank < pattern.n).reshape(rows, -1)[:, :in_features]


def random_q(rng, shape):
    return rng.integers(-8, 8, shape, dtype=np.int8)


# --- an independent model: every row is one big number --------------------------------------------


def slow_row(q, keep, pattern, beat_bits):
    """Bytes of a packed row, one weight at a time."""
    stream, position = 0, 0
    for start in range(0, len(q), pattern.m):
        places = [i for i in range(start, min(start + pattern.m, len(q))) if keep[i]]
        others = [i for i in range(start, start + pattern.m) if i not in places]
        stored = sorted(places + others[: pattern.n - len(places)])
        for j, place in enumerate(stored):
            value = int(q[place]) if place in places else 0
            stream |= (value & 15) << position + 4 * j
            width = {4: 2, 8: 3, 16: 4}[pattern.m]
            if pattern.n == pattern.m:
                continue
            if pattern.metadata == "index":
                stream |= place - start << position + 4 * pattern.n + j * width
            else:
                stream |= 1 << position + 4 * pattern.n + place - start
        position += pattern.block_bits
    beats = -(-position // beat_bits)
    return list(stream.to_bytes(beats * beat_bits // 8, "little"))


@every_pattern
def test_bits_like_the_slow_model(pattern):
    rng = np.random.default_rng(pattern.n)
    for in_features, beat_bits in product((1, 15, 16, 37), (8, 64, 128)):
        q = random_q(rng, (3, in_features))
        keep = random_mask(rng, 3, in_features, pattern)
        keep[2] &= rng.random(in_features) < 0.5  # fewer than N
        packed = pack(*slots(q, keep, pattern), pattern, beat_bits)
        expected = [slow_row(*row, pattern, beat_bits) for row in zip(q, keep, strict=True)]
        assert packed.tolist() == expected


def test_a_block_by_hand():
    """Values -1 and 5 in places 1 and 3; the index 1 | 3 << 2 and the bitmap 1010."""
    q, keep = np.array([[7, -1, 7, 5]], np.int8), np.array([[0, 1, 0, 1]], bool)
    for encoding, metadata in (("index", 0b1101), ("bitmap", 0b1010)):
        packed = pack(*slots(q, keep, Pattern(2, 4, encoding)), Pattern(2, 4, encoding), 16)
        assert packed.tolist() == [[0x5F, metadata]]


# --- round trips ----------------------------------------------------------------------------------


def round_trip(q, keep, pattern, beat_bits):
    in_features = q.shape[1]
    stored = slots(q, keep, pattern)
    packed = pack(*stored, pattern, beat_bits)
    again = unpack(packed, pattern, beat_bits, in_features)
    for array, same in zip(stored, again, strict=True):
        assert array.dtype == same.dtype
        assert np.array_equal(array, same)
    restored = dense(*again, pattern, in_features)
    assert restored.dtype == np.int8
    assert np.array_equal(restored, np.where(keep, q, 0))
    return stored


@pytest.mark.parametrize(
    "pattern", [p for p in EVERY if p.m < 16], ids=lambda p: f"{p}-{p.encoding}"
)
def test_every_mask(pattern):
    """With N ones, and with fewer."""
    codes = np.arange(1 << pattern.m)
    keep = masks(pattern, codes[np.bitwise_count(codes) <= pattern.n])
    stored = round_trip(random_q(np.random.default_rng(1), keep.shape), keep, pattern, 64)
    full = keep.sum(axis=1) == pattern.n
    assert np.array_equal(stored.indices[full].ravel(), np.nonzero(keep[full])[1])


@pytest.mark.parametrize(
    "pattern", [p for p in EVERY if p.m == 16], ids=lambda p: f"{p}-{p.encoding}"
)
def test_random_masks(pattern):
    rng = np.random.default_rng(pattern.n)
    keep = random_mask(rng, 500, 48, pattern)
    stored = round_trip(random_q(rng, keep.shape), keep, pattern, 64)
    kept = keep.reshape(500, 3, 16)
    assert np.array_equal(stored.indices.ravel(), np.nonzero(kept)[2])


@given(
    st.sampled_from(EVERY),
    st.integers(1, 4),
    st.integers(1, 70),
    st.integers(0, 2**32),
    st.sampled_from([8, 24, 128]),
    st.sampled_from([0.3, 1]),
)
def test_any_matrix(pattern, rows, in_features, seed, beat_bits, density):
    rng = np.random.default_rng(seed)
    keep = random_mask(rng, rows, in_features, pattern)
    keep &= rng.random(keep.shape) < density
    round_trip(random_q(rng, keep.shape), keep, pattern, beat_bits)


def test_in_parts_as_in_one_piece(monkeypatch):
    rng = np.random.default_rng(1)
    keep = random_mask(rng, 50, 40, two_of_four)
    q = random_q(rng, keep.shape)
    whole = pack(*slots(q, keep, two_of_four), two_of_four, 64)
    monkeypatch.setattr(nm_format, "_BITS_AT_ONCE", 1000)
    assert np.array_equal(pack(*slots(q, keep, two_of_four), two_of_four, 64), whole)
    round_trip(q, keep, two_of_four, 64)


def test_too_few_survivors_take_the_lowest_other_places():
    pattern = Pattern(3, 8)
    keep = masks(pattern, [0, 0b10000000, 0b00010001, 0b1000])
    stored = slots(np.full((4, 8), 5, np.int8), keep, pattern)
    assert stored.indices[:, 0].tolist() == [[0, 1, 2], [0, 1, 7], [0, 1, 4], [0, 1, 3]]
    assert stored.values[:, 0].tolist() == [[0, 0, 0], [0, 0, 5], [5, 0, 5], [0, 0, 5]]


def test_slots_may_point_at_padding():
    stored = slots(np.full((1, 5), 5, np.int8), np.ones((1, 5), bool), Pattern(4, 4))
    assert stored.indices.tolist() == [[[0, 1, 2, 3], [0, 1, 2, 3]]]
    assert stored.values.tolist() == [[[5, 5, 5, 5], [5, 0, 0, 0]]]


# --- sizes ----------------------------------------------------------------------------------------


def test_bits_per_weight():
    assert Pattern(2, 4).bits_per_weight() == 3.125
    assert Pattern(8, 16).bits_per_weight(128) == 3.125
    assert 16 / Pattern(2, 4).bits_per_weight() == 5.12
    assert Pattern(4, 4).bits_per_weight(32) == 4.5


@every_pattern
def test_the_smaller_metadata_is_the_default(pattern):
    sizes = {e: Pattern(pattern.n, pattern.m, e).block_bits for e in ENCODINGS}
    default = Pattern(pattern.n, pattern.m)
    assert default.block_bits == min(sizes.values())
    assert (
        default.bits_per_weight()
        == (4 if pattern.n == pattern.m else 4 * pattern.n / pattern.m)
        + min(0 if pattern.n == pattern.m else sizes[e] - 4 * pattern.n for e in ENCODINGS)
        / (pattern.m)
        + 16 / 128
    )
    if sizes["index"] == sizes["bitmap"] and pattern.n < pattern.m:
        assert default.metadata == "index"


def test_metadata():
    found = {str(p): p.metadata for p in map(Pattern.parse, ("2:4", "3:8", "3:16", "8:16", "8:8"))}
    assert found == {
        "2:4": "index",
        "3:8": "bitmap",
        "3:16": "index",
        "8:16": "bitmap",
        "8:8": "none",
    }
    assert Pattern(4, 4, "bitmap").metadata == "none"


def test_scales_are_not_in_the_stream():
    packed = pack(
        *slots(np.zeros((2, 128), np.int8), np.zeros((2, 128), bool), two_of_four), two_of_four, 8
    )
    assert packed.shape == (2, 128 * 3 // 8)


# --- quantisation ---------------------------------------------------------------------------------


@given(
    st.integers(1, 3), st.integers(1, 300), st.integers(0, 2**32), st.sampled_from([32, 64, 128])
)
def test_survivors_alone_make_the_scale(rows, in_features, seed, group):
    """Scalar by scalar, as the format is defined."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(rows, in_features)).astype(np.float32)
    keep = random_mask(rng, rows, in_features, two_of_four)
    sparse = quantise_sparse(w, keep, group)
    for row, start in product(range(rows), range(0, in_features, group)):
        here = slice(start, start + group)
        survivors = w[row, here][keep[row, here]]
        scale = np.float16(np.abs(survivors).max() / np.float32(7)) if len(survivors) else 0
        assert sparse.weights.scale[row, start // group] == scale
        q = np.clip(np.rint(survivors / np.float32(scale)), -7, 7)
        assert sparse.weights.q[row, here][keep[row, here]].tolist() == q.tolist()
    assert not sparse.weights.q[~keep].any()
    assert sparse.keep is keep


def test_dense_pattern_is_the_dense_quantiser():
    w = np.random.default_rng(1).normal(size=(4, 300))
    sparse = quantise_sparse(w, np.ones(w.shape, bool)).weights
    plain = quantise_weights(w, "group", 128)
    assert np.array_equal(sparse.q, plain.q)
    assert np.array_equal(sparse.scale, plain.scale)


def test_a_subnormal_scale_clips_and_a_survivor_may_be_zero():
    smallest = 2.0**-24
    w = np.array([[10, -10, 1e9, 0.01]]) * smallest
    sparse = quantise_sparse(w, np.array([[1, 1, 0, 1]], bool))
    assert sparse.weights.scale.tolist() == [[smallest]]
    assert sparse.weights.q.tolist() == [[7, -7, 0, 0]]
    assert slots(sparse.weights.q, sparse.keep, Pattern(3, 4)).indices.tolist() == [[[0, 1, 3]]]


def test_quantise_refuses():
    w, keep = np.array([[1.0, 5e5]]), np.ones((1, 2), bool)
    overflow = "the scale of weights in row 0, group 0 must fit FP16 (at most 65504), got 71428.6."
    refuses(overflow, quantise_sparse, w, keep)
    assert quantise_sparse(w, np.array([[True, False]])).weights.q.tolist() == [[7, 0]]
    refuses("the weight group must be one of 32, 64, 128, got 16.", quantise_sparse, w, keep, 16)
    refuses(
        "weights must be finite, got nan in row 0, column 1.",
        quantise_sparse,
        np.array([[1, np.nan]]),
        np.array([[True, False]]),
    )
    refuses(
        "weights to be quantised must be floating point, got int8.",
        quantise_sparse,
        np.ones((1, 2), np.int8),
        keep,
    )
    refuses(
        "the mask must be bool of shape (1, 2), got int64 of shape (2,).",
        quantise_sparse,
        w,
        np.array([1, 0]),
    )


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((2, 5), "M must be one of 4, 8, 16, got 5."),
        ((0, 4), "N must be in 1..4, got 0."),
        ((9, 8), "N must be in 1..8, got 9."),
        ((1, 4, "best"), "the encoding must be one of smaller, index, bitmap, got 'best'."),
    ],
)
def test_illegal_patterns(arguments, sentence):
    refuses(sentence, Pattern, *arguments)


@pytest.mark.parametrize("text", ["", "2", "2:", "2:4:8", "2/4", "-2:4", "2:4\n", "2.0:4", "٢:4"])
def test_unreadable_patterns(text):
    sentence = f"a pattern must be written N:M, such as 2:4, got {text!r}."
    refuses(sentence, Pattern.parse, text)


def test_pattern_is_read_as_written():
    assert str(Pattern.parse("3:16", "bitmap")) == "3:16"
    assert Pattern.parse("3:16", "bitmap") == Pattern(3, 16, "bitmap")
    refuses("the weight group must be one of 32, 64, 128, got 4.", Pattern(2, 4).bits_per_weight, 4)


def block(values, indices):
    """Rows of one block."""
    return np.array(values, np.int8)[:, None], np.array(indices, np.uint8)[:, None]


@pytest.mark.parametrize(
    ("values", "indices", "sentence"),
    [
        ([[1, 1]], [[1, 1]], "indices of row 0, block 0 must ascend, got [1, 1]."),
        ([[1, 1]] * 2, [[0, 1], [2, 0]], "indices of row 1, block 0 must ascend, got [2, 0]."),
        ([[1, 1]], [[1, 4]], "indices of row 0, block 0 must be in 0..3, got 4."),
        ([[1, 8]], [[1, 3]], "values of row 0, block 0 must be in -8..7, got 8."),
        (
            [[1]],
            [[1]],
            "values must be int8 (out_features, blocks, 2), not empty, got int8 (1, 1, 1).",
        ),
        ([[1, 1]], [[1, 2]] * 2, "values have shape (1, 1, 2), but indices (2, 1, 2)."),
    ],
)
def test_illegal_slots(values, indices, sentence):
    refuses(sentence, pack, *block(values, indices), two_of_four, 8)
    refuses(sentence, dense, *block(values, indices), two_of_four, 4)


def test_illegal_numbers():
    good = block([[1, 1]], [[0, 3]])
    refuses("beat_bits must be a positive multiple of 8, got 12.", pack, *good, two_of_four, 12)
    refuses("5 in_features at 2:4 take 2 blocks, got 1.", dense, *good, two_of_four, 5)
    refuses(
        "row 0, block 0 must hold 0 where it points at padding, got 1 at index 3.",
        dense,
        *good,
        two_of_four,
        3,
    )
    refuses(
        "row 0, block 1 must keep at most 2 of 4 weights, got 3.",
        slots,
        np.ones((1, 8), np.int8),
        np.array([[1, 0, 1, 0, 1, 1, 1, 0]], bool),
        two_of_four,
    )


def stream(number):
    """Rows of one block: a good one, zeros in places 0 and 1, and one that is this number."""
    return np.array([[0x00, 0x04], list(number.to_bytes(2, "little"))], np.uint8)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (0x000, "indices of row 1, block 0 must ascend, got [0, 0]."),
        (0x600, "indices of row 1, block 0 must ascend, got [2, 1]."),
        (0xC10, "row 1, block 0 must hold 0 where it points at padding, got 1 at index 3."),
        (0x1400, "row 1 must hold only zeros after block 0, got a one in bit 12."),
    ],
)
def test_illegal_streams(number, sentence):
    refuses(sentence, unpack, stream(number), two_of_four, 16, 3)


@pytest.mark.parametrize("ones", [0b0001, 0b0111, 0b0000])
def test_illegal_bitmaps(ones):
    pattern = Pattern(2, 4, "bitmap")
    rows = np.array([[0x00, 0x03, 0x30], [0x00, 0x03, ones << 4]], np.uint8)
    refuses(
        f"the bitmap of row 1, block 1 must have exactly 2 ones, got {ones.bit_count()}.",
        unpack,
        rows,
        pattern,
        8,
        8,
    )


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            np.zeros((1, 3), np.uint8),
            "a packed row of 3 in_features at 2:4 must have 2 bytes, got 3.",
        ),
        (
            np.zeros(2, np.uint8),
            "a packed stream must be uint8 (out_features, bytes), not empty, got uint8 (2,).",
        ),
        (
            np.zeros((1, 2), np.int8),
            "a packed stream must be uint8 (out_features, bytes), not empty, got int8 (1, 2).",
        ),
    ],
)
def test_streams_of_wrong_shape(rows, sentence):
    refuses(sentence, unpack, rows, two_of_four, 16, 3)


def test_rows_are_named_in_later_parts(monkeypatch):
    monkeypatch.setattr(nm_format, "_BITS_AT_ONCE", 1)
    refuses(
        "indices of row 1, block 0 must ascend, got [0, 0].",
        unpack,
        stream(0),
        two_of_four,
        16,
        3,
    )
    refuses("in_features must be at least 1, got 0.", unpack, stream(0), two_of_four, 16, 0)


# --- speed ----------------------------------------------------------------------------------------


@pytest.mark.first(1, deep=3)
@pytest.mark.parametrize(
    "pattern", [Pattern(3, 16, "bitmap"), Pattern(2, 4), Pattern(8, 16)], ids=str
)
def test_speed_and_memory(pattern):
    """At most 3 s each way, and four times the bytes of the dense matrix in int8."""
    rows, in_features = 4096, 11008
    rng = np.random.default_rng(1)
    keep = np.tile(random_mask(rng, 16, in_features, pattern), (rows // 16, 1))
    stored = slots(np.where(keep, np.int8(3), np.int8(0)), keep, pattern)
    packed = within_limits(lambda: pack(*stored, pattern, 128), rows * in_features)
    within_limits(lambda: unpack(packed, pattern, 128, in_features), rows * in_features)


def within_limits(function, weights):
    start = time.process_time()
    function()
    assert time.process_time() - start < 3
    tracemalloc.start()
    try:
        result = function()
        assert tracemalloc.get_traced_memory()[1] < 4 * weights
    finally:
        tracemalloc.stop()
    return result
