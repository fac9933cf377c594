"""``simulate fp16``: a user's layer in FP16 through the RTL."""

import re

import numpy as np
import pytest
from nibbleforge.golden.arithmetic.quantise import quantise_weights
from nibbleforge.golden.contract.config import NoSettings
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.fp16 import Fp16Config, Fp16Layer, compute
from nibbleforge.golden.units import UNITS, unit
from nibbleforge.sim.run.measure import Runner
from nibbleforge.sim.tools.workers import Workers
from nibbleforge.sim.units import simulate as simulation
from nibbleforge.sim.units.simulate import Simulation, Tensors

TOKENS, FEATURES, OUTPUTS = 7, 21, 5
TINY = unit("fp16").presets["tiny"]


def simulate(x, w) -> Simulation:
    with Workers(1) as workers:
        tensors = Tensors(x, w)
        return simulation.simulate(UNITS["fp16"], TINY, NoSettings(), tensors, Runner(workers))


def operands(kind):
    rng = np.random.default_rng(3)
    if kind == "int8":
        x = rng.integers(-128, 128, (TOKENS, FEATURES), np.int8)
        return x, rng.integers(-8, 8, (OUTPUTS, FEATURES), np.int8)
    x = rng.standard_normal((TOKENS, FEATURES)) * 3
    x[2], x[3, 4], x[4, 5] = 0, 65519, 1e-7
    return x.astype(kind), (rng.standard_normal((OUTPUTS, FEATURES)) / 20).astype(kind)


@pytest.mark.parametrize("kind", ["float32", "float64", "int8"])
def test_a_layer(kind):
    x, w = operands(kind)
    found = simulate(x, w)
    counts, arrays = found.counts, found.arrays
    assert found.mismatches == []
    assert set(arrays) == {"y", "x", "w_q", "w_scale"}
    assert (arrays["y"].dtype, arrays["x"].dtype) == (np.float32, np.float16)
    np.testing.assert_array_equal(arrays["x"], x.astype(np.float16))
    if kind == "int8":
        np.testing.assert_array_equal(arrays["w_q"], w)
        np.testing.assert_array_equal(arrays["y"], x.astype(int) @ w.astype(int).T)
        assert counts["sqnr_db"] is None
    else:
        np.testing.assert_array_equal(arrays["w_q"], quantise_weights(w).q)
        assert 10 < counts["sqnr_db"] < 40
    half = (arrays["w_q"] * arrays["w_scale"].astype(np.float32)).astype(np.float16)
    np.testing.assert_array_equal(arrays["y"], compute(TINY, Fp16Layer(arrays["x"], half)))
    assert counts["cycles"] == counts["golden_cycles"]
    assert counts["shape"] == {"tokens": TOKENS, "in_features": FEATURES, "out_features": OUTPUTS}
    assert counts["baselines"] == []
    assert (counts["bits_per_activation"], counts["bits_per_weight"]) == (16, 4)
    assert counts["bits_per_activation_padded"] == pytest.approx(16 * 22 / 21)
    assert 0 < counts["utilisation"] < 1


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (65520, "activations must fit FP16 (at most 65504), got 65520.0 in row 1, column 2."),
        (-1e9, "activations must fit FP16 (at most 65504), got -1000000000.0 in row 1, column 2."),
        (np.nan, "activations must be finite, got nan in row 1, column 2."),
    ],
)
def test_activations_beyond_fp16(value, sentence):
    x = np.ones((2, 6), np.float32)
    x[1, 2] = value
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        simulate(x, np.ones((3, 6), np.float32))


def test_weights_are_needed():
    with pytest.raises(UserError, match=r"^fp16 needs weights\.$"):
        simulate(np.ones((2, 6), np.float32), None)


def test_weights_beyond_fp16_are_refused():
    """Even where the scale still fits: its seven-fold is rounded up."""
    w = np.full((3, 6), 65519, np.float32)
    with pytest.raises(UserError, match=r"^weights must fit FP16 \(at most 65504\), got "):
        simulate(np.ones((2, 6), np.float32), w)


def test_other_rows_of_a_layer_do_not_matter():
    x, w = operands("float32")
    few = compute(Fp16Config(), Fp16Layer(x[:2].astype(np.float16), w.astype(np.float16)))
    every = compute(Fp16Config(), Fp16Layer(x.astype(np.float16), w.astype(np.float16)))
    np.testing.assert_array_equal(few, every[:2])
