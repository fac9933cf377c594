"""The embedded model in numpy, and what predictors cost it."""

from functools import partial

import numpy as np
import pytest
from nibbleforge.golden.reglu.thresholds import ALWAYS
from nibbleforge.sim.llm.reglu_ablation import by_chance, constant_bias, difference, sign, svd
from nibbleforge.sim.llm.reglu_network import forward
from nibbleforge.sim.llm.reglu_perplexity import Bench, perplexity
from nibbleforge.sim.tensors.ffns import FfnSample, sample_path
from nibbleforge.sim.tools.threads import _openblas, threads

WINDOWS = 24


@pytest.fixture(scope="module")
def sample():
    return FfnSample.open(sample_path())


@pytest.fixture(scope="module")
def bench(sample):
    return Bench.of(sample, WINDOWS)


def test_without_predictor(sample, bench):
    assert perplexity(bench.floating) == pytest.approx(sample.meta["quality"]["model"], rel=0.1)
    assert perplexity(bench.integer) == pytest.approx(perplexity(bench.floating), rel=0.01)


def test_the_network_is_the_one_that_was_trained(sample, bench):
    """What goes into its FFNs is what the network in torch saw, weights and inputs in float16."""
    text = sample.held_out()
    windows = text[np.linspace(0, len(text) - 1, 8).astype(int)[[0, 5]]]
    seen = []

    def recorded(ffn):
        return lambda x: (seen.append(x), ffn(x))[1]

    forward(sample.network(), [recorded(layer.exact) for layer in bench.layers], windows[:, :-1])
    for layer, found in zip(bench.layers, seen, strict=True):
        expected = layer.layer.x_held_out.reshape(8, 128, 128)[[0, 5]].reshape(found.shape)
        assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)


def test_losses_by_definition(sample, bench):
    """Of the probabilities of the bytes that follow; a window does not depend on the others."""
    network, ffns = sample.network(), [layer.exact for layer in bench.layers]
    window = bench.windows[3]
    logits = forward(network, ffns, window[None, :-1])[0].astype(np.float64)
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = -np.log([row[byte] for row, byte in zip(chance, window[1:], strict=True)]).mean()
    assert bench.floating[3] == pytest.approx(expected, rel=1e-5)


def test_a_predictor_that_drops_nothing_costs_nothing(bench):
    make = partial(svd, rank=4, share=0)
    assert (make(bench.layers[0]).thresholds == ALWAYS).all()
    assert bench.cost(make) == (0, 0, 0)


def test_what_predictors_cost(bench):
    """The figure to reach: less than 1 % at half of the natural sparsity and more."""
    wanted = 0.7 * np.mean([layer.natural for layer in bench.layers])
    costs = {make: bench.cost(partial(make, share=0.7)) for make in (sign, by_chance)}
    costs |= {make: bench.cost(partial(make, rank=32, share=0.7)) for make in (svd, constant_bias)}
    for cost in costs.values():
        assert cost.dropped == pytest.approx(wanted, abs=0.04)
    assert abs(costs[svd].loss) < 0.01
    assert costs[svd].loss < costs[sign].loss < 0.1 < costs[by_chance].loss
    rough = bench.cost(partial(svd, rank=4, share=0.9))
    assert rough.loss > 0.01 > 3 * costs[svd].error > 0


def test_one_bias_is_one_bias(bench):
    layer = bench.layers[1]
    predictor = constant_bias(layer, 16, 0.6)
    x_q = layer.ffn.take(layer.x2)
    estimates, active = predictor.estimate(x_q), predictor.predict(x_q)
    assert estimates[~active].max() <= estimates[active].min()
    assert 1 - active.mean() == pytest.approx(0.6 * layer.natural, abs=1e-3)


def test_both_constructions_agree(bench):
    assert max(difference(layer, 32) for layer in bench.layers) < 1e-6


def test_threads_are_put_back():
    pool = _openblas()
    if pool is None:
        pytest.skip("numpy comes without OpenBLAS")
    before = pool.get()
    with threads(1):
        assert pool.get() == 1
    assert pool.get() == before
