"""Inputs that answer an output's requests: both harnesses wait as long as they should."""

from dataclasses import replace

import numpy as np
import pytest
from nibbleforge.golden import dense
from nibbleforge.golden.contract.layer import Layer
from nibbleforge.golden.contract.schedule import Answers
from nibbleforge.golden.dense import DenseConfig
from nibbleforge.sim.run.native import Model

CONFIG = DenseConfig(rows=2, columns=2, max_k=8, passes=1)
FEATURES = 5


@pytest.fixture(scope="module")
def model():
    return Model(dense.ARRAY, CONFIG, optimise="quick")


def beats(latency):
    """Two tiles; activations of the second one answer the rows of the first one's results."""
    rng = np.random.default_rng(0)
    x = rng.integers(-8, 8, (4, FEATURES)).astype(np.int8)
    w = rng.integers(-8, 8, (2, FEATURES)).astype(np.int8)
    found = dense.traffic(CONFIG, Layer(x, w))
    needs = np.repeat([0, 2], FEATURES)
    answers = Answers("y", needs, np.array(latency, np.int64))
    return {**found, "x": replace(found["x"], answers=answers)}


@pytest.mark.parametrize("latency", [1, 7, 200])
def test_beats_come_so_many_cycles_after_the_request(model, latency):
    seen = model.run(beats([latency] * 4), trace=True).seen
    asked, answered = seen.cycles["y"][1], seen.cycles["x"][FEATURES]
    assert answered == asked + latency


def test_every_request_has_its_own_latency(model):
    seen = model.run(beats([99, 3, 99, 99]), trace=True).seen
    assert seen.cycles["x"][FEATURES] == seen.cycles["y"][1] + 3


def test_a_reset_forgets_requests(model):
    seen = model.run(beats([5] * 4), trace=True, reset_after=12).seen
    assert seen.cycles["x"][FEATURES] == seen.cycles["y"][1] + 5
    cold = model.run(beats([5] * 4), trace=True).seen
    np.testing.assert_array_equal(seen.cycles["x"], cold.cycles["x"])
