"""``simulate reglu``: a user's FFN and predictor through the RTL."""

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.reglu.config import RegluSettings
from nibbleforge.golden.reglu.ffn import quantise_ffn, reference, run
from nibbleforge.golden.reglu.predictor import build, construct
from nibbleforge.golden.reglu.unit import UNIT
from nibbleforge.golden.reglu.values import compute
from nibbleforge.golden.units import UNITS, unit
from nibbleforge.sim.run.measure import Runner
from nibbleforge.sim.studies import reglu_speed
from nibbleforge.sim.tensors.ffns import FfnWeights
from nibbleforge.sim.tools.workers import Workers
from nibbleforge.sim.units import simulate as simulation
from nibbleforge.sim.units.simulate import Tensors

FEATURES, NEURONS, RANK = 19, 23, 6
TINY = UNIT.presets["tiny"]
EXIT = TINY.replace(predictor=False)
NEAR = RegluSettings(latency=7)


@pytest.fixture(scope="module")
def ffn():
    rng = np.random.default_rng(0)
    basis = rng.standard_normal((RANK, FEATURES))
    gate = rng.standard_normal((NEURONS, RANK)) @ basis
    up, down = (rng.standard_normal(shape) for shape in ((NEURONS, FEATURES), (FEATURES, NEURONS)))
    return FfnWeights(*(matrix.astype(np.float32) for matrix in (gate, up, down)))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(1).standard_normal((64, FEATURES)).astype(np.float32)


@pytest.fixture(scope="module")
def predictor(ffn, x):
    return build(quantise_ffn(*ffn, x), ffn, x[:32], x[32:], RANK, 0.8)[0]


def simulate(activations, config=TINY, settings=NEAR, **tensors):
    with Workers(1) as workers:
        return simulation.simulate(
            UNITS["reglu"], config, settings, Tensors(activations, **tensors), Runner(workers)
        )


def test_an_ffn_with_a_predictor(ffn, x, predictor):
    found = simulate(x, ffn=ffn, predictor=predictor)
    assert not found.mismatches
    integers = quantise_ffn(*ffn, x)
    x_q = integers.take(x)
    expected = run(integers, x_q, predictor.predict(x_q))
    np.testing.assert_array_equal(found.arrays["y_int"], expected.y)
    np.testing.assert_array_equal(found.arrays["predicted"], predictor.predict(x_q))
    exact = reference(*ffn, x)
    assert np.linalg.norm(found.arrays["y"] - exact) < 0.1 * np.linalg.norm(exact)
    counts = found.counts
    assert counts["cycles"] == counts["golden_cycles"]
    assert counts["shape"] == {
        "tokens": 64,
        "in_features": FEATURES,
        "out_features": FEATURES,
        "neurons": NEURONS,
        "rank": RANK,
    }
    assert counts["events"]["survivors"] == expected.survivors.sum()
    assert (
        counts["recall"] == 1 - expected.false_negatives.sum() / run(integers, x_q).survivors.sum()
    )
    assert counts["bytes_read"] == counts["events"]["row_beats"] * TINY.lanes
    dense, early = counts["baselines"]
    assert dense["cycles"] == 3 * 64 * NEURONS * 5
    assert early["unit"] == "early exit"


def test_early_exit_is_its_own_rival(ffn, x):
    found = simulate(x[:5], EXIT, ffn=ffn)
    assert not found.mismatches
    assert found.counts["baselines"][1]["speedup"] == 1
    assert found.counts["recall"] == 1
    assert found.counts["output_error"] == 0
    np.testing.assert_array_equal(found.arrays["predicted"], True)


def test_integers_are_taken_as_they_are(ffn):
    x = np.random.default_rng(2).integers(-127, 128, (3, FEATURES), np.int8)
    x[1] = -128
    found = simulate(x, EXIT, ffn=ffn)
    assert not found.mismatches
    np.testing.assert_array_equal(found.arrays["x_q"], x)
    assert found.arrays["x_scale"] == 1


def test_what_does_not_fit_together(ffn, x, predictor):
    def refuses(sentence, *args, **kwargs):
        with pytest.raises(UserError) as error:
            simulate(*args, **kwargs)
        assert str(error.value) == sentence

    refuses("reglu needs weights: an FFN with arrays gate, up and down.", x)
    refuses(
        "this unit has a predictor: give --predictor P.npz, or take --preset early_exit.",
        x,
        ffn=ffn,
    )
    refuses(
        "this unit has no predictor: leave --predictor out.", x, EXIT, ffn=ffn, predictor=predictor
    )
    smaller = FfnWeights(ffn.gate[1:], ffn.up[1:], ffn.down[:, 1:])
    refuses(
        "the predictor is for a gate of 23 x 19, this one is 22 x 19.",
        x,
        ffn=smaller,
        predictor=predictor,
    )
    refuses(
        "int8 activations count as scaled by 1, but the predictor takes x scaled by"
        f" {predictor.info.x_scale:.6g}.",
        np.ones((2, FEATURES), np.int8),
        ffn=ffn,
        predictor=predictor,
    )
    refuses(
        "the predictor has no thresholds: calibrate it first.",
        x,
        ffn=ffn,
        predictor=construct(quantise_ffn(*ffn, x), ffn.gate, x[:32], x[32:], RANK),
    )
    refuses(
        "features must be in 1..18, got 19.",
        x,
        TINY.replace(max_features=18),
        ffn=ffn,
        predictor=predictor,
    )


def test_synthetic_operands_are_as_sparse_as_asked():
    operands = reglu_speed.operands_of((40, 400, 8), 0.9, 0.5, 3)
    config = unit("reglu").presets["small"]
    neurons = compute(config, operands).neurons
    assert neurons.positive.mean() == pytest.approx(0.1, abs=0.05)
    assert neurons.predicted.mean() == pytest.approx(0.55, abs=0.08)
    wanted = reglu_speed.neurons_of(1, 400, 0.9, 0.5, np.random.default_rng(0))
    np.testing.assert_array_equal(neurons.predicted, wanted.predicted)
    np.testing.assert_array_equal(neurons.adding, wanted.adding)
