import re
from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden import dequantizer
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.workload import Workload
from nibbleforge.golden.dequantizer import DequantizerConfig, GroupSums, TileGroups

# --- independent models: float32 one by one; one loop turn per cycle ------------------------------


def results(config, sums):
    """Results of each tile, ``(tiles, rows, columns)``, every operation a float32 scalar."""
    tiles, running = [], None
    for g, last in enumerate(sums.last):
        if running is None:
            running = [[np.float32(0)] * config.columns for _ in range(config.rows)]
        for r in range(config.rows):
            for c in range(config.columns):
                acc = int(sums.acc[g, r, c])
                if config.asymmetric:
                    acc += 8 * int(sums.ones[g, r])
                running[r][c] += np.float32(acc) * np.float32(sums.d[g, c])
                if config.asymmetric:
                    one = np.float32(int(sums.ones[g, r]))
                    running[r][c] += one * np.float32(sums.minimum[g, c])
        if last:
            tiles.append(running)
            running = None
    return np.array(tiles, np.float32)


def bits(value, width):
    return int(value) % 2**width


def pack(*fields):
    """Fields ``(value, width)``, the first least significant."""
    word, at = 0, 0
    for value, width in fields:
        word |= bits(value, width) << at
        at += width
    return word


def beats_of(config):
    """Beats of a weight group; the rows of each."""
    each = config.rows_per_beat
    return [range(row, row + each) for row in range(0, config.rows, each)]


def x_word(config, sums, g, rows):
    fields = [(v, config.acc_bits) for r in rows for v in sums.acc[g, r]]
    fields += [(sums.ones[g, r], config.ones_bits) for r in rows if config.asymmetric]
    return pack(*fields, (rows[-1] == config.rows - 1, 1))


def scale_word(config, sums, g):
    numbers = [*sums.d[g], *(sums.minimum[g] if config.asymmetric else [])]
    return pack(*((v.view(np.uint16), 16) for v in numbers), (sums.last[g], 1))


def simulate(config, sums):
    """Log of all ports and events of a free-flowing run.

    An addition takes ``add_latency`` cycles, and a pass starts when none of its rows will have to
    wait for the sum that it adds to.
    """
    ports = {name: [] for name in ("x", "scale", "y")}
    events = {event.name: [] for event in dequantizer.events(config)}
    to_adder = config.convert_latency + config.multiply_latency
    y, beats = results(config, sums), beats_of(config)
    feed = deque(
        (g, p, b)
        for g in range(len(sums.last))
        for p in range(config.passes)
        for b in range(len(beats))
    )
    there = [0] * len(beats)  # when the running sums of each beat can be added to
    leaving, tile, from_zero, cycle = deque(), 0, True, 0
    while feed or leaving:
        if leaving and leaving[0][0] == cycle:
            ports["y"].append(leaving.popleft())
            events["results"].append((cycle, 1))
        if feed:
            g, p, b = feed[0]
            waits = any(cycle + beat + to_adder < when for beat, when in enumerate(there))
            if b == 0 and waits and not from_zero:
                events["stall_loop"].append((cycle, 1))
                cycle += 1
                continue
            feed.popleft()
            events["products"].append((cycle, config.rows_per_beat * config.columns))
            if p == 0:
                ports["x"].append((cycle, x_word(config, sums, g, beats[b])))
                events["rows"].append((cycle, 1))
            if p == b == 0:
                ports["scale"].append((cycle, scale_word(config, sums, g)))
                events["groups"].append((cycle, 1))
            there[b] = cycle + config.latency
            ends_pass = b == len(beats) - 1
            ends_tile = sums.last[g] and p == config.passes - 1
            if ends_tile:
                value = [(v.view(np.uint32), 32) for r in beats[b] for v in y[tile][r]]
                leaving.append((there[b], pack(*value, (ends_pass, 1))))
            if ends_pass:
                from_zero = ends_tile
                tile += ends_tile
        cycle += 1
    return ports, events, cycle


def integers(beats):
    return [int.from_bytes(row.astype("<u4").tobytes(), "little") for row in beats.expand()]


def check_schedule(config, sums):
    ports, events, total = simulate(config, sums)
    schedule = dequantizer.schedule(config, sums)
    traffic = dequantizer.traffic(config, sums)
    assert set(schedule.beats) == set(traffic) == set(ports)
    for name, beats in ports.items():
        assert schedule.cycles[name].tolist() == [cycle for cycle, _ in beats], name
        assert integers(schedule.beats[name]) == [value for _, value in beats], name
        assert integers(traffic[name]) == [value for _, value in beats], name
    golden = {
        name: list(zip(pulses.cycles.tolist(), pulses.increments.tolist(), strict=True))
        for name, pulses in schedule.events.items()
    }
    assert golden == events
    assert [port.name for port in dequantizer.ports(config)] == list(ports)
    counts = schedule.counts()
    assert counts.cycles == total
    law = cycles_of(config, sizes(sums))
    assert (law.cycles, law.events) == (counts.cycles, counts.events)


def sizes(sums):
    """Weight groups of each tile."""
    ends = [g for g, last in enumerate(sums.last) if last]
    return [end - before for before, end in zip([-1, *ends[:-1]], ends, strict=True)]


def random_sums(config, rng, tiles):
    """Tiles of so many groups; scales of every size, integers of every length."""
    groups = sum(tiles)
    last = np.zeros(groups, bool)
    last[np.cumsum(tiles) - 1] = True

    def draw(width, *shape):
        values = rng.integers(-(1 << width - 1), 1 << width - 1, shape)
        return values >> rng.integers(0, width, shape)

    def scales():
        words = rng.integers(0, 31 << 10, (groups, config.columns)) >> rng.integers(0, 6)
        words |= rng.integers(0, 2, words.shape) << 15
        return words.astype(np.uint16).view(np.float16)

    acc = draw(config.acc_bits, groups, config.rows, config.columns)
    acc.flat[0] = -(1 << config.acc_bits - 1)
    if not config.asymmetric:
        return GroupSums(acc, scales(), last)
    return GroupSums(acc, scales(), last, draw(config.ones_bits, groups, config.rows), scales())


# --- schedules and values -------------------------------------------------------------------------

SHAPES = [  # rows, add_latency
    (1, 1),
    (1, 2),
    (1, 4),
    (2, 2),
    (2, 3),
    (3, 4),
    (4, 4),
    (5, 4),
    (6, 1),
]


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_schedule_equals_the_state_machine(shape, asymmetric):
    rows, latency = shape
    config = DequantizerConfig(rows=rows, columns=3, asymmetric=asymmetric, add_latency=latency)
    for tiles in ([1], [3], [1, 1, 1], [2, 1, 4]):
        check_schedule(config, random_sums(config, np.random.default_rng(rows), tiles))


@pytest.mark.parametrize("latency", [1, 2, 4])
@pytest.mark.parametrize("shape", [(2, 2), (6, 2), (6, 3), (8, 4), (16, 16)], ids=str)
def test_schedule_of_several_rows_a_beat(shape, latency):
    rows, each = shape
    config = DequantizerConfig(rows=rows, rows_per_beat=each, columns=2, add_latency=latency)
    for tiles in ([1], [3], [1, 1, 1], [2, 1, 4]):
        check_schedule(config, random_sums(config, np.random.default_rng(rows), tiles))


@st.composite
def runs(draw):
    asymmetric = draw(st.booleans())
    each = 1 if asymmetric else draw(st.integers(1, 4))
    config = DequantizerConfig(
        rows=each * draw(st.integers(1, 7 // each)),
        rows_per_beat=each,
        columns=draw(st.integers(1, 4)),
        acc_bits=draw(st.integers(2, 48)),
        asymmetric=asymmetric,
        ones_bits=draw(st.integers(2, 48)),
        convert_latency=draw(st.integers(1, 3)),
        multiply_latency=draw(st.integers(1, 3)),
        add_latency=draw(st.integers(1, 4)),
    )
    tiles = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    return config, random_sums(config, np.random.default_rng(draw(st.integers(0, 999))), tiles)


@given(runs())
def test_schedule_of_any_run(drawn):
    check_schedule(*drawn)


@given(runs())
def test_law_of_the_docstring(drawn):
    config, sums = drawn
    rows = config.rows // config.rows_per_beat
    loop = max(rows, config.add_latency)
    starts, outputs = [], []
    for size in sizes(sums):
        for j in range(config.passes * size):
            starts.append(starts[-1] + (loop if j else rows) if starts else 0)
        outputs += [starts[-1] + r + config.latency for r in range(rows)]
    cycles = dequantizer.schedule(config, sums).cycles
    assert cycles["scale"].tolist() == starts[:: config.passes]
    assert cycles["x"].tolist() == [s + r for s in starts[:: config.passes] for r in range(rows)]
    assert cycles["y"].tolist() == outputs
    law = cycles_of(config, sizes(sums))
    tiles = [(config.passes * size - 1) * loop + rows for size in sizes(sums)]
    assert law.cycles == config.latency + sum(tiles)
    assert law.ideal_cycles == config.passes * rows * len(sums.acc)


@given(runs())
def test_values(drawn):
    config, sums = drawn
    y = dequantizer.compute(config, sums)
    assert y.dtype == np.float32
    assert y.view(np.uint32).tolist() == results(config, sums).view(np.uint32).tolist()


def two_groups(first, second, scale):
    """Result of two groups of one sum each."""
    config = DequantizerConfig(rows=1, columns=1, acc_bits=26)
    acc = np.array([[[first]], [[second]]])
    d = np.full((2, 1), scale, np.float16)
    return float(dequantizer.compute(config, GroupSums(acc, d, np.array([False, True])))[0, 0, 0])


def test_products_are_not_fused():
    value, scale = (1 << 24) - 1, 1 + 2**-10
    assert two_groups(value, -value, scale) == 0
    assert float(np.float32(value * scale)) - value * scale != 0


def test_conversions_round():
    assert two_groups((1 << 25) - 1, -(1 << 25), 1) == 0


def test_a_sum_that_cancels_is_plus_zero():
    config = DequantizerConfig(rows=1, columns=2)
    acc = np.array([[[7, 0]], [[-7, 0]]])
    d = np.array([[0.1, -0.5], [0.1, -0.5]], np.float16)
    y = dequantizer.compute(config, GroupSums(acc, d, np.array([False, True])))
    assert y.view(np.uint32).tolist() == [[[0, 0]]]


def test_subnormal_scales():
    config = DequantizerConfig(rows=1, columns=2)
    d = np.array([[2**-24, -1023 * 2**-24]], np.float16)
    y = dequantizer.compute(config, GroupSums(np.array([[[3, 5]]]), d, np.array([True])))
    assert y.tolist() == [[[3 * 2**-24, -5 * 1023 * 2**-24]]]


@pytest.mark.parametrize("acc_bits", [2, 25, 48])
@pytest.mark.parametrize("ones_bits", [2, 25, 48])
def test_converted_integers_fit(acc_bits, ones_bits):
    config = DequantizerConfig(acc_bits=acc_bits, ones_bits=ones_bits, asymmetric=True)
    low = -(1 << acc_bits - 1) - 8 * (1 << ones_bits - 1)
    assert -(1 << config.value_bits - 1) <= low
    assert config.replace(asymmetric=False).value_bits == acc_bits


def test_bandwidth():
    config = DequantizerConfig(rows=4, columns=2, acc_bits=20, ones_bits=9, add_latency=1)
    assert dequantizer.bandwidth(config) == {"x": 41.0, "scale": 33 / 4}
    assert dequantizer.bandwidth(config.replace(rows=1, add_latency=4)) == {
        "x": 41 / 4,
        "scale": 33 / 4,
    }
    assert dequantizer.bandwidth(config.replace(rows_per_beat=2)) == {"x": 81.0, "scale": 33 / 2}
    two = config.replace(asymmetric=True)
    assert dequantizer.bandwidth(two) == {"x": 25.0, "scale": 65 / 8}


def test_law_of_large_runs():
    config = DequantizerConfig(rows=1, asymmetric=True, add_latency=3)
    counts = dequantizer.cycles(config, Workload(20, 32 * 64, 50 * 16, weight_group=64))
    assert counts.cycles == 1000 * (63 * 3 + 1) + 6
    assert counts.events["stall_loop"] == 1000 * 63 * 2
    assert counts.events["products"] == 1000 * 64 * 16


# --- validation -----------------------------------------------------------------------------------


def most(name, value, limit):
    return {name: value}, f"{name}: input should be less than or equal to {limit}, got {value}."


def least(name, value, limit):
    return {name: value}, f"{name}: input should be greater than or equal to {limit}, got {value}."


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        least("rows", 0, 1),
        most("rows", 257, 256),
        least("columns", 0, 1),
        most("columns", 257, 256),
        least("acc_bits", 1, 2),
        most("acc_bits", 49, 48),
        least("ones_bits", 1, 2),
        most("ones_bits", 49, 48),
        least("convert_latency", 0, 1),
        most("convert_latency", 4, 3),
        least("multiply_latency", 0, 1),
        most("multiply_latency", 4, 3),
        least("add_latency", 0, 1),
        most("add_latency", 5, 4),
        ({"asymmetric": "yes"}, "asymmetric: input should be a valid boolean, got 'yes'."),
        least("rows_per_beat", 0, 1),
        most("rows_per_beat", 17, 16),
        (
            {"rows_per_beat": 3},
            "rows_per_beat must divide rows, got rows_per_beat 3, rows 16.",
        ),
        (
            {"rows_per_beat": 2, "asymmetric": True},
            "rows_per_beat must be 1 for asymmetric weights, got 2.",
        ),
    ],
)
def test_illegal_parameters(values, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        DequantizerConfig(**values)


TWO = DequantizerConfig(rows=2, columns=3, acc_bits=5)
BOTH = TWO.replace(asymmetric=True, ones_bits=4)


def zeros(**changes):
    arrays = {
        "acc": np.zeros((2, 2, 3), np.int16),
        "d": np.zeros((2, 3), np.float16),
        "last": np.array([False, True]),
        **changes,
    }
    return GroupSums(**arrays)


def both(**changes):
    return zeros(
        **{"ones": np.zeros((2, 2), int), "minimum": np.zeros((2, 3), np.float16), **changes}
    )


ILLEGAL = [
    (
        TWO,
        zeros(acc=np.zeros((2, 2, 3))),
        "acc must be integers of shape (2, 2, 3), got float64 (2, 2, 3).",
    ),
    (
        TWO,
        zeros(acc=np.zeros((2, 3, 2), int)),
        "acc must be integers of shape (2, 2, 3), got int64 (2, 3, 2).",
    ),
    (
        TWO,
        zeros(d=np.zeros((2, 3), np.float32)),
        "d must be float16 of shape (2, 3), got float32 (2, 3).",
    ),
    (TWO, zeros(last=np.array([0, 1])), "last must be booleans of shape (2,), got int64 (2,)."),
    (TWO, both(), "ones must be integers of shape (0, 0), got int64 (2, 2)."),
    (BOTH, zeros(), "ones must be integers of shape (2, 2), got int64 (0, 0)."),
    (
        BOTH,
        both(minimum=np.zeros((2, 2), np.float16)),
        "minimum must be float16 of shape (2, 3), got float16 (2, 2).",
    ),
    (TWO, zeros(last=np.array([True, False])), "the final weight group must end a tile."),
    (TWO, zeros(acc=np.full((2, 2, 3), 16)), "acc must fit 5 bits, got 16..16."),
    (TWO, zeros(acc=np.full((2, 2, 3), -17)), "acc must fit 5 bits, got -17..-17."),
    (BOTH, both(ones=np.full((2, 2), 8)), "ones must fit 4 bits, got 8..8."),
    (TWO, zeros(d=np.full((2, 3), np.inf, np.float16)), "d must be finite, got inf."),
    (BOTH, both(minimum=np.full((2, 3), np.nan, np.float16)), "minimum must be finite, got nan."),
]


@pytest.mark.parametrize(("config", "sums", "sentence"), ILLEGAL)
@pytest.mark.parametrize("function", [dequantizer.check, dequantizer.compute, dequantizer.schedule])
def test_illegal_operands(function, config, sums, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        function(config, sums)


def cycles_of(config, groups):
    """Of tiles with so many weight groups each."""
    profile = TileGroups(np.array(groups, np.int64))
    return dequantizer.cycles(config, Workload(1, 1, profile=profile))


@pytest.mark.parametrize("groups", [[], [1, 0]])
def test_illegal_runs(groups):
    sentence = "a run needs at least one tile, and every tile at least one weight group."
    with pytest.raises(UserError, match=f"^{sentence}$"):
        cycles_of(TWO, groups)


def test_a_layer_needs_its_weight_group():
    sentence = "the workload of the dequantizer needs weight_group."
    with pytest.raises(UserError, match=f"^{sentence}$"):
        dequantizer.cycles(TWO, Workload(1, 1, 1))
