"""Neuron-skipping FFN: values by hand, timing by its rules, the law and its figures."""

from dataclasses import replace

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.workload import Workload
from nibbleforge.golden.reglu.config import Matrix, RegluConfig, RegluSettings, ports
from nibbleforge.golden.reglu.quality import share
from nibbleforge.golden.reglu.schedule import schedule
from nibbleforge.golden.reglu.thresholds import ALWAYS
from nibbleforge.golden.reglu.timing import FfnProfile, cycles, dense_cycles
from nibbleforge.golden.reglu.unit import UNIT
from nibbleforge.golden.reglu.values import Neurons, compute
from nibbleforge.tb import tb_reglu

ONE = RegluConfig(lanes=4, max_features=4, max_neurons=1, max_rank=1, in_flight=1, predictor=False)


def draw(seed, **changes):
    rng = np.random.default_rng(seed)
    config = tb_reglu.random_config(rng).replace(**changes)
    return config, tb_reglu.random_run(config, rng)


# --- values -----------------------------------------------------------------------------------


def multiply_shift(v, mult, shift, low, high):
    return min(max((v * int(mult) + (1 << int(shift) - 1)) >> int(shift), low), high)


def by_hand(config, run, token):
    """y and the neurons that are predicted, positive and adding, number by number."""
    x = [int(value) for value in run.x[token]]

    def dot(row, values):
        return sum(int(a) * b for a, b in zip(row, values, strict=True))

    z8 = [
        multiply_shift(dot(row, x), mult, shift, -128, 127)
        for row, mult, shift in zip(run.a, run.z_mult, run.z_shift, strict=True)
    ]
    y, fates = [0] * len(x), []
    for i in range(len(run.gate)):
        predicted = not config.predictor or dot(run.b[i], z8) > int(run.thresholds[i])
        g, u = dot(run.gate[i], x), dot(run.up[i], x)
        positive = predicted and g > 0
        adding = positive and not (config.double_relu and u <= 0)
        fates.append((predicted, positive, adding))
        if adding:
            g16 = multiply_shift(g, run.gate_mult[i], run.gate_shift[i], -(1 << 15), (1 << 15) - 1)
            u16 = multiply_shift(u, run.up_mult[i], run.up_shift[i], -(1 << 15), (1 << 15) - 1)
            h = multiply_shift(g16 * u16, run.h_mult, run.h_shift, -127, 127)
            y = [old + h * int(w) for old, w in zip(y, run.down[i], strict=True)]
    return y, fates


@pytest.mark.parametrize("seed", range(20))
def test_values_number_by_number(seed):
    config, run = draw(seed)
    outcome = compute(config, run)
    for token in range(len(run.x)):
        y, fates = by_hand(config, run, token)
        assert outcome.y[token].tolist() == y
        found = (outcome.neurons.predicted, outcome.neurons.positive, outcome.neurons.adding)
        assert [
            tuple(map(bool, fate)) for fate in zip(*(f[token] for f in found), strict=True)
        ] == fates


def test_every_sum_fits_its_port():
    config = RegluConfig(lanes=1, max_features=3, max_neurons=5, max_rank=2, predictor=False)
    largest = config.max_neurons * 127 * 128
    assert -(1 << config.y_bits - 1) <= -largest < largest < 1 << config.y_bits - 1
    assert 1 << config.dot_bits - 1 > 3 * 128 * 128


# --- timing -----------------------------------------------------------------------------------


def test_a_neuron_by_hand():
    """Rows of one beat, latency 5; every cycle counted from the rules."""
    operands = replace(
        tb_reglu.drawn(ONE, np.random.default_rng(0), 1, (4, 1, 0), 1.0),
        x=np.ones((1, 4), np.int8),
        gate=np.ones((1, 4), np.int8),
        latency=np.array([5]),
    )
    golden = schedule(ONE, operands)
    # asked for in 1, seen in 2, there in 7, known 6 + T = 7 later, applied; asked for up in 15
    assert golden.cycles["x"].tolist() == [0]
    assert golden.cycles["request"].tolist() == [2, 16, 33]
    assert golden.cycles["rows"].tolist() == [7, 21, 38]
    assert golden.cycles["y"].tolist() == [42]
    assert golden.events["gate_survivors"].cycles.tolist() == [13]
    assert golden.events["survivors"].cycles.tolist() == [30]
    assert golden.events["stall_rows"].increments.sum() == 40 - 3


@pytest.mark.parametrize("seed", range(30))
def test_rules_of_requests(seed):
    """What is asked for, and that no rule on rows in flight or survivors is broken."""
    config, run = draw(seed)
    golden = schedule(config, run)
    neurons = compute(config, run).neurons
    fields = ports(config)[2].unpack(golden.beats["request"].expand())
    matrix, row = fields["matrix"], fields["row"]
    for kind, fate in (
        (Matrix.GATE, neurons.predicted),
        (Matrix.UP, neurons.positive),
        (Matrix.DOWN, neurons.adding),
    ):
        wanted = np.concatenate([np.flatnonzero(token) for token in fate])
        assert row[matrix == kind].tolist() == wanted.tolist()
    bursts = [Matrix.A, Matrix.B] if config.predictor else []
    assert matrix[np.isin(matrix, [Matrix.A, Matrix.B])].tolist() == bursts * len(run.x)
    held = np.cumsum((matrix == Matrix.GATE).astype(int) - (matrix == Matrix.UP))
    dead = np.cumsum(np.bincount(golden.events["false_positives"].cycles, minlength=1))
    asked = golden.cycles["request"]
    died = dead[np.minimum(asked, len(dead) - 1)]
    assert (held - died <= config.survivors).all()
    assert (np.diff(asked) > 0).all()
    assert (np.diff(golden.cycles["rows"]) > 0).all()


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_requests_does_not_depend_on_latency(seed):
    config, run = draw(seed)
    slow = replace(run, latency=np.array([199, 1, 40]))
    quick = replace(run, latency=np.ones(1, np.int64))
    first, second = (schedule(config, operands).beats["request"] for operands in (slow, quick))
    np.testing.assert_array_equal(first.words, second.words)


@pytest.mark.parametrize("seed", range(30))
def test_counts_are_those_of_the_schedule(seed):
    config, run = draw(seed)
    d, _, rank = run.shape
    profile = FfnProfile(compute(config, run).neurons, rank, run.latency)
    counted = cycles(config, Workload(len(run.x), d, d, profile=profile))
    found = schedule(config, run).counts()
    assert (found.cycles, found.events) == (counted.cycles, counted.events)


# --- figures ----------------------------------------------------------------------------------


def synthetic(tokens, D, dropped):
    """Neurons of natural sparsity 0.9, of which a share is predicted to add nothing."""
    rng = np.random.default_rng(0)
    adding = rng.random((tokens, D)) > 0.9
    predicted = adding | (rng.random((tokens, D)) > dropped)
    return Neurons(predicted, adding, adding)


def cycles_of(config, neurons, d, rank):
    """With a latency of 100."""
    settings, profile = RegluSettings(latency=100), FfnProfile(neurons, rank)
    return cycles(config, Workload(len(neurons.predicted), d, d, settings, profile=profile))


@pytest.mark.parametrize(("dropped", "most"), [(0.5, 0.285), (0.7, 0.225)])
def test_cycles_of_a_large_ffn(dropped, most):
    """Latency 100: published shares of a dense FFN, and at most 1.05 of the law."""
    config, (d, D, rank) = UNIT.presets["paper"], (4096, 11008, 256)
    found = cycles_of(config, synthetic(1, D, dropped), d, rank)
    assert found.cycles <= 1.001 * found.ideal_cycles
    assert found.cycles / dense_cycles(config, 1, d, D) <= most
    assert share(d, D, rank, 0.9, dropped) <= most


@pytest.mark.parametrize("dropped", [0.5, 0.7])
def test_cycles_of_a_small_ffn(dropped):
    """Rows of 9 beats hide a latency of 100 with F = 16."""
    config = UNIT.presets["small"]
    found = cycles_of(config, synthetic(4, 1536, dropped), 576, 64)
    assert found.cycles <= 1.05 * found.ideal_cycles


def test_latency_shows_where_too_little_is_in_flight():
    config, neurons = UNIT.presets["small"], synthetic(1, 1536, 0.5)
    few, many = (
        cycles_of(config.replace(in_flight=rows), neurons, 576, 64).cycles for rows in (2, 16)
    )
    assert few > 4 * many


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x": np.zeros((0, 3), np.int8)}, "x must be a matrix and not empty"),
        ({"gate": np.zeros(3, np.int8)}, "gate and a must be matrices."),
        ({"up": np.zeros((1, 1), np.int8)}, r"up must be int8 \(\d+, \d+\), got int8 \(1, 1\)."),
        ({"h_shift": 48}, "h_shift must be in 1..47, got 48..48."),
        ({"h_mult": np.uint16(1)}, "h_mult must be a plain integer"),
        ({"latency": np.array([3, 0])}, "latency must be at least 1, got 0..3."),
        ({"latency": np.array(3)}, "latency must be a vector"),
    ],
)
def test_operands_that_do_not_fit(changes, sentence):
    config, run = draw(0)
    with pytest.raises(UserError, match=sentence):
        compute(config, replace(run, **changes))


def test_a_unit_that_is_too_small():
    config, run = draw(1, predictor=True)
    d, D, rank = run.shape
    for name, size, words in (
        ("max_features", d, "features"),
        ("max_neurons", D, "neurons"),
        ("max_rank", rank, "the rank"),
    ):
        if size > 1:
            with pytest.raises(UserError, match=f"{words} must be in 1..{size - 1}, got {size}."):
                compute(config.replace(**{name: size - 1}), run)
    with pytest.raises(UserError, match=f"without predictor takes rank 0, got {rank}."):
        compute(config.replace(predictor=False), run)


def test_all_and_none_predicted():
    config, run = draw(2, predictor=True)
    everyone = replace(run, thresholds=np.full_like(run.thresholds, ALWAYS))
    nobody = replace(run, thresholds=np.full_like(run.thresholds, -ALWAYS - 1))
    assert compute(config, everyone).neurons.predicted.all()
    assert not compute(config, nobody).y.any()
    assert schedule(config, nobody).counts().events["predicted"] == 0
