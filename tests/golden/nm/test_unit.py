"""N:M array: values, an independent simulation register by register, beats, law."""

from collections import deque
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.workload import Workload
from nibbleforge.golden.grouped import GroupScales
from nibbleforge.golden.nm import schedule as nm_schedule
from nibbleforge.golden.nm import timing as nm_timing
from nibbleforge.golden.nm import unit as nm
from nibbleforge.golden.nm import values as nm_values
from nibbleforge.golden.nm.config import NMConfig, NMSettings, bandwidth, ports
from nibbleforge.golden.nm.pattern import Pattern
from nibbleforge.tb import tb_nm


def drawn(seed, draw=tb_nm.random_config):
    """A legal configuration and a layer of it."""
    rng = np.random.default_rng(seed)
    while True:
        try:
            config = draw(rng)
        except UserError:
            continue
        return config, tb_nm.random_layer(config, rng)


def matrix(config, layer):
    """The dense weights, slot by slot, ``(outputs, padded features)``."""
    outputs, blocks, n = layer.values.shape
    w = np.zeros((outputs, blocks * config.m))
    for output, block, slot in np.ndindex(outputs, blocks, n):
        w[output, block * config.m + layer.indices[output, block, slot]] = layer.values[
            output, block, slot
        ]
    return w


def padded(config, layer):
    """Activations of whole blocks, ``(tokens, padded features)``."""
    return np.pad(layer.x, ((0, 0), (0, -layer.x.shape[1] % config.m))).astype(np.float64)


def edges(config, layer):
    """First feature of each weight group, and the end of the padded row."""
    end = layer.values.shape[1] * config.m
    group = layer.weight_group
    return [0, end] if group >= layer.x.shape[1] else [*range(0, end, group), end]


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_values(seed):
    config, layer = drawn(seed)
    expected = padded(config, layer) @ matrix(config, layer).T
    y = nm_values.compute(config, layer)
    assert y.dtype == np.int64
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("seed", range(40))
def test_sums_of_weight_groups(seed):
    config, layer = drawn(seed)
    x, w, at = padded(config, layer), matrix(config, layer), edges(config, layer)
    expected = [x[:, a:b] @ w[:, a:b].T for a, b in pairwise(at)]
    np.testing.assert_array_equal(nm_values.sums(config, layer), expected)


@pytest.mark.parametrize("seed", range(25))
def test_dequantised_values(seed):
    """Group after group from +0: every operation a float32 scalar."""
    config, layer = drawn(seed, tb_nm.random_grouped_config)
    x, w, at = padded(config, layer), matrix(config, layer), edges(config, layer)
    y = nm_values.dequantised(config, layer)
    assert y.dtype == np.float32
    assert y.shape == (len(x), len(w))
    for token, output in np.ndindex(y.shape):
        total = np.float32(0)
        for group, (a, b) in enumerate(pairwise(at)):
            acc = np.float32(x[token, a:b] @ w[output, a:b])
            total += acc * np.float32(layer.d[output, group])
        assert y[token, output].view(np.uint32) == total.view(np.uint32)


def test_accumulators_hold_every_sum_and_no_more():
    for max_k in (1, 2, 3, 63, 64, 4096, 14336, 1 << 20):
        config = NMConfig(max_k=max_k)
        largest = max_k * 128 * 8
        assert 2 ** (config.accumulator_bits - 2) <= largest < 2 ** (config.accumulator_bits - 1)


# --- the array, register by register --------------------------------------------------------------


def fields(config, layer):
    """Beats of every port as their fields."""
    traffic = nm_schedule.traffic(config, layer)
    return {port.name: port.unpack(traffic[port.name].expand()) for port in ports(config)}


def stored(pattern, bits):
    """Values and indices of a block, bit by bit."""

    def number(at, width):
        return sum(bits[at + i] << i for i in range(width))

    values = [(number(4 * i, 4) ^ 8) - 8 for i in range(pattern.n)]
    begin, width = 4 * pattern.n, pattern.index_bits
    if pattern.n == pattern.m:
        return values, list(range(pattern.m))
    if pattern.n * width <= pattern.m:
        return values, [number(begin + width * i, width) for i in range(pattern.n)]
    return values, [i for i in range(pattern.m) if bits[begin + i]]


class Unpacking:
    """Bytes of ``w`` in, one block of every column and lane out."""

    def __init__(self, config, beats):
        self.config, self.beats = config, beats
        self.left, self.taken = deque(range(len(beats["n"]))), []
        self.slots = None  # the blocks that are there, one a column and lane
        self.restart()

    def restart(self):
        """What is left of the byte is dropped."""
        self.pattern = None
        streams = self.config.columns * self.config.lanes
        self.bits = [[] for _ in range(streams)]
        self.block = [[] for _ in range(streams)]

    def pull(self, cycle):
        if self.slots is not None or not (self.left or self.bits[0]):
            return
        if self.pattern is None:
            self.pattern = Pattern(int(self.beats["n"][self.left[0]]), self.config.m)
        wanted = min(8, self.pattern.block_bits - len(self.block[0]))
        if len(self.bits[0]) < wanted:
            self.taken.append(cycle)
            for bits, byte in zip(self.bits, self.beats["bits"][self.left.popleft()], strict=True):
                bits += [int(byte) >> i & 1 for i in range(8)]
        for bits, block in zip(self.bits, self.block, strict=True):
            block += [bits.pop(0) for _ in range(wanted)]
        if len(self.block[0]) == self.pattern.block_bits:
            self.slots = [stored(self.pattern, block) for block in self.block]
            self.block = [[] for _ in self.block]

    def take(self, end):
        slots, self.slots = self.slots, None
        if end:
            assert not any(map(any, self.bits)), "what fills the beat is 0"
            self.restart()
        return slots


def front(config, beats):
    """What issues when, ``cycle: (activations, values, indices, group, last)``; cycles of beats.

    In a cycle a slot of the current block issues, then the next block becomes the current one if
    it is there and the slot was the final one, then a byte is pulled.
    """
    unpacking = Unpacking(config, beats["w"])
    x, taken, current, begun, group, free = beats["x"], [], None, 0, 0, 0
    issues, held, cycle = {}, [], 0
    while current or len(taken) < len(x["last"]):
        if current:
            block, slots = current
            final = begun == len(slots[0][0]) - 1
            last = bool(final and x["last"][block])
            if last and cycle < free:
                held.append(cycle)
            else:
                activations = x["value"][block].reshape(config.rows, config.lanes, config.m)
                values, indices = (
                    np.reshape([lane[i][begun] for lane in slots], (-1, config.lanes)).tolist()
                    for i in (0, 1)
                )
                issues[cycle] = (activations, values, indices, group, last)
                begun += 1
                if final:
                    current = None
                if last:
                    group, free = group + 1, cycle + config.rows // config.dequant_rows
        if not current and unpacking.slots and len(taken) < len(x["last"]):
            current, begun = (len(taken), unpacking.take(x["end"][len(taken)])), 0
            taken.append(cycle)
        unpacking.pull(cycle)
        cycle += 1
    assert not unpacking.left
    return issues, {"x": taken, "w": unpacking.taken}, held


class Column:
    """P columns of elements from north to south: accumulators and result registers."""

    def __init__(self, config):
        self.config = config
        self.sums = [None] * config.rows  # group and sums
        self.results = [None] * config.rows

    def clock(self, work, draining):
        """Multiply ``work[row of cells]``, shift what belongs to the group that leaves."""
        config, span = self.config, self.config.span
        leaving = []
        if draining is not None:
            for row in reversed(range(config.rows)):
                if self.results[row] and self.results[row][0] == draining:
                    to = row + config.dequant_rows
                    if to >= config.rows:
                        leaving.append(self.results[row][1])
                    else:
                        assert self.results[to] is None, "a sum has not left yet"
                        self.results[to] = self.results[row]
                    self.results[row] = None
        for i, slot in enumerate(work):
            for row in range(i * span, (i + 1) * span) if slot else ():
                x, values, indices, group, last = slot
                token = config.rows - 1 - row
                products = [
                    sum(int(block[k]) * v for block, v, k in zip(x[token], *lanes, strict=True))
                    for lanes in zip(values, indices, strict=True)
                ]
                before = self.sums[row]
                zero = before is None or before[0] != group
                total = (
                    products if zero else [a + b for a, b in zip(before[1], products, strict=True)]
                )
                self.sums[row] = (group, total)
                if last:
                    assert self.results[row] is None, "overwritten too early"
                    self.results[row] = (group, total)
        return leaving


def simulate(config, layer):
    """Cycles of every beat, sums of every beat of y, cycles held by a group's end.

    Registers between cells: ``east[i][j]`` is the slot whose activations cell (i, j) has,
    ``south[i][j]`` the slot whose weights it has, as cycle of issue.
    """
    issues, cycles, held = front(config, fields(config, layer))
    north, west = config.rows // config.span, config.columns // config.span
    drain = config.rows // config.dequant_rows
    east = [[None] * west for _ in range(north)]
    south = [[None] * west for _ in range(north)]
    columns = [Column(config) for _ in range(west)]
    ends = {cycle: slot[3] for cycle, slot in issues.items() if slot[4]}
    late = [deque([[]] * (west - 1 - j)) for j in range(west)]  # western columns wait
    y, cycles["y"] = [], []
    for cycle in range(max(issues) + north + west + drain + 1):
        beat = []
        for j, column in enumerate(columns):
            for i in range(north):
                assert east[i][j] == south[i][j], "activations and weights belong together"
            work = [_part(config, issues.get(south[i][j]), j) for i in range(north)]
            starts = [cycle - north - 1 - j - k for k in range(drain)]
            groups = [ends[start] for start in starts if start in ends]
            assert len(groups) <= 1, "one group leaves at a time"
            late[j].append(column.clock(work, groups[0] if groups else None))
            beat.append(late[j].popleft())
        if any(beat):
            cycles["y"].append(cycle)
            y.append([[v for part in beat for v in part[d]] for d in range(config.dequant_rows)])
        for i in range(north):  # stage i of an edge gets what the first one got i cycles ago
            east[i] = [_issued(issues, cycle - i), *east[i][:-1]]
        first = [_issued(issues, cycle - j) for j in range(west)]
        south = [first, *south[:-1]]
    return cycles, y, held


def _issued(issues, cycle):
    return cycle if cycle in issues else None


def _part(config, slot, j):
    """What P columns get of a slot."""
    if slot is None:
        return None
    x, values, indices, group, last = slot
    some = slice(j * config.span, (j + 1) * config.span)
    return x, values[some], indices[some], group, last


SHAPES = [  # configuration, N, tokens, features, outputs, weight group
    ({"rows": 1, "columns": 1, "span": 1}, 1, 3, 9, 2, 4),
    ({"rows": 6, "columns": 4, "span": 1}, 1, 13, 12, 5, 4),
    ({"rows": 6, "columns": 4, "span": 2}, 2, 13, 19, 5, 8),
    ({"rows": 6, "columns": 6, "span": 3, "dequant_rows": 3, "m": 8}, 3, 13, 16, 13, 8),
    ({"rows": 8, "columns": 2, "span": 2, "dequant_rows": 2, "m": 16}, 1, 16, 48, 4, 16),
    ({"rows": 4, "columns": 8, "span": 4, "m": 16}, 16, 4, 20, 9, 16),
    ({"rows": 9, "columns": 3, "span": 3}, 1, 18, 4, 6, 4),
    ({"rows": 4, "columns": 4, "span": 2, "lanes": 2}, 2, 5, 44, 9, 12),
    ({"rows": 2, "columns": 2, "span": 1, "lanes": 16}, 3, 3, 64, 3, 64),
]


def check_simulation(config, layer):
    cycles, y, held = simulate(config, layer)
    schedule = nm_schedule.schedule(config, layer)
    for name, expected in cycles.items():
        assert schedule.cycles[name].tolist() == expected, name
    found = fields(config, layer)["y"]
    shape = (len(y), config.dequant_rows, config.columns)
    assert found["value"].reshape(shape).tolist() == y
    assert not found["error"].any()
    drain = config.rows // config.dequant_rows
    assert found["last"].tolist() == [i % drain == drain - 1 for i in range(len(y))]
    assert schedule.events["stall_drain"].cycles.tolist() == held


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_schedule_equals_the_registers(shape):
    values, n, tokens, features, outputs, group = shape
    config = NMConfig(**values, max_k=64)
    layer = tb_nm.layer(config, np.random.default_rng(n), n, tokens, features, outputs)
    check_simulation(config, replace(layer, weight_group=group))


@pytest.mark.parametrize("seed", range(60))
def test_schedule_of_any_layer_equals_the_registers(seed):
    check_simulation(*drawn(seed))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (16, 16), (3, 7)])
def test_a_tile_alone_takes_what_a_systolic_array_takes(n, rows, columns):
    """Slots and skew; the bytes of the first block before, a register and the drain after."""
    config = NMConfig(rows=rows, columns=columns, span=1)
    law = nm_timing.cycles(config, Workload(rows, 64, columns, NMSettings(n=n)))
    systolic = 64 // 4 * n + (rows - 1) + (columns - 1)
    bytes_of_block = {1: 1, 2: 2, 3: 2, 4: 2}[n]
    assert law.cycles == systolic + bytes_of_block + 2 + rows


# --- beats ----------------------------------------------------------------------------------------


def dealt(config, layer):
    """Blocks of each beat, lane after lane; None where a weight group has none left."""
    beats = []
    for begin, end in pairwise(edges(config, layer)):
        left = deque(range(begin // config.m, end // config.m))
        while left:
            beats.append([left.popleft() if left else None for _ in range(config.lanes)])
    return beats


@pytest.mark.parametrize("seed", range(30))
def test_beats_hold_the_slots_and_the_blocks(seed):
    """Read bit by bit: the packed rows of every output and lane, N on the first beat."""
    config, layer = drawn(seed)
    beats, blocks = fields(config, layer), dealt(config, layer)
    pattern = Pattern(layer.n, config.m)
    row = -(-len(blocks) * pattern.block_bits // 8)
    x = padded(config, layer)
    ends = [end // config.m - 1 for end in edges(config, layer)[1:]]
    tiles = [(t, o) for t in range(0, len(x), config.rows)
             for o in range(0, layer.outputs, config.columns)]  # fmt: skip
    assert len(beats["x"]["last"]) == len(tiles) * len(blocks)
    assert len(beats["w"]["n"]) == len(tiles) * row
    for tile, (token, output) in enumerate(tiles):
        mine = slice(tile * row, (tile + 1) * row)
        assert beats["w"]["n"][mine].tolist() == [layer.n] + [0] * (row - 1)
        packed = beats["w"]["bits"][mine]
        for c, lane in product(range(config.columns), range(config.lanes)):
            octets = packed[:, c * config.lanes + lane]
            bits = [int(byte) >> i & 1 for byte in octets for i in range(8)]
            assert not any(bits[len(blocks) * pattern.block_bits :])
            for step, beat in enumerate(blocks):
                at = step * pattern.block_bits
                values, indices = stored(pattern, bits[at : at + pattern.block_bits])
                if output + c >= layer.outputs or beat[lane] is None:
                    assert values == [0] * layer.n
                    assert indices == list(range(layer.n))
                else:
                    assert values == layer.values[output + c, beat[lane]].tolist()
                    assert indices == layer.indices[output + c, beat[lane]].tolist()
        some = slice(tile * len(blocks), (tile + 1) * len(blocks))
        final = [step for step, beat in enumerate(blocks) if set(beat) & set(ends)]
        assert np.flatnonzero(beats["x"]["last"][some]).tolist() == final
        assert np.flatnonzero(beats["x"]["end"][some]).tolist() == [len(blocks) - 1]
        value = beats["x"]["value"][some].reshape(-1, config.rows, config.lanes, config.m)
        for step, r, lane in np.ndindex(value.shape[:3]):
            block = blocks[step][lane]
            if block is None or token + r >= len(x):
                assert not value[step, r, lane].any()
            else:
                begin = block * config.m
                assert (
                    value[step, r, lane].tolist() == x[token + r, begin : begin + config.m].tolist()
                )


# --- law ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [tb_nm.random_config, tb_nm.random_grouped_config])
def test_law_equals_the_schedule(draw):
    for seed in range(80):
        config, layer = drawn(seed, draw)
        design = nm.GROUPED if config.grouped else nm.ARRAY
        counted = design.schedule(config, layer).counts()
        settings, shape = NMSettings(n=layer.n), (*layer.x.shape, layer.outputs)
        law = design.cycles(config, Workload(*shape, settings, layer.weight_group))
        assert (law.cycles, law.events) == (counted.cycles, counted.events)
        assert list(law.events) == [event.name for event in design.events(config)]


def test_groups_shorter_than_the_drain_wait_for_it():
    """Eight slots a group: 16 rows leave in 16 cycles, or two at a time in 8."""
    for dequant_rows, each in ((1, 16), (2, 8)):
        config = NMConfig(m=16, dequant=GroupScales(), dequant_rows=dequant_rows)
        one, two = (
            nm_timing.cycles(config, Workload(16, features, 16, NMSettings(n=1)))
            for features in (256, 384)
        )
        assert two.cycles - one.cycles == each
        assert two.events["stall_drain"] - one.events["stall_drain"] == each - 8


def test_more_in_features_than_max_k_in_groups_that_fit():
    config = NMConfig(rows=2, columns=2, span=1, max_k=8)
    layer = tb_nm.layer(config.replace(max_k=20), np.random.default_rng(0), 2, 3, 20, 3)
    layer = replace(layer, weight_group=8)
    law = nm_timing.cycles(config, Workload(3, 20, 3, NMSettings(n=2), 8))
    assert law.events == nm_schedule.schedule(config, layer).counts().events


def test_bandwidth():
    """N = 1 of 4: 6 bits a column and cycle, a block of activations a cycle."""
    config = NMConfig(rows=3, columns=2, span=1)
    assert bandwidth(config) == {"x": 3 * 4 * 8 + 2, "w": (2 * 8 + 3) * 6 / 8}
    assert bandwidth(config.replace(lanes=2)) == {"x": 2 * 3 * 4 * 8 + 2, "w": (4 * 8 + 3) * 6 / 8}
    assert bandwidth(config, 4) == {"x": (3 * 4 * 8 + 2) / 4, "w": (2 * 8 + 3) * 4 / 8}
