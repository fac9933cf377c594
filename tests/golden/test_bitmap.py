import re
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibbleforge.golden import bitmap
from nibbleforge.golden.bitmap import BitmapConfig, Groups, Populations
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.workload import PackedBitmap, Workload

# --- an independent model: one scalar state machine per design, one loop turn per cycle -----------


class Log:
    """Cycle and payload of every beat, cycle and increment of every event."""

    def __init__(self, ports, events):
        self.ports = {name: [] for name in ports}
        self.events = {name: [] for name in events}

    def beat(self, port, cycle, *fields):
        """Note a beat; fields are (value, width), the first in the lowest bits."""
        payload = position = 0
        for value, width in fields:
            assert 0 <= value < 1 << width
            payload |= value << position
            position += width
        self.ports[port].append((cycle, payload))

    def event(self, name, cycle, amount=1):
        if amount:
            self.events[name].append((cycle, amount))


def elements(values, width):
    return [(value, width) for value in values]


def rows(groups):
    """``(values of all elements, last)`` of every group."""
    return list(zip(groups.dense.tolist(), groups.last.tolist(), strict=True))


def packed_stream(config, groups):
    """Beats of values: a token's non-zero ones in order, its final beat filled up with 0."""
    beats, open_beat = deque(), []
    for dense, last in rows(groups):
        for value in dense:
            if value:
                open_beat.append(value)
            if len(open_beat) == config.beat:
                beats.append(open_beat)
                open_beat = []
        if last and open_beat:
            beats.append(open_beat + [0] * (config.beat - len(open_beat)))
            open_beat = []
    return beats


def word(dense, last):
    return [*elements([int(v != 0) for v in dense], 1), (int(last), 1)]


def take_values(config, log, cycle, stream):
    beat = stream.popleft()
    log.beat("values", cycle, *elements(beat, config.value_width))
    log.event("value_beats", cycle)
    return beat


def decode_gather(config, groups):
    ports, events = ["bitmap", "pairs"], ["groups", "empty_groups", "values", "stall_out"]
    if config.value_width:
        ports += ["values"]
        events += ["value_beats", "stall_values"]
    log = Log(ports, events)
    words, held = deque(rows(groups)), []
    stream = packed_stream(config, groups) if config.value_width else []
    current = output = None
    cycle = 0
    while words or current or output:
        if output:
            log.beat("pairs", cycle, *output)
            output = None
        if current:
            dense, last, indices = current
            now, rest = indices[: config.width], indices[config.width :]
            values = [dense[i] for i in now]
            if config.value_width:
                if len(held) < len(now):
                    held = held + take_values(config, log, cycle, stream)
                assert held[: len(now)] == values
                held = [] if last and not rest else held[len(now) :]
            unused = [0] * (config.width - len(now))
            output = elements(now + unused, (config.group - 1).bit_length())
            if config.value_width:
                output += elements(values + unused, config.value_width)
            output.append((len(now), config.width.bit_length()))
            output += elements([int(not rest), int(last and not rest)], 1)
            log.event("values", cycle, len(now))
            if not rest:
                log.event("empty_groups", cycle, int(not any(dense)))
            current = (dense, last, rest) if rest else None
        if not current and words:
            dense, last = words.popleft()
            log.beat("bitmap", cycle, *word(dense, last))
            log.event("groups", cycle)
            current = (dense, last, [i for i, v in enumerate(dense) if v])
        cycle += 1
    assert not stream
    return log


def decode_scatter(config, groups):
    names = ["groups", "empty_groups", "values", "value_beats", "stall_values", "stall_out"]
    log = Log(["bitmap", "values", "dense"], names)
    words, stream, held = deque(rows(groups)), packed_stream(config, groups), []
    current = complete = output = None
    cycle = 0
    while words or current or complete or output:
        if output:
            log.beat("dense", cycle, *output)
        output, complete = complete, None
        if current:
            dense, last = current
            values = [v for v in dense if v]
            if len(held) < len(values):
                held = held + take_values(config, log, cycle, stream)
            if len(held) >= len(values):
                assert held[: len(values)] == values
                held = [] if last else held[len(values) :]
                complete = [*elements(dense, config.value_width), (int(last), 1)]
                log.event("empty_groups", cycle, int(not values))
                log.event("values", cycle, len(values))
                current = None
        if not current and words:
            current = words.popleft()
            log.beat("bitmap", cycle, *word(*current))
            log.event("groups", cycle)
        cycle += 1
    assert not stream
    return log


def encode(config, groups):
    names = ["groups", "empty_groups", "values", "value_beats", "stall_out"]
    log = Log(["dense", "bitmap", "values"], names)
    words, open_beat = deque(rows(groups)), []
    compressed = emitting = None
    cycle = 0
    while words or compressed or emitting:
        if emitting:
            group, beats = emitting
            if group:
                log.beat("bitmap", cycle, *word(*group))
            if beats:
                log.beat("values", cycle, *elements(beats[0], config.value_width))
                log.event("value_beats", cycle)
            emitting = (None, beats[1:]) if beats[1:] else None
        if compressed and not emitting:
            dense, last = compressed
            values = open_beat + [v for v in dense if v]
            beats = []
            while len(values) >= config.beat or (last and values):
                beat, values = values[: config.beat], values[config.beat :]
                beats.append(beat + [0] * (config.beat - len(beat)))
            open_beat = values
            emitting, compressed = ((dense, last), beats), None
        if not compressed and words:
            compressed = dense, last = words.popleft()
            log.beat("dense", cycle, *elements(dense, config.value_width), (int(last), 1))
            log.event("groups", cycle)
            log.event("empty_groups", cycle, int(not any(dense)))
            log.event("values", cycle, sum(v != 0 for v in dense))
        cycle += 1
    return log


def model_of(design, config):
    if design is bitmap.ENCODER:
        return encode
    return decode_gather if config.mode == "gather" else decode_scatter


def seen(schedule):
    """A golden schedule in the form of a log."""
    ports = {}
    for name, beats in schedule.beats.items():
        raw = [row.astype("<u4").tobytes() for row in beats.expand()]
        payloads = [int.from_bytes(row, "little") for row in raw]
        ports[name] = list(zip(schedule.cycles[name].tolist(), payloads, strict=True))
    events = {
        name: list(zip(pulses.cycles.tolist(), pulses.increments.tolist(), strict=True))
        for name, pulses in schedule.events.items()
    }
    return ports, events


def check_schedules(config, groups):
    for design in bitmap.designs(config):
        log = model_of(design, config)(config, groups)
        schedule = design.schedule(config, groups)
        ports, events = seen(schedule)
        assert ports == log.ports
        assert events == log.events
        assert set(ports) == {port.name for port in design.ports(config)}
        assert set(events) == {event.name for event in design.events(config)}
        last = max(cycle for port in log.ports.values() for cycle, _ in port)
        assert schedule.counts().cycles == last + 1


# --- schedules ------------------------------------------------------------------------------------

CONFIGS = [
    BitmapConfig(group=group, beat=beat, width=width, value_width=value_width, mode=mode)
    for group, beat, width, value_width in [
        (4, 1, 1, 4),
        (4, 4, 3, 1),
        (8, 2, 2, 4),
        (8, 8, 8, 16),
        (16, 4, 3, 5),
        (32, 8, 2, 4),
        (64, 8, 1, 4),
        (64, 64, 8, 2),
        (128, 8, 5, 3),
        (128, 1, 1, 8),
        (128, 64, 7, 16),
    ]
    for mode in ("gather", "scatter")
]
CONFIGS += [
    BitmapConfig(group=g, value_width=0, beat=4, width=w) for g, w in [(4, 1), (64, 4), (128, 3)]
]


def random_groups(config, rng, densities, tokens_end=0.3):
    top = max(2, 1 << config.value_width)
    shape = (len(densities), config.group)
    present = rng.random(shape) < np.array(densities)[:, None]
    dense = np.where(present, rng.integers(1, top, shape), 0).astype(np.uint16)
    last = rng.random(len(densities)) < tokens_end
    last[-1] = True
    return Groups(dense, last)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("tokens_end", [0, 0.3, 1])
def test_schedules_equal_the_state_machines(config, tokens_end):
    rng = np.random.default_rng(config.group + config.width)
    densities = rng.choice([0, 0, 0.02, 0.1, 0.3, 0.7, 1], 30)
    check_schedules(config, random_groups(config, rng, densities, tokens_end))


@st.composite
def configs(draw):
    group = draw(st.sampled_from([4, 8, 16, 32, 64, 128]))
    beat = draw(st.sampled_from([b for b in (1, 2, 4, 8, 16, 32, 64) if b <= group]))
    mode = draw(st.sampled_from(["gather", "scatter"]))
    return BitmapConfig(
        group=group,
        beat=beat,
        width=draw(st.integers(1, min(8, beat))),
        value_width=draw(st.integers(int(mode == "scatter"), 16)),
        mode=mode,
    )


@settings(max_examples=150)
@given(
    configs(),
    st.lists(st.sampled_from([0, 0.05, 0.3, 0.8, 1]), min_size=1, max_size=8),
    st.sampled_from([0, 0.3, 1]),
    st.integers(0, 999),
)
def test_schedules_of_any_configuration(config, densities, tokens_end, seed):
    rng = np.random.default_rng(seed)
    check_schedules(config, random_groups(config, rng, densities, tokens_end))


@pytest.mark.parametrize("value_width", [0, 1, 4])
@pytest.mark.parametrize(
    ("group", "beat", "width", "mode"),
    [
        (group, beat, width, mode)
        for group in (4, 8)
        for beat, width in [(1, 1), (2, 1), (2, 2), (4, 3), (group, group // 2), (group, group)]
        for mode in ("gather", "scatter")
        if width <= beat
    ],
)
def test_every_bitmap(group, beat, width, mode, value_width):
    if mode == "scatter" and not value_width:
        return
    config = BitmapConfig(group=group, beat=beat, width=width, mode=mode, value_width=value_width)
    masks = np.arange(1 << group)
    present = (masks[:, None] >> np.arange(group) & 1).astype(bool)
    values = np.resize(np.arange(1, max(2, 1 << value_width)), present.shape)
    for ends_every in (1, 3, len(masks)):
        last = (masks + 1) % ends_every == 0
        last[-1] = True
        check_schedules(config, Groups(np.where(present, values, 0).astype(np.uint8), last))


def test_a_worked_example():
    """By hand: G=4, beats of 2, pairs of 1: groups 1010, 0000, 0111 | 0001."""
    config = BitmapConfig(group=4, beat=2, width=1, value_width=4)
    dense = np.array([[0, 5, 0, 6], [0, 0, 0, 0], [7, 8, 9, 0], [4, 0, 0, 0]], np.uint8)
    groups = Groups(dense, np.array([False, False, True, True]))
    cycles = bitmap.decoder_schedule(config, groups).cycles
    assert cycles["bitmap"].tolist() == [0, 2, 3, 6]
    assert cycles["pairs"].tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert cycles["values"].tolist() == [1, 4, 6, 7]
    cycles = bitmap.decoder_schedule(config.replace(mode="scatter"), groups).cycles
    assert cycles["bitmap"].tolist() == [0, 1, 2, 4]
    assert cycles["values"].tolist() == [1, 3, 4, 5]
    assert cycles["dense"].tolist() == [3, 4, 6, 7]
    cycles = bitmap.encoder_schedule(config, groups).cycles
    assert cycles["dense"].tolist() == [0, 1, 2, 3]
    assert cycles["bitmap"].tolist() == [2, 3, 4, 6]
    assert cycles["values"].tolist() == [2, 4, 5, 6]


def test_token_numbers():
    groups = Groups(np.zeros((5, 4), np.uint8), np.array([False, True, True, False, True]))
    assert groups.token.tolist() == [0, 0, 1, 2, 2]


@given(configs(), st.integers(0, 99))
def test_packed_values(config, seed):
    groups = random_groups(config, np.random.default_rng(seed), [0, 1, 0.5, 0, 0.2])
    assert bitmap.pack_values(config, groups).tolist() == list(packed_stream(config, groups))


# --- the law over packed bitmaps ------------------------------------------------------------------


def random_bitmap(config, rng, tokens, groups):
    """Packed bitmaps and the groups they stand for."""
    density = rng.choice([0, 0, 0.05, 0.4, 1], (tokens, groups, 1))
    present = rng.random((tokens, groups, config.group)) < density
    last = np.tile(np.arange(groups) == groups - 1, tokens)
    packed = np.packbits(present.reshape(tokens, -1), axis=1, bitorder="little")
    return packed, Groups(present.reshape(-1, config.group).astype(np.uint8), last)


def counted(law, config, packed, per_token):
    profile = PackedBitmap(packed)
    return law(config, Workload(len(packed), per_token * config.group, profile=profile))


def check_law(config, packed, groups, per_token):
    for design in bitmap.designs(config):
        counts = counted(design.cycles, config, packed, per_token)
        expected = design.schedule(config, groups).counts()
        assert (counts.cycles, counts.events) == (expected.cycles, expected.events)
        fill = 3 if model_of(design, config) is decode_scatter else 2
        assert counts.ideal_cycles == counts.cycles - fill


@given(configs(), st.integers(1, 6), st.integers(1, 5), st.integers(0, 999))
def test_law_equals_schedule(config, tokens, groups, seed):
    packed, run = random_bitmap(config, np.random.default_rng(seed), tokens, groups)
    check_law(config, packed, run, groups)


@pytest.mark.parametrize("at_once", [0.5, 1, 3, 7, 13, 64])
@pytest.mark.parametrize("config", CONFIGS[::3], ids=str)
def test_law_in_chunks(monkeypatch, config, at_once):
    packed, groups = random_bitmap(config, np.random.default_rng(0), 13, 4)
    monkeypatch.setattr(bitmap, "_BYTES_AT_ONCE", int(at_once * packed.shape[1]))
    check_law(config, packed, groups, 4)


@pytest.mark.parametrize("mode", ["gather", "scatter"])
def test_law_of_long_tokens(mode):
    """More values in a token than 16 bits count."""
    config = BitmapConfig(group=128, width=8, mode=mode)
    packed = np.full((2, 600 * 16), 255, np.uint8)
    packed[0, ::3] = 0x7F
    present = np.unpackbits(packed, axis=1, bitorder="little").reshape(-1, 128)
    check_law(config, packed, Groups(present, np.arange(1, 1201) % 600 == 0), 600)


def test_law_of_a_view():
    """Rows of a larger array, as they come from slicing a layer's bitmap."""
    config = BitmapConfig(group=16)
    packed, _ = random_bitmap(config, np.random.default_rng(0), 6, 8)
    view = packed[::2, 4:8]
    counts = [counted(bitmap.decoder_cycles, config, rows, 2) for rows in (view, view.copy())]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("group", [4, 8, 16, 32, 64, 128])
def test_populations(group):
    rng = np.random.default_rng(group)
    packed = rng.integers(0, 256, (5, 48), dtype=np.uint8)
    packed[0], packed[1] = 0, 255
    expected = []
    for row in packed:
        number = int.from_bytes(row.tobytes(), "little")
        mask = (1 << group) - 1
        expected.append([(number >> i & mask).bit_count() for i in range(0, 48 * 8, group)])
    assert bitmap.populations(group, packed).tolist() == expected


@pytest.mark.parametrize("law", [bitmap.decoder_cycles, bitmap.encoder_cycles])
def test_a_law_needs_a_profile(law):
    sentence = "the profile of the workload must be PackedBitmap or Populations, got none."
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        law(BitmapConfig(), Workload(1, 64))


@pytest.mark.parametrize("law", [bitmap.decoder_cycles, bitmap.encoder_cycles])
def test_a_final_group_that_is_not_full(law):
    """Of 70 features the second group of 64 has six; rows may be stored in 9, or in 16 bytes."""
    short = np.array([[255] * 8 + [0x3F]], np.uint8)
    full = np.pad(short, ((0, 0), (0, 7)))
    counts = [
        law(BitmapConfig(), Workload(1, 70, profile=PackedBitmap(bits))) for bits in (short, full)
    ]
    assert counts[0] == counts[1]
    assert counts[0].events["groups"] == 2
    assert counts[0].events["values"] == 70


def test_odd_number_of_groups_of_4():
    """Three groups take two bytes, which could hold four."""
    packed = np.array([[0x21, 0x08], [0x00, 0x00]], np.uint8)
    config = BitmapConfig(group=4, beat=4)
    assert counted(bitmap.decoder_cycles, config, packed, 3).cycles == 6 + 2
    assert counted(bitmap.decoder_cycles, config, packed, 4).cycles == 8 + 2


@pytest.mark.parametrize(
    ("values", "last", "sentence"),
    [
        (
            [1, 2],
            [True],
            "values and last must be vectors, equally long, got shapes (2,) and (1,).",
        ),
        ([1, 2], [False, True], "the groups must end 2 tokens, got 1."),
        ([1, 2, 3], [True, True, False], "the groups must end 2 tokens, the final one of them."),
    ],
)
def test_bad_populations(values, last, sentence):
    profile = Populations(np.array(values), np.array(last))
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        Workload(2, 64, profile=profile)


# --- configuration --------------------------------------------------------------------------------

GROUP_LIST = "(4, 8, 16, 32, 64, 128)"
BEAT_LIST = "(1, 2, 4, 8, 16, 32, 64)"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"group": 5}, f"group must be one of {GROUP_LIST}, got 5."),
        ({"group": -64}, f"group must be one of {GROUP_LIST}, got -64."),
        ({"group": 256}, f"group must be one of {GROUP_LIST}, got 256."),
        ({"beat": 0}, f"beat must be one of {BEAT_LIST}, got 0."),
        ({"beat": 128, "group": 128}, f"beat must be one of {BEAT_LIST}, got 128."),
        ({"width": 3, "beat": 2}, "width must not exceed beat, got width 3, beat 2."),
        ({"width": 5, "group": 4}, "width must not exceed group, got width 5, group 4."),
        ({"group": 4, "beat": 8}, "beat must not exceed group, got beat 8, group 4."),
        (
            {"mode": "scatter", "value_width": 0},
            "mode scatter needs values: value_width must be at least 1, got 0.",
        ),
        ({"value_width": -1}, "value_width: input should be greater than or equal to 0, got -1."),
        ({"value_width": 17}, "value_width: input should be less than or equal to 16, got 17."),
        ({"width": 0}, "width: input should be greater than or equal to 1, got 0."),
        ({"width": 9}, "width: input should be less than or equal to 8, got 9."),
        ({"mode": "both"}, "mode: input should be 'gather' or 'scatter', got 'both'."),
        ({"group": None}, "group: input should be a valid integer, got None."),
        (
            {"lanes": 2},
            "lanes is not a parameter here; "
            "the parameters are group, value_width, beat, width, mode.",
        ),
    ],
)
def test_illegal_parameters(values, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        BitmapConfig(**values)


@pytest.mark.parametrize("group", [4, 8, 16, 32, 64, 128])
def test_index_width(group):
    config = BitmapConfig(group=group, beat=4)
    assert 1 << config.index_width == group


def test_masks_alone_have_no_encoder():
    assert bitmap.designs(BitmapConfig(value_width=0)) == (bitmap.DECODER,)
    assert bitmap.designs(BitmapConfig()) == (bitmap.DECODER, bitmap.ENCODER)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_events_hold_their_increments(config):
    rng = np.random.default_rng(1)
    groups = random_groups(config, rng, [1.0, 0.0, 1.0, 0.5])
    for design in bitmap.designs(config):
        widths = {event.name: event.width for event in design.events(config)}
        for name, pulses in design.schedule(config, groups).events.items():
            assert max(pulses.increments, default=0) < 1 << widths[name]
