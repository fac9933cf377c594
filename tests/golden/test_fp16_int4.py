"""FP16 activations times INT4 weights: golden against the definition, counts against schedules."""

import re
from fractions import Fraction

import numpy as np
import pytest
from nibbleforge.golden import figna, fp16_int4
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.workload import Workload
from nibbleforge.golden.figna import FignaLayer
from nibbleforge.golden.fp16_int4 import ARRAY, Fp16Int4Config
from nibbleforge.golden.units import unit
from nibbleforge.tb import tb_figna, tb_fp16_int4

LATENCY = {"paper": 4, "tiny": 4, "fpga": 8, "m14": 4, "m8": 4}
"""Cycles in which the aligners take the first group."""


def drawn(seed):
    rng = np.random.default_rng(seed)
    config = tb_fp16_int4.random_config(rng)
    return config, tb_figna.random_layer(config, rng)


def refuses(sentence):
    return pytest.raises(UserError, match=f"^{re.escape(sentence)}$")


def exponent(value):
    """Of an FP16 number, biased; of zero and subnormal numbers, 1."""
    return max(int(np.frexp(np.float64(value))[1]) - 1, -14) + 15 if value else 1


def scalar_result(config, layer, token, output):
    """One result by fractions, each operation of the post-processor rounded once."""
    total = np.float32(0)
    for start in range(0, layer.x.shape[1], config.group):
        x, w = layer.x[token, start:][: config.group], layer.w[output, start:][: config.group]
        largest = max(exponent(value) for value in x)
        step = Fraction(2) ** (largest - 15 - (config.mantissa - 1))
        integers = [int(Fraction(float(value)) / step) for value in x]  # int truncates
        unit_step = np.float32(float(step))
        g = start // layer.weight_group
        terms = [(sum(a * int(b) for a, b in zip(integers, w, strict=True)), layer.d[output, g])]
        if config.asymmetric:
            pairs = zip(integers, w, strict=True)
            terms = [
                (sum(a * (int(b) + 8) for a, b in pairs), layer.d[output, g]),
                (sum(integers), layer.minimum[output, g]),
            ]
        for dot, scale in terms:
            total = total + np.float32(dot) * unit_step * np.float32(scale)
    return total


@pytest.mark.parametrize("seed", range(20))
def test_results_equal_scalar_arithmetic(seed):
    config, layer = drawn(seed)
    y = fp16_int4.compute(config, layer)
    for token, output in np.ndindex(y.shape):
        assert y[token, output].tobytes() == scalar_result(config, layer, token, output).tobytes()


@pytest.mark.parametrize("seed", range(20))
def test_activations_pass_as_they_lie_in_memory(seed):
    config, layer = drawn(seed)
    beats = ARRAY.traffic(config, layer)["x"].expand()
    sent = ARRAY.ports(config)[0].unpack(beats)
    tiling, groups = layer.tiling(config), layer.groups(config)
    each = groups * config.beats
    values = sent["value"].reshape(len(tiling), each, config.rows, config.lanes)
    bits = values.transpose(0, 2, 1, 3).reshape(len(tiling), config.rows, -1)
    for tile, (block, _) in enumerate(tiling.order):
        rows = layer.x[block * config.rows :][: config.rows].view(np.uint16)
        assert np.array_equal(bits[tile, : len(rows), : rows.shape[1]], rows)
        assert not bits[tile, len(rows) :].any()
        assert not bits[tile, :, rows.shape[1] :].any()
    ends = np.arange(len(beats)) % config.beats == config.beats - 1
    assert sent["fresh"][ends].tolist() == list(layer.fresh(config)) * len(tiling)
    assert not sent["fresh"][~ends].any()
    assert np.array_equal(sent["last"], np.arange(len(beats)) % each == each - 1)


@pytest.mark.parametrize("seed", range(60))
def test_counts_equal_the_schedule(seed):
    config, layer = drawn(seed)
    counted = ARRAY.schedule(config, layer).counts()
    found = fp16_int4.cycles(config, fp16_int4.workload(config, layer))
    assert (found.cycles, found.events) == (counted.cycles, counted.events)


@pytest.mark.parametrize("seed", range(20))
def test_aligners_hold_a_group_and_take_what_they_can(seed):
    """Words one by one: how many beats are there in each cycle, and when the next one is taken."""
    config, layer = drawn(seed)
    taken = ARRAY.schedule(config, layer).cycles["x"].tolist()
    sent = (figna.schedule(config.array, layer).cycles["x"] + config.beats).tolist()
    free_at = [0] * config.beats  # of each word
    ready = -1
    for n, cycle in enumerate(taken):
        assert cycle == max(ready + 1, free_at[n % config.beats])
        free_at[n % config.beats] = sent[n]
        ready = cycle
    for n, cycle in enumerate(sent):
        complete = taken[n // config.beats * config.beats + config.beats - 1]
        assert cycle > complete


@pytest.mark.parametrize("preset", LATENCY)
def test_the_aligners_add_only_their_latency(preset):
    config = unit("fp16_int4").presets[preset]
    work = Workload(2 * config.rows, 4 * config.group, 3 * config.columns)
    found, alone = ARRAY.cycles(config, work), figna.ARRAY.cycles(config.array, work)
    assert found.cycles - alone.cycles == LATENCY[preset]
    assert found.events == {"fp16_beats": alone.events["x_beats"], **alone.events}


def test_bits_moved():
    """16 an activation, and two a beat."""
    config = unit("fp16_int4").presets["paper"]
    bandwidth = ARRAY.bandwidth(config)
    assert bandwidth["x"] == 16 * 16 * 16 + 2
    assert bandwidth["w"] == figna.bandwidth(config.array)["w"]
    assert set(bandwidth) == {"x", "w", "scale"}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"lanes": 3}, "lanes must divide group, got lanes 3, group 64."),
        ({"columns": 6}, "fp_share must divide columns, got fp_share 4, columns 6."),
        ({"rounding": "nearest"}, "rounding must be truncate: aligners cut off, got nearest."),
        ({"mantissa": 3}, "mantissa: input should be greater than or equal to 4, got 3."),
        ({"mantissa": 17}, "mantissa: input should be less than or equal to 16, got 17."),
    ],
)
def test_wrong_parameters(values, sentence):
    with refuses(sentence):
        Fp16Int4Config(**values)


@pytest.mark.parametrize("function", [fp16_int4.compute, ARRAY.schedule, ARRAY.traffic])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_activations_that_are_not_finite(function, value):
    config = unit("fp16_int4").presets["tiny"]
    x = np.zeros((2, 16), np.float16)
    x[1, 3] = value
    layer = FignaLayer(x, np.zeros((3, 16), np.int8), np.ones((3, 1), np.float16), 16)
    with refuses(f"activations must be finite, got {value}."):
        function(config, layer)
