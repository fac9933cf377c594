import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibbleforge.golden.anda import compressor as anda_compressor
from nibbleforge.golden.anda.compressor import UNIT, CompressorConfig, GroupMantissas, LaneGroups
from nibbleforge.golden.anda.config import MantissaSettings
from nibbleforge.golden.anda.format import AndaFormat, encode
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.workload import Workload
from nibbleforge.tb import tb_anda_compressor

# --- independent model: integers, one element after the other; one loop turn per cycle ------------


def fields(pattern):
    """Exponent, significand and whether the pattern is Inf or NaN."""
    exponent, fraction = pattern >> 10 & 31, pattern & 1023
    if exponent == 31:
        return 30, 2047, True
    return (exponent, 1024 + fraction, False) if exponent else (1, fraction, False)


def aligned(patterns, planes):
    """Exponent of a lane's group, and its planes as the serial aligner gives them."""
    elements = [fields(p) for p in patterns]
    largest = max(exponent for exponent, _, _ in elements)
    distance = [largest - exponent for exponent, _, _ in elements]
    left = [significand for _, significand, _ in elements]
    rows = []
    for _ in range(planes):
        row = []
        for i in range(len(patterns)):
            if distance[i]:
                distance[i] -= 1
                row.append(0)
            else:
                row.append(left[i] >> 10)
                left[i] = left[i] << 1 & 2047
        rows.append(row)
    return largest, rows


def pack(bits):
    """Bits, the first least significant."""
    return sum(int(bit) << i for i, bit in enumerate(bits))


def bits_of(value, width):
    return [value >> i & 1 for i in range(width)]


class Machine:
    """The compressor as ports show it, all consumers ready."""

    def __init__(self, config):
        self.config = config
        self.ports = {name: [] for name in ("x", "sign", "exponent", "plane")}
        self.events = {event.name: [] for event in anda_compressor.events(config)}
        self.collected, self.leaving, self.words = [], [], None

    def happens(self, event, cycle, amount=1):
        if amount:
            self.events[event].append((cycle, amount))

    def cycle(self, now, beat):
        """One cycle in which ``beat`` (values, mantissa) waits at the input."""
        if self.words:
            self.ports["sign"].append((now, self.words[0]))
            self.ports["exponent"].append((now, self.words[1]))
        self.words = None
        if self.leaving:
            self.ports["plane"].append((now, self.leaving.pop(0)))
            self.happens("planes", now)
        elif self.collected:
            self.happens("stall_input", now)
        final = len(self.collected) == self.config.beats - 1
        if beat is None or (final and self.leaving):
            return False
        values, mantissa = beat
        word = pack(b for v in values for b in bits_of(v, 16)) | mantissa << 16 * len(values)
        self.ports["x"].append((now, word))
        self.happens("x_beats", now)
        self.happens("nonfinite", now, sum(fields(v)[2] for v in values))
        self.collected.append(beat)
        if final:
            self.start(now)
        return True

    def start(self, now):
        """Everything of a group is there."""
        config = self.config
        self.happens("groups", now)
        lanes = [[] for _ in range(config.lanes)]
        for number, (values, _) in enumerate(self.collected):
            lane = number % config.lane_blocks * config.lanes_per_beat
            for i, value in enumerate(values):
                lanes[lane + i // config.beat].append(value)
        mantissa = self.collected[0][1]
        planes = mantissa if 1 <= mantissa <= 16 else 16
        nonfinite = any(fields(v)[2] for lane in lanes for v in lane)
        results = [aligned(lane, planes) for lane in lanes]
        exponents = pack(b for largest, _ in results for b in bits_of(largest, 5))
        self.words = (
            pack(v >> 15 for lane in lanes for v in lane),
            exponents | nonfinite << 5 * config.lanes,
        )
        size = config.lanes * config.group
        self.leaving = [
            pack(bit for _, rows in results for bit in rows[p]) | (p == planes - 1) << size
            for p in range(planes)
        ]
        self.collected = []


def input_beats(config, operands):
    """Values and mantissa of every beat, the mantissa only on a group's first one."""
    for group, mantissa in zip(operands.values.tolist(), operands.mantissa.tolist(), strict=True):
        for first in range(0, config.group, config.beat):
            for lane in range(0, config.lanes, config.lanes_per_beat):
                rows = group[lane : lane + config.lanes_per_beat]
                values = [v for row in rows for v in row[first : first + config.beat]]
                yield values, mantissa if first == lane == 0 else 0


def simulate(config, operands):
    """Log of all ports and events of a free-flowing run, and its cycles."""
    machine = Machine(config)
    waiting, now = list(input_beats(config, operands)), 0
    while waiting or machine.words or machine.leaving:
        if machine.cycle(now, waiting[0] if waiting else None):
            waiting.pop(0)
        now += 1
    return machine.ports, machine.events, now


def integers(beats):
    return [int.from_bytes(row.astype("<u4").tobytes(), "little") for row in beats.expand()]


def check_schedule(config, operands):
    ports, events, total = simulate(config, operands)
    schedule = anda_compressor.schedule(config, operands)
    traffic = anda_compressor.traffic(config, operands)
    assert list(schedule.beats) == list(traffic) == list(ports)
    assert [port.name for port in anda_compressor.ports(config)] == list(ports)
    for name, beats in ports.items():
        assert schedule.cycles[name].tolist() == [cycle for cycle, _ in beats], name
        assert integers(schedule.beats[name]) == [value for _, value in beats], name
        assert integers(traffic[name]) == [value for _, value in beats], name
    golden = {
        name: list(zip(pulses.cycles.tolist(), pulses.increments.tolist(), strict=True))
        for name, pulses in schedule.events.items()
    }
    assert golden == events
    counts = schedule.counts()
    assert counts.cycles == total
    nonfinite = int(operands.nonfinite.sum())
    law = cycles_of(config, len(operands.values), operands.planes, nonfinite)
    assert (law.cycles, law.events) == (counts.cycles, counts.events)


# --- schedules and values -------------------------------------------------------------------------

SHAPES = {
    "one beat": CompressorConfig(group=16, lanes=2, lanes_per_beat=2, beat=16),
    "one lane, one element": CompressorConfig(group=16, lanes=1, lanes_per_beat=1, beat=1),
    "lane after lane": CompressorConfig(group=16, lanes=3, lanes_per_beat=1, beat=8),
    "whole groups, lane after lane": CompressorConfig(group=16, lanes=4, lanes_per_beat=1),
    "blocks of lanes": CompressorConfig(group=32, lanes=4, lanes_per_beat=2, beat=8),
    "tiny": UNIT.presets["tiny"],
}


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_schedule_equals_the_machine(config):
    rng = np.random.default_rng(3)
    check_schedule(config, tb_anda_compressor.random_groups(config, rng))
    check_schedule(config, tb_anda_compressor.random_groups(config, rng, groups=1))


def small_configs():
    def build(group, blocks, per_beat, beat):
        return CompressorConfig(
            group=group, lanes=blocks * per_beat, lanes_per_beat=per_beat, beat=min(beat, group)
        )

    beats = st.sampled_from([1, 2, 4, 8, 16, 32, 64])
    return st.builds(
        build, st.sampled_from([16, 32, 64]), st.integers(1, 3), st.integers(1, 3), beats
    )


@settings(max_examples=30)
@given(small_configs(), st.integers(1, 4), st.integers(0, 999))
def test_schedule_of_any_run(config, groups, seed):
    rng = np.random.default_rng(seed)
    check_schedule(config, tb_anda_compressor.random_groups(config, rng, groups))


@given(small_configs(), st.lists(st.integers(1, 16), min_size=1, max_size=9))
def test_law_of_the_docstring(config, mantissas):
    groups, beats = len(mantissas), config.beats
    values = np.zeros((groups, config.lanes, config.group), np.uint16)
    cycles = anda_compressor.schedule(
        config, LaneGroups(values, np.array(mantissas, np.uint8))
    ).cycles
    final, taken, planes = [], [], []
    for j, mantissa in enumerate(mantissas):
        final.append(final[-1] + max(beats, mantissas[j - 1]) if j else beats - 1)
        before = final[j - 1] if j else -1
        taken += [before + 1 + i for i in range(beats - 1)] + [final[j]]
        planes += [final[j] + 1 + p for p in range(mantissa)]
    assert cycles["x"].tolist() == taken
    assert cycles["sign"].tolist() == cycles["exponent"].tolist() == [t + 1 for t in final]
    assert cycles["plane"].tolist() == planes
    law = cycles_of(config, groups, np.array(mantissas))
    periods = [max(beats, mantissa) for mantissa in mantissas]
    assert law.cycles == beats + sum(periods[:-1]) + mantissas[-1]
    assert law.ideal_cycles == sum(periods)


@pytest.mark.parametrize("mantissa", range(1, 17))
@pytest.mark.parametrize("config", tb_anda_compressor.SMALL, ids=["group-16", "group-64"])
def test_every_pattern_equals_the_encoder(config, mantissa):
    """The planes of every FP16 pattern, alone and among others, are those of the format."""
    every = tb_anda_compressor.exhaustive_groups(config)
    values = every.values[every.mantissa == mantissa]
    assert len(np.unique(values)) == 1 << 16
    operands = LaneGroups(values, np.full(len(values), mantissa, np.uint8))
    result = anda_compressor.compute(config, operands)
    tokens = values.reshape(-1, config.group).view(np.float16)
    anda = encode(AndaFormat(group=config.group), mantissa, tokens)
    planes = result.planes.reshape(len(values), mantissa, config.lanes, config.group)
    weights = 1 << np.arange(mantissa)[::-1]
    magnitude = np.einsum("gplk,p->glk", planes, weights).reshape(anda.magnitude.shape)
    np.testing.assert_array_equal(magnitude, anda.magnitude)
    np.testing.assert_array_equal(result.sign.reshape(anda.sign.shape), anda.sign)
    np.testing.assert_array_equal(result.exponent.reshape(anda.exponent.shape), anda.exponent)
    np.testing.assert_array_equal(
        result.nonfinite, anda.nonfinite.reshape(len(values), -1).any(axis=1)
    )


@pytest.mark.parametrize("config", tb_anda_compressor.SMALL, ids=["group-16", "group-64"])
def test_corners_have_the_largest_number(config):
    corners = tb_anda_compressor.corner_groups(config)
    assert tb_anda_compressor.bins(config, corners)["largest number"]
    smaller = LaneGroups(np.minimum(corners.values & 0x7FFF, 0x7BFE), corners.mantissa)
    assert not tb_anda_compressor.bins(config, smaller)["largest number"]


@pytest.mark.parametrize("group", [16, 32, 64])
def test_distances_are_all_there(group):
    exponents = tb_anda_compressor.distances(group) >> 10 & 31
    pairs = {(int(row.max()), int(e)) for row in exponents for e in row}
    assert pairs == {(largest, e) for largest in range(1, 31) for e in range(largest + 1)}


def test_a_group_by_hand():
    config = CompressorConfig(group=16, lanes=1, lanes_per_beat=1)
    values = np.zeros((1, 1, 16), np.float16)
    values[0, 0, :4] = [1.5, -0.75, 2**-24, -0.0]
    result = anda_compressor.compute(
        config, LaneGroups(values.view(np.uint16), np.array([3], np.uint8))
    )
    assert result.exponent.tolist() == [[15]]
    assert np.flatnonzero(result.sign).tolist() == [1, 3]
    assert [np.flatnonzero(plane).tolist() for plane in result.planes] == [[0], [0, 1], [1]]


def test_nonfinite_belongs_to_its_group():
    config = CompressorConfig(group=16, lanes=2, lanes_per_beat=2)
    values = np.zeros((4, 2, 16), np.float16)
    values[1, 1, 5], values[3, 0, 2] = -np.inf, np.nan
    operands = LaneGroups(values.view(np.uint16), np.full(4, 11, np.uint8))
    result = anda_compressor.compute(config, operands)
    assert result.nonfinite.tolist() == [False, True, False, True]
    assert result.exponent.tolist() == [[1, 1], [1, 30], [1, 1], [30, 1]]
    assert result.planes[11:22, 1, 5].all()
    assert np.argwhere(result.sign).tolist() == [[1, 1, 5]]


@pytest.mark.parametrize("mantissa", [0, 17, 31])
def test_other_mantissas_count_as_16(mantissa):
    config = SHAPES["lane after lane"]
    values = tb_anda_compressor.random_groups(config, np.random.default_rng(1), 2).values
    given, wide = (LaneGroups(values, np.full(2, m, np.uint8)) for m in (mantissa, 16))
    assert given.planes.tolist() == [16, 16]
    golden, other = (anda_compressor.traffic(config, operands) for operands in (wide, given))
    for name in ("sign", "exponent", "plane"):
        assert integers(golden[name]) == integers(other[name])


def test_beats_of_the_presets():
    beats = {name: config.beats for name, config in UNIT.presets.items()}
    assert beats == {"paper": 4, "tiny": 8, "fpga": 4}
    assert anda_compressor.bandwidth(CompressorConfig()) == {"x": 16 * 16 * 16 + 5.0}


def test_law_of_large_runs():
    config = CompressorConfig()
    counts = cycles_of(config, 1_000_000, 5)
    assert counts.cycles == 4 + 5 * 1_000_000
    assert counts.events["planes"] == 5_000_000
    assert counts.events["stall_input"] == 3
    assert cycles_of(config, 1000, 3).cycles == 4 + 4 * 999 + 3
    assert cycles_of(config, 1000, 3).events["stall_input"] == 3 + 999


def test_tokens_share_lanes_and_features_groups():
    config = CompressorConfig(lanes=16, group=64)
    one = Workload(17, 65, settings=MantissaSettings(mantissa=3))
    assert anda_compressor.cycles(config, one) == cycles_of(config, 2 * 2, 3)


def cycles_of(config, groups, mantissa, nonfinite=0):
    """Of groups with the same mantissa, or with one each."""
    extent = (config.lanes, groups * config.group)
    if isinstance(mantissa, int):
        workload = Workload(*extent, settings=MantissaSettings(mantissa=mantissa))
    else:
        workload = Workload(*extent, profile=GroupMantissas(mantissa, nonfinite))
    return anda_compressor.cycles(config, workload)


# --- validation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"group": 8}, "group: input should be 16, 32 or 64, got 8."),
        ({"lanes": 0}, "lanes: input should be greater than or equal to 1, got 0."),
        ({"lanes": 65}, "lanes: input should be less than or equal to 64, got 65."),
        (
            {"lanes_per_beat": 0},
            "lanes_per_beat: input should be greater than or equal to 1, got 0.",
        ),
        ({"lanes": 4}, "lanes_per_beat must divide lanes, got lanes_per_beat 16, lanes 4."),
        (
            {"lanes_per_beat": 3},
            "lanes_per_beat must divide lanes, got lanes_per_beat 3, lanes 16.",
        ),
        ({"beat": 0}, "beat: input should be greater than or equal to 1, got 0."),
        ({"beat": 12}, "beat must be a power of two, got 12."),
        ({"group": 16, "beat": 32}, "beat must not exceed group, got beat 32, group 16."),
    ],
)
def test_illegal_parameters(values, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        CompressorConfig(**values)


TWO = CompressorConfig(group=16, lanes=2, lanes_per_beat=2)


def groups(**changes):
    values = {"values": np.zeros((3, 2, 16), np.uint16), "mantissa": np.full(3, 4, np.uint8)}
    return LaneGroups(**{**values, **changes})


@pytest.mark.parametrize(
    ("operands", "sentence"),
    [
        (
            groups(values=np.zeros((3, 2, 16), np.float16)),
            "values must be uint16 (groups, 2, 16) and not empty, got float16 (3, 2, 16).",
        ),
        (
            groups(values=np.zeros((3, 16, 2), np.uint16)),
            "values must be uint16 (groups, 2, 16) and not empty, got uint16 (3, 16, 2).",
        ),
        (
            groups(values=np.zeros((0, 2, 16), np.uint16), mantissa=np.zeros(0, np.uint8)),
            "values must be uint16 (groups, 2, 16) and not empty, got uint16 (0, 2, 16).",
        ),
        (
            groups(mantissa=np.full(2, 4, np.uint8)),
            "mantissa must be uint8 of shape (3,), got uint8 (2,).",
        ),
        (groups(mantissa=np.full(3, 4)), "mantissa must be uint8 of shape (3,), got int64 (3,)."),
        (groups(mantissa=np.full(3, 32, np.uint8)), "mantissa must fit 5 bits, got 32."),
    ],
)
@pytest.mark.parametrize(
    "function",
    [
        anda_compressor.check,
        anda_compressor.compute,
        anda_compressor.traffic,
        anda_compressor.schedule,
    ],
)
def test_illegal_operands(function, operands, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        function(TWO, operands)


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        ((0, 4), "tokens and in_features must be at least 1, got 2 and 0."),
        ((2, 0), "mantissa: input should be greater than or equal to 1, got 0."),
        ((2, np.array([3, 17])), "planes must be in 1..16, got 3..17."),
        ((2, np.array([3, 4, 5])), "planes must be those of 2 groups, got 3."),
        ((2, np.array([3.0, 4.0])), "planes must be a vector of integers, got float64 (2,)."),
        ((2, np.array(3)), "planes must be a vector of integers, got int64 ()."),
    ],
)
def test_illegal_runs(run, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        cycles_of(TWO, *run)
