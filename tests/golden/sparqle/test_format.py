import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden.arithmetic.quantise import take_activations
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.sparqle import format as hybrid
from nibbleforge.golden.sparqle.format import HybridFormat

FORMATS = [HybridFormat(k=k, recode=recode) for k in (2, 4, 8) for recode in ("balanced", "twos")]
every_format = pytest.mark.parametrize("format", FORMATS, ids=lambda f: f"k{f.k}-{f.recode}")


def refuses(sentence, function, *args, **kwargs):
    with pytest.raises(UserError) as error:
        function(*args, **kwargs)
    assert str(error.value) == sentence


def every_q(format):
    return np.arange(format.q_min, format.q_max + 1)


# --- an independent model, written from the definition --------------------------------------------


def oracle_split(k, recode):
    """The one pair (l, m) of every value that has one, by trying all pairs."""
    half = 2 ** (k - 1)
    lows = range(-half, half) if recode == "balanced" else range(2**k)
    return {m * 2**k + low: (low, m) for m in range(-half, half) for low in lows}


def oracle_bytes(elements, width):
    word = sum((e & (2**width - 1)) << (i * width) for i, e in enumerate(elements))
    return list(word.to_bytes(-(-len(elements) * width // 8), "little"))


def oracle_pack(format, rows):
    k, pairs = format.k, oracle_split(format.k, format.recode)
    lsb, bitmap, values, first_beat = [], [], [], [0]
    for row in rows:
        padded = row + [0] * (-len(row) % format.group)
        halves = [pairs[q] for q in padded]
        lsb.append(oracle_bytes([low for low, _ in halves], k))
        bitmap.append(oracle_bytes([int(m != 0) for _, m in halves], 1))
        for lane in range(format.lanes):
            stream = [m for _, m in halves[lane :: format.lanes] if m]
            for start in range(0, len(stream), format.beat):
                beat = stream[start : start + format.beat]
                values.append(oracle_bytes(beat + [0] * (format.beat - len(beat)), k))
            first_beat.append(len(values))
    return lsb, bitmap, values, first_beat


@st.composite
def tensors(draw):
    """A format and activations in it, each token with a density of its own."""
    group = draw(st.sampled_from([4, 8, 16, 32, 64, 128]))
    format = HybridFormat(
        k=draw(st.sampled_from([2, 4, 8])),
        recode=draw(st.sampled_from(["balanced", "twos"])),
        group=group,
        lanes=draw(st.sampled_from([1, 1, 2, 4])),
        beat=draw(st.sampled_from([1, 2, 4, 8, 32])),
    )
    tokens, in_features = draw(st.integers(1, 5)), draw(st.integers(1, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    q = rng.integers(format.q_min, format.q_max, (tokens, in_features), endpoint=True)
    few = rng.random(q.shape) < rng.choice([0, 0.3, 1], (tokens, 1))
    return format, np.where(few, q, np.clip(q, format.sparse_min, format.sparse_max))


# --- format ---------------------------------------------------------------------------------------


def test_limits():
    assert [(f.q_min, f.limit) for f in FORMATS] == [
        (-8, 5),
        (-8, 7),
        (-128, 119),
        (-128, 127),
        (-32768, 32639),
        (-32768, 32767),
    ]
    assert [f.break_even for f in FORMATS[::2]] == [1 / 2, 1 / 4, 1 / 8]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"k": 3}, "k: input should be 2, 4 or 8, got 3."),
        ({"recode": "sign"}, "recode: input should be 'balanced' or 'twos', got 'sign'."),
        ({"group": 48}, "group must be a power of two in 4..128, got 48."),
        ({"group": 256}, "group must be a power of two in 4..128, got 256."),
        ({"beat": 0}, "beat must be a power of two in 1..64, got 0."),
        ({"lanes": 0}, "lanes: input should be greater than or equal to 1, got 0."),
        ({"lanes": 3}, "lanes must divide group, got 3 lanes and group 64."),
        (
            {"width": 3},
            "width is not a parameter here; the parameters are k, recode, group, lanes, beat.",
        ),
    ],
)
def test_format_refuses(fields, sentence):
    refuses(sentence, HybridFormat, **fields)


# --- split and join -------------------------------------------------------------------------------


@every_format
def test_split_every_value(format):
    q, pairs = every_q(format), oracle_split(format.k, format.recode)
    lsb, msb = hybrid.split(format, q)
    assert [v for v in sorted(pairs) if v >= -(2 ** (2 * format.k - 1))] == q.tolist()
    assert list(zip(lsb.tolist(), msb.tolist(), strict=True)) == [pairs[v] for v in q.tolist()]
    joined = hybrid.join(format, lsb, msb)
    assert np.array_equal(joined, q)
    assert joined.dtype == (np.int16 if format.k == 8 else np.int8)


@every_format
def test_sparse_range(format):
    q = every_q(format)
    sparse = q[hybrid.split(format, q)[1] == 0]
    assert sparse.tolist() == list(range(format.sparse_min, format.sparse_max + 1))


def test_balanced_formula():
    q = np.arange(-128, 120)
    lsb, msb = hybrid.split(HybridFormat(), q)
    assert np.array_equal(lsb, (q + 8) % 16 - 8)
    assert np.array_equal(msb, (q - lsb) / 16)


def test_split_refuses():
    refuses(
        "q must be in -128..119 for recode=balanced and k=4, got 0..120.",
        hybrid.split,
        HybridFormat(),
        np.array([0, 120]),
    )
    refuses("q must be integer, got float32.", hybrid.split, HybridFormat(), np.zeros(2, "f4"))


# --- MSB-sparsity enhancement ---------------------------------------------------------------------


def oracle_enhance(k, recode, q, tau_lo, tau_hi):
    half, full = 2 ** (k - 1), 2**k
    if recode == "balanced":
        if half <= q <= half - 1 + tau_hi:
            return half - 1
        return -half if -half - tau_lo <= q <= -half - 1 else q
    if full <= q <= full - 1 + tau_hi:
        return full - 1
    return 0 if -tau_lo <= q <= -1 else q


@every_format
@pytest.mark.parametrize("taus", [(0, 0), (1, 0), (0, 1), (2, 4), (9, 3), (70000, 70000)])
def test_enhance_every_value(format, taus):
    q = every_q(format)
    enhanced = hybrid.enhance(format, q, *taus)
    assert enhanced.tolist() == [oracle_enhance(format.k, format.recode, v, *taus) for v in q]
    gained = (hybrid.split(format, enhanced)[1] == 0) & (hybrid.split(format, q)[1] != 0)
    assert np.array_equal(gained, enhanced != q)
    if taus == (0, 0):
        assert np.array_equal(enhanced, q)


def test_enhance_refuses():
    refuses(
        "tau must not be negative, got tau_lo=-1 and tau_hi=2.",
        hybrid.enhance,
        HybridFormat(),
        np.zeros((1, 1), np.int8),
        -1,
        2,
    )


# --- layout ---------------------------------------------------------------------------------------

Q = np.array([[3, -8, 119, -9, 20], [7, -8, 0, 1, -1], [-128, 8, 0, -24, 100]], np.int8)


def test_layout_by_hand():
    """l = 3 -8 7 7 4 | 7 -8 0 1 -1 | 0 -8 0 -8 4; m = 0 0 7 -1 1 | none | -8 1 0 -1 6."""
    packed = hybrid.encode(HybridFormat(group=4, beat=2), Q)
    assert packed.lsb.tolist() == [
        [0x83, 0x77, 0x04, 0x00],
        [0x87, 0x10, 0x0F, 0x00],
        [0x80, 0x80, 0x04, 0x00],
    ]
    assert packed.bitmap.tolist() == [[0b00011100], [0], [0b00011011]]
    assert packed.values.tolist() == [[0xF7], [0x01], [0x18], [0x6F]]
    assert packed.first_beat.tolist() == [0, 2, 2, 4]
    assert packed.first_beat.dtype == np.int64
    assert hybrid.value_nibbles(packed).tolist() == [[7, 15], [1, 0], [8, 1], [15, 6]]
    assert hybrid.masks(packed).astype(int).tolist() == [
        [[0, 0, 1, 1], [1, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 0, 0, 0]],
        [[1, 1, 0, 1], [1, 0, 0, 0]],
    ]
    assert packed.msb_zero_share == 8 / 15
    assert packed.bits_per_activation == pytest.approx(9 - 4 * 8 / 15)
    assert packed.bits_per_activation_padded == 8 * (3 * 4 + 3 + 4) / 15
    assert packed.bits_per_activation_with_scales == 8 * (3 * 4 + 3 + 4) / 15 + 32 / 5


def test_lanes_by_hand():
    """Lane 0 holds the even, lane 1 the odd elements; each ends with a beat of its own."""
    packed = hybrid.encode(HybridFormat(group=4, beat=2, lanes=2), Q)
    assert packed.values.tolist() == [[0x17], [0x0F], [0x68], [0xF1]]
    assert packed.first_beat.tolist() == [0, 1, 2, 2, 2, 3, 4]
    assert np.array_equal(hybrid.decode(packed.format, packed), Q)


def test_beat_narrower_than_a_byte():
    packed = hybrid.encode(HybridFormat(group=4, beat=1), Q)
    assert packed.values[:, 0].tolist() == [7, 15, 1, 8, 1, 15, 6]
    assert packed.first_beat.tolist() == [0, 3, 3, 7]


def test_groups_of_four_share_bytes():
    packed = hybrid.encode(HybridFormat(group=4), np.full((1, 12), 16, np.int8))
    assert packed.bitmap.tolist() == [[0xFF, 0x0F]]
    assert hybrid.masks(packed).shape == (1, 3, 4)


@given(tensors())
def test_layout_matches_oracle(case):
    format, q = case
    packed = hybrid.encode(format, q)
    lsb, bitmap, values, first_beat = oracle_pack(format, q.tolist())
    assert packed.lsb.tolist() == lsb
    assert packed.bitmap.tolist() == bitmap
    assert packed.values.shape == (len(values), format.beat_bytes)
    assert packed.values.tolist() == values
    assert packed.first_beat.tolist() == first_beat


@given(tensors())
def test_round_trip(case):
    format, q = case
    packed = hybrid.encode(format, q)
    decoded = hybrid.decode(format, packed)
    assert np.array_equal(decoded, q)
    assert decoded.dtype == (np.int16 if format.k == 8 else np.int8)
    mask = hybrid.masks(packed).reshape(len(q), -1)
    assert np.array_equal(mask[:, : q.shape[1]], hybrid.split(format, q)[1] != 0)
    assert not mask[:, q.shape[1] :].any()


@given(tensors())
def test_size_law(case):
    format, q = case
    packed = hybrid.encode(format, q)
    share = np.mean(hybrid.split(format, q)[1] == 0)
    assert packed.msb_zero_share == pytest.approx(share)
    law = 2 * format.k + 1 - format.k * share
    assert packed.bits_per_activation == pytest.approx(law)
    assert packed.bits_per_activation_padded >= law - 1e-9
    assert (law < 2 * format.k) == (share > format.break_even + 1e-12)


@every_format
def test_stored_size_without_padding(format):
    """Whole groups and whole beats: what is stored is what the law says."""
    q = np.zeros((4, 2 * format.group), int)
    q[:, 3 : 3 + 2 * format.beat] = format.q_max
    packed = hybrid.encode(format, q)
    assert packed.bits_per_activation_padded == packed.bits_per_activation


@every_format
@pytest.mark.parametrize("lanes", [1, 4])
def test_tokens_without_and_full_of_msbs(format, lanes):
    """An all-MSB token has ``in_features / lanes`` values a lane, an empty one no beat at all."""
    format = format.replace(lanes=lanes)
    q = np.zeros((3, 96), int)
    q[1] = format.q_min
    packed = hybrid.encode(format, q)
    beats = np.diff(packed.first_beat).reshape(3, lanes).sum(axis=1)
    assert beats.tolist() == [0, 12, 0]
    assert np.array_equal(hybrid.decode(format, packed), q)
    nothing = hybrid.encode(format, q[::2])
    assert nothing.values.shape == (0, format.beat_bytes)
    assert np.array_equal(hybrid.decode(format, nothing), q[::2])


def test_strided_input():
    q = np.asfortranarray(Q)[::2, ::-1]
    format = HybridFormat(group=4)
    assert np.array_equal(hybrid.decode(format, hybrid.encode(format, q)), q)


def test_encode_refuses():
    refuses(
        "q must be 2-D (tokens, in_features) and not empty, got shape (5,).",
        hybrid.encode,
        HybridFormat(),
        Q[0],
    )
    refuses(
        "q must be in -8..5 for recode=balanced and k=2, got -128..119.",
        hybrid.encode,
        HybridFormat(k=2),
        Q,
    )


def test_decode_refuses():
    format = HybridFormat(group=4, beat=2)
    packed = hybrid.encode(format, Q)
    refuses(
        "packed activations must have format k=4 recode='balanced' group=4 lanes=1 beat=4,"
        " got k=4 recode='balanced' group=4 lanes=1 beat=2.",
        hybrid.decode,
        format.replace(beat=4),
        packed,
    )
    packed.bitmap[1] = 1
    refuses("the bitmap asks for 5 beats of values, got 4.", hybrid.decode, format, packed)


def test_recode_follows_int8_policy():
    x = np.arange(-128, 128).astype(np.int8)[None]
    format = HybridFormat()
    taken = take_activations(x, format.limit, "twos")
    format = format.replace(recode=taken.recode)
    assert np.array_equal(hybrid.decode(format, hybrid.encode(format, taken.q)), x)
