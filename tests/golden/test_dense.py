import math
import re
from collections import deque
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden import dense
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.layer import Layer, compute
from nibbleforge.golden.contract.workload import Workload
from nibbleforge.golden.dense import DenseConfig

# --- an independent model: scalar state machine, one loop turn per cycle --------------------------


def activation_bits(config):
    return config.activation_bits or 2 * config.k


def weight_range(config):
    return {4: (-8, 7), 3: (-4, 3), 2: (-2, 1)}[config.weight_bits]


def tiles(config, layer):
    """Padded operands of each tile: ``(R lists of K, C lists of K)``, outputs innermost."""
    x, w = layer.x.tolist(), layer.w.tolist()
    zero = [0] * len(x[0])
    for token in range(0, len(x), config.rows):
        for output in range(0, len(w), config.columns):
            rows = [x[t] if t < len(x) else zero for t in range(token, token + config.rows)]
            columns = [w[o] if o < len(w) else zero for o in range(output, output + config.columns)]
            yield rows, columns


def beat(rows, feature, lanes):
    """Some features of every row from this one on, row after row, 0 for those that are missing."""
    return [v for row in rows for v in (row[feature : feature + lanes] + [0] * lanes)[:lanes]]


def parts(config, q):
    """What an activation is multiplied as in each pass, with its weight in the sum."""
    if config.passes == 1:
        return [(q, 1)]
    base = 2**config.k
    low = q % base
    if config.recode == "balanced" and low >= base // 2:
        low -= base
    return [(low, 1), ((q - low) // base, base)]


def payload(values, width, *flags):
    bits = sum((v % 2**width) << (i * width) for i, v in enumerate(values))
    return bits + sum(flag << (len(values) * width + i) for i, flag in enumerate(flags))


def simulate(config, layer):
    """Log of all ports and events of a free-flowing run."""
    ports = {name: [] for name in ("x", "w", "y")}
    names = ("macs", "x_beats", "w_beats", "y_beats", "tiles", "stall_operands", "stall_drain")
    events = {name: [] for name in names}
    features, lanes = layer.x.shape[1], config.lanes
    feed = deque(
        (beat(rows, f, lanes), beat(columns, f, lanes), int(f + lanes >= features))
        for rows, columns in tiles(config, layer)
        for f in range(0, features, lanes)
    )
    accumulators = [[0] * config.columns for _ in range(config.rows)]
    draining, operand, part, cycle = deque(), None, 0, 0
    while feed or operand or draining:
        if draining:
            ports["y"].append((cycle, draining.popleft()))
            events["y_beats"].append((cycle, 1))
        if operand:
            x, w, last = operand
            ends_beat = part == config.passes - 1
            if ends_beat and last and draining:
                events["stall_drain"].append((cycle, 1))
            else:
                for r, c, lane in product(range(config.rows), range(config.columns), range(lanes)):
                    value, weight = parts(config, x[r * lanes + lane])[part]
                    accumulators[r][c] += value * w[c * lanes + lane] * weight
                events["macs"].append((cycle, config.rows * config.columns * lanes))
                part = 0 if ends_beat else part + 1
                if ends_beat:
                    operand = None
                if ends_beat and last:
                    events["tiles"].append((cycle, 1))
                    bits = config.accumulator_bits
                    for r, sums in enumerate(accumulators):
                        draining.append(payload(sums, bits, int(r == config.rows - 1)))
                    accumulators = [[0] * config.columns for _ in range(config.rows)]
        if not operand and feed:
            operand = x, w, last = feed.popleft()
            ports["x"].append((cycle, payload(x, activation_bits(config), last)))
            ports["w"].append((cycle, payload(w, config.weight_bits)))
            events["x_beats"].append((cycle, 1))
            events["w_beats"].append((cycle, 1))
        cycle += 1
    return ports, events, cycle


def integers(beats):
    return [int.from_bytes(row.astype("<u4").tobytes(), "little") for row in beats.expand()]


def check_schedule(config, layer):
    ports, events, total = simulate(config, layer)
    schedule = dense.schedule(config, layer)
    traffic = dense.traffic(config, layer)
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
    assert [event.name for event in dense.events(config)] == list(events)
    assert [port.name for port in dense.ports(config)] == list(ports)
    counts = schedule.counts()
    assert counts.cycles == total
    law = dense.cycles(config, Workload(*layer.x.shape, len(layer.w)))
    assert (law.cycles, law.events) == (counts.cycles, counts.events)


def random_layer(config, rng, tokens, features, outputs):
    low, high = config.activation_range
    x = rng.integers(low, high, (tokens, features), endpoint=True)
    least, most = weight_range(config)
    w = rng.integers(least, most, (outputs, features), endpoint=True)
    x.flat[0], w.flat[0] = low, least
    return Layer(x.astype(np.int16 if config.k == 8 else np.int8), w.astype(np.int8))


# --- schedules ------------------------------------------------------------------------------------

VARIANTS = [
    {"k": k, "passes": passes, "recode": recode}
    for k in (2, 4, 8)
    for passes in (1, 2)
    for recode in ("balanced", "twos")
]
VARIANTS += [
    {"k": k, "passes": 1, "activation_bits": bits}
    for k, bits in ((2, 3), (4, 5), (4, 6), (4, 7), (4, 8), (8, 9), (8, 15))
]
VARIANTS += [
    {"k": 4, "passes": 1, "weight_bits": 3},
    {"k": 4, "passes": 1, "activation_bits": 6, "weight_bits": 2},
    {"k": 2, "passes": 2, "recode": "twos", "weight_bits": 3},
    {"k": 8, "passes": 2, "recode": "balanced", "weight_bits": 2},
]
LANES = [1, 2, 3, 8, 16, 32]
SHAPES = [  # rows, columns, tokens, features, outputs
    (1, 1, 1, 1, 1),
    (4, 3, 1, 5, 3),
    (4, 3, 9, 1, 7),
    (4, 3, 8, 2, 6),
    (5, 2, 11, 3, 5),
    (3, 5, 6, 9, 11),
    (1, 6, 3, 4, 13),
    (7, 1, 15, 4, 2),
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_schedule_equals_the_state_machine(variant, shape):
    rows, columns, *extent = shape
    config = DenseConfig(rows=rows, columns=columns, max_k=16, **variant)
    check_schedule(config, random_layer(config, np.random.default_rng(sum(shape)), *extent))


@pytest.mark.parametrize("lanes", LANES[1:])
@pytest.mark.parametrize("passes", [1, 2])
def test_schedule_of_lanes_equals_the_state_machine(passes, lanes):
    config = DenseConfig(rows=4, columns=3, max_k=80, passes=passes, lanes=lanes)
    rng = np.random.default_rng(lanes)
    for features in (1, lanes - 1, lanes, lanes + 1, 2 * lanes + 1):
        check_schedule(config, random_layer(config, rng, 5, features, 4))


@st.composite
def layers(draw):
    config = DenseConfig(
        rows=draw(st.integers(1, 9)),
        columns=draw(st.integers(1, 7)),
        max_k=draw(st.integers(12, 300)),
        lanes=draw(st.sampled_from(LANES)),
        **draw(st.sampled_from(VARIANTS)),
    )
    extent = draw(st.tuples(st.integers(1, 20), st.integers(1, 12), st.integers(1, 16)))
    seed = draw(st.integers(0, 999))
    return config, random_layer(config, np.random.default_rng(seed), *extent)


@given(layers())
def test_schedule_of_any_layer(drawn):
    check_schedule(*drawn)


@given(layers())
def test_law_of_the_docstring(drawn):
    config, layer = drawn
    beats = math.ceil(layer.x.shape[1] / config.lanes)
    count = len(list(tiles(config, layer)))
    end = [config.passes * beats]
    while len(end) < count:
        end.append(end[-1] + max(config.passes * beats, config.rows))
    counts = dense.cycles(config, Workload(*layer.x.shape, len(layer.w)))
    assert counts.cycles == end[-1] + config.rows + 1
    assert counts.ideal_cycles == count * config.passes * beats
    cycles = dense.schedule(config, layer).cycles
    starts = [0, *end[:-1]]
    assert cycles["x"].tolist() == [s + config.passes * b for s in starts for b in range(beats)]
    assert cycles["y"].tolist() == [e + 1 + r for e in end for r in range(config.rows)]


# --- values ---------------------------------------------------------------------------------------


@given(layers())
def test_values(drawn):
    config, layer = drawn
    x, w = layer.x.tolist(), layer.w.tolist()
    expected = [[sum(a * b for a, b in zip(r, c, strict=True)) for c in w] for r in x]
    y = compute(config, layer)
    assert y.dtype == np.int64
    assert y.tolist() == expected


def test_values_of_large_sums_are_exact():
    config = DenseConfig(k=8, passes=1, max_k=1 << 20)
    x = np.full((2, 1 << 20), -(1 << 15), np.int16)
    x[1, ::3] += 1
    w = np.full((2, 1 << 20), -8, np.int8)
    w[1, ::5] += 1
    expected = x.astype(np.int64) @ w.astype(np.int64).T
    assert compute(config, Layer(x, w)).tolist() == expected.tolist()


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_halves_stay_within_their_operands(variant):
    """Every accepted activation splits into parts that the multiplier's operand holds."""
    config = DenseConfig(**variant)
    low, high = config.activation_range
    step = 1 if config.k < 8 else 7
    bound = 2 ** (config.operand_bits - 1)
    values = [v for q in range(low, high + 1, step) for v, _ in parts(config, q)]
    values += [v for v, _ in parts(config, high)]
    assert -bound <= min(values)
    assert max(values) < bound
    assert max(max(values), -min(values) - 1) >= bound // 2, "no bit to spare"
    for q in (low - 1, high + 1):
        outside = [v for v, _ in parts(config, q)]
        half = 2 ** (activation_bits(config) - 1)
        assert not -half <= q < half or max(outside) >= bound or min(outside) < -bound


@pytest.mark.parametrize(
    ("k", "passes", "recode", "expected"),
    [
        (2, 2, "balanced", (-8, 5)),
        (4, 2, "balanced", (-128, 119)),
        (8, 2, "balanced", (-32768, 32639)),
        (2, 2, "twos", (-8, 7)),
        (4, 2, "twos", (-128, 127)),
        (4, 1, "balanced", (-128, 127)),
        (8, 1, "twos", (-32768, 32767)),
    ],
)
def test_activation_range(k, passes, recode, expected):
    assert DenseConfig(k=k, passes=passes, recode=recode).activation_range == expected


@pytest.mark.parametrize(
    ("k", "bits", "expected"),
    [
        (4, 6, (-32, 31)),
        (4, 7, (-64, 63)),
        (4, 8, (-128, 127)),
        (2, 3, (-4, 3)),
        (4, None, (-128, 127)),
    ],
)
def test_activation_bits(k, bits, expected):
    config = DenseConfig(k=k, passes=1, activation_bits=bits)
    assert config.activation_range == expected


def test_int4_weights_are_as_usual():
    assert '"weight_bits":3' in DenseConfig(weight_bits=3).canonical_json()
    assert "weight_bits" not in DenseConfig(weight_bits=4).canonical_json()


def test_2k_activation_bits_are_as_usual():
    usual = DenseConfig(passes=1)
    assert usual.replace(activation_bits=8).config_hash == usual.config_hash
    assert usual.replace(activation_bits=7).config_hash != usual.config_hash
    assert usual.replace(activation_bits=7).replace(activation_bits="none") == usual
    assert usual.replace(k=8).activation_range == (-(1 << 15), (1 << 15) - 1)


@pytest.mark.parametrize("max_k", [1, 2, 3, 7, 8, 127, 128, 4096, 14336, 2**20 - 1, 2**20])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_accumulator_holds_every_sum_and_no_more(variant, max_k):
    config = DenseConfig(max_k=max_k, **variant)
    low, high = config.activation_range
    sums = [max_k * x * w for x in (low, high) for w in weight_range(config)]
    bits = config.accumulator_bits
    assert -(2 ** (bits - 1)) <= min(sums)
    assert max(sums) < 2 ** (bits - 1)
    assert max(sums) >= 2 ** (bits - 2)
    largest = max_k * 2 ** (activation_bits(config) - 1) * 2 ** (config.weight_bits - 1)
    assert bits == largest.bit_length() + 1


@pytest.mark.parametrize("max_k", [1, 3, 8])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_extreme_sums_pass_the_port(variant, max_k):
    config = DenseConfig(rows=2, columns=2, max_k=max_k, **variant)
    x = np.array([[bound] * max_k for bound in config.activation_range])
    w = np.array([[bound] * max_k for bound in weight_range(config)])
    check_schedule(config, Layer(x, w.astype(np.int8)))


def test_bandwidth():
    """One beat of each operand every ``passes`` cycles."""
    config = DenseConfig(rows=3, columns=5)
    assert dense.bandwidth(config) == {"x": 12.5, "w": 10.0}
    assert dense.bandwidth(config.replace(passes=1)) == {"x": 25.0, "w": 20.0}
    assert dense.bandwidth(config.replace(passes=1, lanes=4)) == {"x": 97.0, "w": 80.0}
    assert dense.bandwidth(config.replace(passes=1, activation_bits=6)) == {"x": 19.0, "w": 20.0}
    assert dense.bandwidth(config.replace(weight_bits=3)) == {"x": 12.5, "w": 7.5}


@pytest.mark.parametrize("shape", [(512, 576, 1536), (1, 4096, 4096), (16, 1, 16), (17, 3, 33)])
@pytest.mark.parametrize("passes", [1, 2])
def test_law_of_large_layers(shape, passes):
    tokens, features, outputs = shape
    config = DenseConfig(passes=passes)
    counts = dense.cycles(config, Workload(*shape))
    number = -(-tokens // 16) * -(-outputs // 16)
    steps = number * passes * features
    idle = (number - 1) * max(0, 16 - passes * features)
    assert counts.cycles == 1 + steps + idle + 16
    assert counts.ideal_cycles == steps
    assert counts.events == {
        "macs": steps * 256,
        "x_beats": number * features,
        "w_beats": number * features,
        "y_beats": number * 16,
        "tiles": number,
        "stall_operands": 0,
        "stall_drain": idle,
    }


# --- validation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"rows": 0}, "rows: input should be greater than or equal to 1, got 0."),
        ({"rows": 257}, "rows: input should be less than or equal to 256, got 257."),
        ({"columns": -1}, "columns: input should be greater than or equal to 1, got -1."),
        ({"columns": 300}, "columns: input should be less than or equal to 256, got 300."),
        ({"k": 3}, "k: input should be 2, 4 or 8, got 3."),
        (
            {"passes": 1, "activation_bits": 9},
            "activation_bits must be in 5..8 with k 4, got 9.",
        ),
        (
            {"passes": 1, "activation_bits": 4},
            "activation_bits must be in 5..8 with k 4, got 4.",
        ),
        (
            {"passes": 1, "k": 2, "activation_bits": 8},
            "activation_bits must be in 3..4 with k 2, got 8.",
        ),
        (
            {"activation_bits": 6},
            "activation_bits must be 2k = 8 with passes 2, got 6.",
        ),
        (
            {"activation_bits": "six"},
            "activation_bits: input should be a valid integer, got 'six'.",
        ),
        ({"weight_bits": 5}, "weight_bits: input should be 2, 3 or 4, got 5."),
        ({"weight_bits": 1}, "weight_bits: input should be 2, 3 or 4, got 1."),
        ({"passes": 0}, "passes: input should be 1 or 2, got 0."),
        ({"recode": "gray"}, "recode: input should be 'balanced' or 'twos', got 'gray'."),
        ({"max_k": 0}, "max_k: input should be greater than or equal to 1, got 0."),
        ({"max_k": 1 << 21}, "max_k: input should be less than or equal to 1048576, got 2097152."),
        (
            {"mode": 1},
            "mode is not a parameter here; "
            "the parameters are dequant, rows, columns, k, activation_bits, weight_bits, passes, "
            "recode, lanes, tree, max_k.",
        ),
        ({"lanes": 0}, "lanes: input should be greater than or equal to 1, got 0."),
        ({"lanes": 33}, "lanes: input should be less than or equal to 32, got 33."),
        (
            {"tree": "wallace"},
            "tree: input should be 'operators', 'carry_save', 'pair_sums' or 'packed', "
            "got 'wallace'.",
        ),
        (
            {"lanes": 3, "tree": "pair_sums"},
            "lanes must be even with tree pair_sums, got 3.",
        ),
        (
            {"lanes": 16, "rows": 2, "passes": 1, "dequant": {"weight_group": 32}},
            "a weight group must take at least add_latency = 3 cycles: lanes must be smaller, "
            "or weight_group or rows larger, got 16, 32 and 2.",
        ),
        (
            {"lanes": 6, "dequant": {"weight_group": 32}},
            "lanes must divide weight_group, got lanes 6, weight_group 32.",
        ),
    ],
)
def test_illegal_parameters(values, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        DenseConfig(**values)


def zeros(tokens, features, outputs, w_features=None):
    w = np.zeros((outputs, features if w_features is None else w_features), np.int8)
    return Layer(np.zeros((tokens, features), np.int16), w)


def with_value(layer, name, value):
    getattr(layer, name).flat[-1] = value
    return layer


AT_LEAST_1 = "tokens, in_features and outputs must be at least 1, "
OUT_OF_RANGE = [  # configuration, operand, value, what must hold
    ({}, "x", 120, "activations must be in -128..119, got 0..120."),
    ({}, "x", -129, "activations must be in -128..119, got -129..0."),
    ({"recode": "twos"}, "x", 128, "activations must be in -128..127, got 0..128."),
    ({"passes": 1, "k": 2}, "x", -9, "activations must be in -8..7, got -9..0."),
    ({"passes": 1, "activation_bits": 6}, "x", 32, "activations must be in -32..31, got 0..32."),
    ({}, "w", 8, "weights must be in -8..7, got 0..8."),
    ({}, "w", -9, "weights must be in -8..7, got -9..0."),
    ({"weight_bits": 3}, "w", 4, "weights must be in -4..3, got 0..4."),
    ({"weight_bits": 3}, "w", -5, "weights must be in -4..3, got -5..0."),
    ({"weight_bits": 2}, "w", 2, "weights must be in -2..1, got 0..2."),
]


@pytest.mark.parametrize(
    ("config", "layer", "sentence"),
    [
        ({}, zeros(2, 3, 2, 4), "activations and weights differ in in_features: 3 and 4."),
        ({"max_k": 4}, zeros(2, 5, 2), "in_features must not exceed max_k = 4, got 5."),
        ({}, zeros(0, 3, 2), AT_LEAST_1 + "got 0, 3 and 2."),
        ({}, zeros(2, 0, 2), AT_LEAST_1 + "got 2, 0 and 2."),
        ({}, zeros(2, 3, 0), AT_LEAST_1 + "got 2, 3 and 0."),
        (
            {},
            Layer(np.zeros((2, 3)), np.zeros((2, 3), np.int8)),
            "activations must be a matrix of integers, got float64 (2, 3).",
        ),
        (
            {},
            Layer(np.zeros((2, 3), np.int8), np.zeros(3, np.int8)),
            "weights must be a matrix of integers, got int8 (3,).",
        ),
        *((c, with_value(zeros(2, 3, 2), name, v), text) for c, name, v, text in OUT_OF_RANGE),
    ],
)
@pytest.mark.parametrize("function", [dense.check, compute, dense.schedule, dense.traffic])
def test_illegal_operands(function, config, layer, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        function(DenseConfig(**config), layer)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((0, 3, 2), AT_LEAST_1 + "got 0, 3 and 2."),
        ((2, 3, -1), AT_LEAST_1 + "got 2, 3 and -1."),
        ((2, 5, 2), "in_features must not exceed max_k = 4, got 5."),
    ],
)
def test_illegal_shapes(shape, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        dense.cycles(DenseConfig(max_k=4), Workload(*shape))


def test_legal_extremes():
    for bound in (-128, 119):
        dense.check(DenseConfig(max_k=3), with_value(zeros(2, 3, 2), "x", bound))
    for bound in (-8, 7):
        dense.check(DenseConfig(max_k=3), with_value(zeros(2, 3, 2), "w", bound))
