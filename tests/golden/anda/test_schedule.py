import re
from collections import defaultdict, deque
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from nibbleforge.golden.anda import config as anda_config
from nibbleforge.golden.anda import dots as anda_dots
from nibbleforge.golden.anda import schedule as anda_schedule
from nibbleforge.golden.anda import timing as anda_timing
from nibbleforge.golden.anda import unit as anda_unit
from nibbleforge.golden.anda import values as anda_values
from nibbleforge.golden.anda.config import AndaConfig, AndaSettings
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.workload import Workload
from nibbleforge.tb import tb_anda

PAPER = anda_unit.UNIT.presets["paper"]


def drawn(seed):
    rng = np.random.default_rng(seed)
    config = tb_anda.random_config(rng)
    return config, tb_anda.random_layer(config, rng)


# --- an independent model of the values: float32 one by one ---------------------------------------


def encode(x, mantissa):
    """Signed integers and exponent of a group, from the definition of the format."""
    raw = x.view(np.uint16).tolist()
    exponent = max(max(bits >> 10 & 31, 1) for bits in raw)
    step = 2.0 ** (exponent - 15 - (mantissa - 1))
    return [int(float(value) / step) for value in x], exponent  # int() truncates


def add_group(running, integers, exponent, mantissa, weights, d, minimum=None):
    """The running sum of an element after one more group."""
    step = np.float32(2.0 ** (exponent - 15 - (mantissa - 1)))
    acc = sum(a * b for a, b in zip(integers, weights, strict=True))
    if minimum is None:
        return running + np.float32(acc) * step * np.float32(d)
    ones = sum(integers)
    running = running + np.float32(acc + 8 * ones) * step * np.float32(d)
    return running + np.float32(ones) * step * np.float32(minimum)


def rounded(config, y):
    """Results as the array gives them."""
    y = np.array(y, np.float32)
    return y if config.output == "fp32" else np.clip(y, -65504, 65504).astype(np.float16)


def results(config, layer):
    """Results of a layer, one element after the other, each group by group."""
    mantissa, size = layer.mantissa, config.group
    tokens, features = layer.x.shape
    y = [[np.float32(0)] * len(layer.w) for _ in range(tokens)]
    for t, at in product(range(tokens), range(0, features, size)):
        integers, exponent = encode(layer.x[t, at : at + size], mantissa)
        for n, weights in enumerate(layer.w[:, at : at + size].tolist()):
            scales = [layer.d[n, at // layer.weight_group]]
            if config.asymmetric:
                scales.append(layer.minimum[n, at // layer.weight_group])
            y[t][n] = add_group(y[t][n], integers, exponent, mantissa, weights, *scales)
    return rounded(config, y)


def same(a, b):
    """Equal type, shape and bits."""
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


@pytest.mark.parametrize("seed", range(30))
def test_results(seed):
    config, layer = drawn(seed)
    assert same(anda_values.compute(config, layer), results(config, layer))


def test_results_of_every_kind_were_drawn():
    kinds = {(config.asymmetric, config.output) for config, _ in map(drawn, range(30))}
    assert len(kinds) == 4


@pytest.mark.parametrize("config", tb_anda.SMALL, ids=["fp16", "asymmetric"])
def test_results_of_the_largest_sums(config):
    layer = tb_anda.corner_layer(config)
    assert same(anda_values.compute(config, layer), results(config, layer))


@pytest.mark.parametrize("asymmetric", [False, True])
def test_every_operation_rounds(asymmetric):
    """Integers, products and sums that FP32 cannot hold."""
    config = AndaConfig(rows=2, columns=2, fp_share=1, asymmetric=asymmetric)
    random = tb_anda.with_mantissa(config, 16, 5)
    rng = np.random.default_rng(5)
    large = rng.uniform(1.8, 2, random.x.shape)
    x = np.where(rng.random(large.shape) < 0.1, large / 64, large).astype(np.float16)
    d = rng.uniform(-1, 1, random.d.shape).astype(np.float16)
    w = np.where([[True], [False], [True]], np.maximum(random.w, 5), np.minimum(random.w, -7))
    layer = replace(random, x=x, w=w, d=d)
    acc = anda_dots.group_dots(layer.encoded(config), layer.w)
    assert (acc.astype(np.float32) != acc).any()
    assert same(anda_values.compute(config, layer), results(config, layer))


# --- a receiver that knows only the ports ---------------------------------------------------------


class Stream:
    """Beats of a port, each ``{field: list or integer}``."""

    def __init__(self, config, traffic, name):
        port = next(port for port in anda_config.ports(config) if port.name == name)
        self.beats = deque(self._fields(port, row) for row in traffic[name].expand())

    @staticmethod
    def _fields(port, row):
        word, fields = int.from_bytes(row.astype("<u4").tobytes(), "little"), {}
        for field in port.fields:
            values = []
            for _ in range(field.count or 1):
                value, word = word % (1 << field.width), word >> field.width
                values.append(value - (field.signed and value >> field.width - 1 << field.width))
            fields[field.name] = values[0] if field.count is None else values
        assert word == 0
        return fields

    def take(self):
        return self.beats.popleft()


def split(flat, parts):
    size = len(flat) // parts
    return [flat[n * size : (n + 1) * size] for n in range(parts)]


def halves(bits):
    return np.array(bits, np.uint16).view(np.float16)


class Receiver:
    """Takes the beats of all inputs, group after group."""

    def __init__(self, config, traffic):
        assert set(traffic) == {port.name for port in anda_config.ports(config)}
        self.config, self.scale = config, None
        self.streams = {name: Stream(config, traffic, name) for name in traffic}

    def activations(self):
        """Mantissa and signed integers of each row."""
        rows = self.config.rows
        serial = self.config.sign_plane == "serial"
        if serial:
            word = self.streams["plane"].take()
            assert not word["last"]
            signs = word["bits"]
        else:
            signs = self.streams["sign"].take()["word"]
        magnitudes, mantissa, last = [0] * len(signs), 0, False
        while not last:
            plane = self.streams["plane"].take()
            magnitudes = [2 * m + bit for m, bit in zip(magnitudes, plane["bits"], strict=True)]
            mantissa, last = mantissa + 1, plane["last"]
        signed = [-m if sign else m for m, sign in zip(magnitudes, signs, strict=True)]
        return mantissa, split(signed, rows)

    def weights(self):
        """Weights of each column."""
        columns = [[] for _ in range(self.config.columns)]
        while len(columns[0]) < self.config.group:
            flat, step = self.streams["w"].take()["value"], self.config.columns
            beat = [flat[c::step] for c in range(step)]
            columns = [column + more for column, more in zip(columns, beat, strict=True)]
        return columns

    def tile(self):
        """Activations, weights and results of the next tile."""
        config, values, weights, last = self.config, [], [], False
        y = [[np.float32(0)] * config.columns for _ in range(config.rows)]
        while not last:
            exponent = self.streams["exponent"].take()
            if exponent["fresh"]:
                fields = self.streams["scale"].take()
                names = ["d", "minimum"] if config.asymmetric else ["d"]
                self.scale = np.stack([halves(fields[name]) for name in names])
            mantissa, integers = self.activations()
            columns = self.weights()
            for r, c in np.ndindex(config.rows, config.columns):
                group = (integers[r], exponent["value"][r], mantissa, columns[c])
                y[r][c] = add_group(y[r][c], *group, *self.scale[:, c])
            step = 2.0 ** (np.array(exponent["value"]) - 15 - (mantissa - 1))
            values.append(np.array(integers) * step[:, None])
            weights.append(columns)
            last = exponent["last"]
        return np.hstack(values), np.hstack(weights), rounded(config, y)

    def rows(self):
        """Results of the next tile as the output port brings them, ``last`` checked."""
        beats = [self.streams["y"].take() for _ in range(self.config.rows)]
        assert [beat["last"] for beat in beats] == [0] * (len(beats) - 1) + [1]
        kind = {"fp32": np.uint32, "fp16": np.uint16}[self.config.output]
        return np.array([beat["value"] for beat in beats], kind)


def truncated(config, layer):
    """Values that the format keeps, ``(tokens, in_features)``."""
    values = np.zeros(layer.x.shape)
    mantissa = layer.mantissa
    for t, at in product(range(len(values)), range(0, values.shape[1], config.group)):
        integers, exponent = encode(layer.x[t, at : at + config.group], mantissa)
        step = 2.0 ** (exponent - 15 - (mantissa - 1))
        values[t, at : at + config.group] = np.array(integers) * step
    return values


def block(matrix, start, size, width=None):
    """Rows of a matrix from a start on, padded with zeros to a size."""
    part = matrix[start : start + size]
    padded = np.zeros((size, width or matrix.shape[1]), matrix.dtype)
    padded[: len(part), : matrix.shape[1]] = part
    return padded


@pytest.mark.parametrize("seed", range(30))
def test_a_receiver_gets_the_operands_and_the_results(seed):
    config, layer = drawn(seed)
    receiver = Receiver(config, anda_schedule.traffic(config, layer))
    kept, y = truncated(config, layer), anda_values.compute(config, layer)
    width = -(-layer.x.shape[1] // config.group) * config.group
    starts = range(0, len(layer.x), config.rows), range(0, len(layer.w), config.columns)
    for token, output in product(*starts):
        values, weights, tile = receiver.tile()
        assert np.array_equal(values, block(kept, token, config.rows, width))
        assert np.array_equal(weights, block(layer.w, output, config.columns, width))
        expected = block(block(y, token, config.rows).T, output, config.columns).T
        real = np.s_[: len(layer.x) - token, : len(layer.w) - output]
        assert same(tile[real].copy(), expected[real].copy())
        assert np.array_equal(tile.view(f"u{tile.itemsize}"), receiver.rows())
    assert not any(stream.beats for stream in receiver.streams.values())


# --- an independent model of the timing: one loop turn per cycle ----------------------------------


def simulate(config, mantissa, groups, tiles, fresh):
    """Cycles of the ports and the events of a free-flowing run.

    ``fresh`` are the groups of a tile that take scales. In each cycle post-processors come first:
    what they release is there for a plane, and what that releases for the weights and the operand.
    """
    share, serial = config.fp_share, config.sign_plane == "serial"
    elements = config.rows * config.columns
    log = defaultdict(list)
    beats = range(mantissa + serial)
    planes = deque(product(range(tiles), range(groups), beats))
    to_load = tiles * groups * config.weight_beats
    operand, held, loaded, active = None, None, 0, False
    turn, lane, started, leaving, cycle = 0, 0, -99, deque(), 0

    def fire(name, increment=1):
        log[name].append((cycle, increment))

    while planes or operand or held is not None or leaving:
        if held is not None:
            final = held == groups - 1 and turn == config.passes - 1
            new = held == 0 and turn == 0
            gap = share if new else max(share, config.add_latency)
            may = lane > 0 or cycle >= started + gap
            drains = lane == 0 and final and bool(leaving)
            if may and drains:
                fire("stall_drain")
            elif may:
                started = cycle if lane == 0 else started
                fire("products", elements // share)
                lane = (lane + 1) % share
                turn += lane == 0
                if turn == config.passes:
                    held, turn = None, 0
                    if final:
                        fire("tiles")
                        there = cycle + config.latency + 1
                        leaving.extend(range(there, there + config.rows))
        if leaving and leaving[0] == cycle:
            leaving.popleft()
            log["y"].append(cycle + (config.output == "fp16"))
        if operand and operand[2] == 0 and not active:
            fire("stall_weights")
        elif operand and operand[2] == beats[-1] and held is not None:
            fire("stall_post")
        elif operand:
            if not (serial and operand[2] == 0):
                fire("planes")
                fire("bit_macs", elements * config.group)
            if operand[2] == beats[-1]:
                fire("groups")
                held, active = operand[1], False
            operand = None
        if loaded == config.weight_beats and not active:
            loaded, active = 0, True
        if to_load and loaded < config.weight_beats:
            to_load, loaded = to_load - 1, loaded + 1
            log["w"].append(cycle)
        if planes and not operand:
            operand = planes.popleft()
            log["plane"].append(cycle)
            if operand[2] == 0:
                log["exponent"].append(cycle)
                log["sign"] += [] if serial else [cycle]
                log["scale"] += [cycle] if operand[1] in fresh else []
        cycle += 1
    for event, port in {"w_beats": "w", "scales": "scale", "y_beats": "y"}.items():
        log[event] = [(at, 1) for at in log[port]]
    return log


def check_timing(config, layer):
    groups = -(-layer.x.shape[1] // config.group)
    tiles = -(-len(layer.x) // config.rows) * -(-len(layer.w) // config.columns)
    fresh = {g for g in range(groups) if g * config.group % layer.weight_group == 0}
    log = simulate(config, layer.mantissa, groups, tiles, fresh)
    schedule = anda_schedule.schedule(config, layer)
    assert list(schedule.cycles) == [port.name for port in anda_config.ports(config)]
    for name, cycles in schedule.cycles.items():
        assert cycles.tolist() == log[name], name
        assert len(schedule.beats[name]) == len(cycles)
    assert set(schedule.events) == {event.name for event in anda_config.events(config)}
    for name, pulses in schedule.events.items():
        fired = list(zip(pulses.cycles.tolist(), pulses.increments.tolist(), strict=True))
        assert fired == log[name], name
    for event in anda_config.events(config):
        assert all(0 < increment < 1 << event.width for _, increment in log[event.name])
    return {name for name, fired in log.items() if fired}


def wide(seed):
    """Post-processors that many share, many rows, few groups: what small arrays seldom have."""
    rng = np.random.default_rng(seed)
    columns = int(rng.choice([4, 8, 12]))
    config = tb_anda.random_config(rng).replace(
        rows=int(rng.integers(1, 17)), columns=columns, fp_share=columns // int(rng.choice([1, 2]))
    )
    sizes = 3 * config.rows, int(rng.integers(1, 3)) * config.group, 3 * columns
    return config, tb_anda.layer(config, rng, *sizes)


@pytest.mark.parametrize("seed", range(60))
def test_schedule_equals_the_state_machine(seed):
    check_timing(*drawn(seed))


def test_schedule_of_wide_arrays_equals_the_state_machine():
    fired = set.union(*(check_timing(*wide(seed)) for seed in range(40)))
    assert fired >= {"stall_weights", "stall_post", "stall_drain"}
    assert "stall_operands" not in fired


# --- laws of whole layers -------------------------------------------------------------------------


def law(config, layer):
    return cycles_of(config, layer.mantissa, *layer.x.shape, len(layer.w), layer.weight_group)


def cycles_of(config, mantissa, tokens, features, outputs, weight_group=128):
    settings = AndaSettings(mantissa=mantissa)
    workload = Workload(tokens, features, outputs, settings, weight_group)
    return anda_timing.cycles(config, workload)


@pytest.mark.parametrize("seed", range(100))
def test_law_equals_the_schedule(seed):
    for config, layer in (drawn(1000 + seed), wide(1000 + seed)):
        counts, totals = law(config, layer), anda_schedule.schedule(config, layer).counts()
        assert (counts.cycles, counts.events) == (totals.cycles, totals.events)


@pytest.mark.parametrize("seed", range(60))
def test_law_of_long_runs_equals_the_state_machine(seed):
    """Enough tiles that each takes what the one before it took."""
    config, layer = wide(2000 + seed)
    mantissa, groups, tiles = layer.mantissa, 1 + seed % 5, 30
    log = simulate(config, mantissa, groups, tiles, {0})
    shape = tiles * config.rows, groups * config.group, config.columns
    counts = cycles_of(config, mantissa, *shape, 8 * config.group)
    assert counts.cycles == log["y"][-1] + 1
    assert counts.events == {
        event.name: sum(increment for _, increment in log[event.name])
        for event in anda_config.events(config)
    }


@pytest.mark.parametrize("seed", range(60))
def test_steady_state(seed):
    config, layer = drawn(seed)
    mantissa, passes = layer.mantissa, 1 + config.asymmetric
    beats = mantissa + (config.sign_plane == "serial")
    period = passes * max(config.fp_share, config.add_latency)
    group = max(beats, period, config.group // config.weight_beat)
    assert config.group_cycles(mantissa) == group
    short, long = (
        cycles_of(config, mantissa, config.rows, groups * config.group, config.columns)
        for groups in (200, 500)
    )
    assert long.cycles - short.cycles == 300 * group
    assert long.ideal_cycles - short.ideal_cycles == 300 * mantissa


@pytest.mark.parametrize("features", [1024, 2048, 4096])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_paper_array_is_kept_busy(features, asymmetric):
    config = PAPER.replace(asymmetric=asymmetric)
    assert (config.fp_share, config.add_latency) == (4, 3)
    for mantissa in range(4 * (1 + asymmetric), 17):
        counts = cycles_of(config, mantissa, 256, features, 512)
        planes = 16 * 32 * features // 64 * mantissa
        assert counts.events["planes"] == counts.ideal_cycles == planes
        assert planes / counts.cycles >= 0.99


def test_law_of_a_large_layer():
    """Weights of a group, planes without a gap, the pass of the final group, its 16 rows."""
    counts = cycles_of(PAPER, 5, 256, 1024, 512)
    tiles, groups = 16 * 32, 16
    assert counts.cycles == 5 + tiles * groups * 5 + 4 + (1 + 2 + 3) + 16
    assert counts.events == {
        "bit_macs": 256 * 1024 * 512 * 5,
        "planes": tiles * groups * 5,
        "groups": tiles * groups,
        "w_beats": tiles * groups * 4,
        "scales": tiles * groups // 2,
        "products": 256 * 512 * groups,
        "y_beats": tiles * 16,
        "tiles": tiles,
        "stall_operands": 0,
        "stall_weights": 4,
        "stall_post": 0,
        "stall_drain": 0,
    }


@pytest.mark.parametrize("name", anda_unit.UNIT.presets)
@pytest.mark.parametrize("mantissa", [1, 5, 11])
@pytest.mark.parametrize("sign_plane", ["banked", "serial"])
def test_bandwidth(name, mantissa, sign_plane):
    """Bits of a group of each port over its cycles; scales of 128 weights."""
    config = anda_unit.UNIT.presets[name].replace(sign_plane=sign_plane, output="fp16")
    beats = {
        "sign": 1,
        "exponent": 1,
        "plane": mantissa + (sign_plane == "serial"),
        "w": config.group / config.weight_beat,
        "scale": config.group / 128,
    }
    inputs = [port for port in anda_config.ports(config) if port.direction == "in"]
    assert anda_config.bandwidth(config, mantissa) == pytest.approx(
        {p.name: p.width * beats[p.name] / config.group_cycles(mantissa) for p in inputs}
    )


# --- validation -----------------------------------------------------------------------------------


def most(name, value, limit):
    return {name: value}, f"{name}: input should be less than or equal to {limit}, got {value}."


def least(name, value):
    return {name: value}, f"{name}: input should be greater than or equal to 1, got {value}."


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"group": 48}, "group: input should be 16, 32 or 64, got 48."),
        least("rows", 0),
        most("rows", 65, 64),
        least("columns", 0),
        most("columns", 65, 64),
        least("max_mantissa", 0),
        most("max_mantissa", 17, 16),
        least("fp_share", 0),
        least("weight_beat", 0),
        most("convert_latency", 4, 3),
        most("multiply_latency", 4, 3),
        most("add_latency", 5, 4),
        ({"sign_plane": "both"}, "sign_plane: input should be 'banked' or 'serial', got 'both'."),
        ({"output": "bf16"}, "output: input should be 'fp32', 'fp16' or 'anda', got 'bf16'."),
        ({"fp_share": 3}, "fp_share must divide columns, got fp_share 3, columns 16."),
        ({"fp_share": 32}, "fp_share must divide columns, got fp_share 32, columns 16."),
        ({"weight_beat": 24}, "weight_beat must divide group, got weight_beat 24, group 64."),
        (
            {"group": 16, "weight_beat": 32},
            "weight_beat must divide group, got weight_beat 32, group 16.",
        ),
    ],
)
def test_illegal_parameters(values, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        AndaConfig(**values)


@pytest.mark.parametrize("setting", [least("mantissa", 0), most("mantissa", 17, 16)])
def test_illegal_settings(setting):
    values, sentence = setting
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        AndaSettings(**values)


SMALL = AndaConfig(group=16, rows=2, columns=2, fp_share=2, max_mantissa=11)
BOTH = SMALL.replace(asymmetric=True)


def ones(**changes):
    """3 tokens, 40 in_features, 5 outputs, 2 weight groups."""
    operands = {
        "x": np.ones((3, 40), np.float16),
        "mantissa": 4,
        "w": np.ones((5, 40), np.int8),
        "d": np.ones((5, 2), np.float16),
        "weight_group": 32,
        **changes,
    }
    return anda_values.AndaLayer(**operands)


def last_is(value, *shape, dtype=np.float16):
    matrix = np.ones(shape, dtype)
    matrix.flat[-1] = value
    return matrix


A_MATRIX = "activations must be a matrix of float16 and not empty, got "
INT8 = "weights must be int8 of shape (outputs, 40), got "
NESTED = "group must divide the weight group, got group 16, weight group "
ILLEGAL = [
    (SMALL, {"mantissa": 0}, "mantissa must be in 1..16, got 0."),
    (SMALL, {"mantissa": 17}, "mantissa must be in 1..16, got 17."),
    (SMALL, {"mantissa": 12}, "mantissa must not exceed max_mantissa = 11, got 12."),
    (SMALL, {"weight_group": 24}, NESTED + "24."),
    (SMALL, {"weight_group": 8}, NESTED + "8."),
    (SMALL, {"weight_group": 0}, NESTED + "0."),
    (SMALL, {"x": np.ones((3, 40), np.float32)}, A_MATRIX + "float32 (3, 40)."),
    (SMALL, {"x": np.ones(40, np.float16)}, A_MATRIX + "float16 (40,)."),
    (SMALL, {"x": np.ones((0, 40), np.float16)}, A_MATRIX + "float16 (0, 40)."),
    (SMALL, {"x": last_is(np.inf, 3, 40)}, "activations must be finite, got inf."),
    (SMALL, {"x": last_is(np.nan, 3, 40)}, "activations must be finite, got nan."),
    (SMALL, {"w": last_is(8, 5, 40, dtype=np.int8)}, "weights must be in -8..7, got 1..8."),
    (SMALL, {"w": last_is(-9, 5, 40, dtype=np.int8)}, "weights must be in -8..7, got -9..1."),
    (SMALL, {"w": np.ones((5, 40), np.int64)}, INT8 + "int64 (5, 40)."),
    (SMALL, {"w": np.ones((5, 41), np.int8)}, INT8 + "int8 (5, 41)."),
    (SMALL, {"w": np.ones(40, np.int8)}, INT8 + "int8 (40,)."),
    (SMALL, {"d": last_is(np.inf, 5, 2)}, "d must be finite, got inf."),
    (SMALL, {"d": last_is(np.nan, 5, 2)}, "d must be finite, got nan."),
    (
        SMALL,
        {"d": np.ones((5, 2), np.float32)},
        "d must be float16 of shape (5, 2), got float32 (5, 2).",
    ),
    (
        SMALL,
        {"weight_group": 16},
        "d must be float16 of shape (5, 3), got float16 (5, 2).",
    ),
    (
        SMALL,
        {"minimum": np.ones((5, 2), np.float16)},
        "minimum must be float16 of shape (0, 0), got float16 (5, 2).",
    ),
    (BOTH, {}, "minimum must be float16 of shape (5, 2), got float16 (0, 0)."),
    (BOTH, {"minimum": last_is(-np.inf, 5, 2)}, "minimum must be finite, got -inf."),
    (BOTH, {"minimum": last_is(np.nan, 5, 2)}, "minimum must be finite, got nan."),
]


@pytest.mark.parametrize(("config", "changes", "sentence"), ILLEGAL)
@pytest.mark.parametrize(
    "function",
    [anda_values.check, anda_values.compute, anda_schedule.schedule, anda_schedule.traffic],
)
def test_illegal_operands(function, config, changes, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        function(config, ones(**changes))


def test_one_weight_group_of_any_length():
    layer = ones(d=np.full((5, 1), 0.5, np.float16), weight_group=40)
    assert (anda_values.compute(SMALL, layer) == 20).all()


AT_LEAST_1 = "tokens, in_features and outputs must be at least 1, got "


@pytest.mark.parametrize(
    ("config", "arguments", "sentence"),
    [
        (PAPER, (0, 3, 40, 5), "mantissa: input should be greater than or equal to 1, got 0."),
        (PAPER, (17, 3, 40, 5), "mantissa: input should be less than or equal to 16, got 17."),
        (
            AndaConfig(max_mantissa=5),
            (6, 3, 40, 5),
            "mantissa must not exceed max_mantissa = 5, got 6.",
        ),
        (PAPER, (4, 0, 40, 5), AT_LEAST_1 + "0, 40 and 5."),
        (PAPER, (4, 3, -1, 5), AT_LEAST_1 + "3, -1 and 5."),
        (PAPER, (4, 3, 40, 0), AT_LEAST_1 + "3, 40 and 0."),
        (
            PAPER,
            (4, 3, 160, 5, 80),
            "group must divide the weight group, got group 64, weight group 80.",
        ),
    ],
)
def test_illegal_shapes(config, arguments, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        cycles_of(config, *arguments)
