"""``simulate figna``: a user's layer in whole mantissas through the RTL."""

import re

import numpy as np
import pytest
from nibbleforge.golden import fp16
from nibbleforge.golden.arithmetic.quantise import quantise_weights
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.workload import Workload
from nibbleforge.golden.figna import FignaSettings
from nibbleforge.golden.units import UNITS, unit
from nibbleforge.sim.run.measure import Runner
from nibbleforge.sim.tools.workers import Workers
from nibbleforge.sim.units import simulate as simulation
from nibbleforge.sim.units.simulate import Simulation, Tensors

TOKENS, FEATURES, OUTPUTS, GROUP = 7, 43, 5, 16
TINY = unit("figna").presets["tiny"]
SETTINGS = FignaSettings(weight_group=32)


def simulate(x, w, config=TINY, settings=SETTINGS, blocks=None) -> Simulation:
    with Workers(1) as workers:
        tensors = Tensors(x, w, blocks=blocks)
        return simulation.simulate(UNITS["figna"], config, settings, tensors, Runner(workers))


def operands(kind):
    rng = np.random.default_rng(3)
    if kind == "int8":
        x = rng.integers(-128, 128, (TOKENS, FEATURES), np.int8)
        return x, rng.integers(-8, 8, (OUTPUTS, FEATURES), np.int8)
    x = rng.standard_normal((TOKENS, FEATURES)) * 3
    x[2], x[3, 4], x[4, 5] = 0, 65519, 1e-7
    return x.astype(kind), (rng.standard_normal((OUTPUTS, FEATURES)) / 20).astype(kind)


def expected(config, arrays):
    """Every operation rounded once, groups in order."""
    y = np.zeros((TOKENS, OUTPUTS), np.float32)
    for start in range(0, FEATURES, GROUP):
        group = arrays["x"][:, start : start + GROUP].astype(np.float64)
        exponent = np.maximum(np.frexp(np.abs(group).max(axis=1))[1] - 1, -14)  # of the largest
        step = np.ldexp(1.0, exponent - (config.mantissa - 1))[:, None]
        integers = (np.rint if config.rounding == "nearest" else np.trunc)(group / step)
        largest = (1 << config.mantissa) - 1
        integers = np.clip(integers, -largest, largest)
        weights = arrays["w_q"][:, start : start + GROUP].astype(np.float64).T
        terms = [(integers @ weights, "w_scale")]
        if config.asymmetric:
            terms = [(integers @ (weights + 8), "w_scale"), (integers.sum(1)[:, None], "w_min")]
        for dots, scales in terms:
            scale = arrays[scales][:, start // SETTINGS.weight_group].astype(np.float32)
            y += dots.astype(np.float32) * step.astype(np.float32) * scale
    return y


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("float32", {}),
        ("float32", {"mantissa": 7, "rounding": "nearest"}),
        pytest.param("float64", {"asymmetric": True}, marks=pytest.mark.deep),
        pytest.param("int8", {}, marks=pytest.mark.slow),
    ],
)
def test_a_layer(kind, changes):
    x, w = operands(kind)
    config = TINY.replace(**changes)
    asymmetric = config.asymmetric
    found = simulate(x, w, config)
    counts, arrays = found.counts, found.arrays
    assert found.mismatches == []
    assert set(arrays) == {"y", "x", "w_q", "w_scale"} | ({"w_min"} if asymmetric else set())
    np.testing.assert_array_equal(arrays["x"], x.astype(np.float16))
    assert arrays["y"].dtype == np.float32
    assert arrays["y"].tobytes() == expected(config, arrays).tobytes()
    if kind == "int8":
        np.testing.assert_array_equal(arrays["y"], x.astype(int) @ w.astype(int).T)
        assert counts["sqnr_db"] is None
    else:
        assert counts["sqnr_db"] > 10
    assert counts["cycles"] == counts["golden_cycles"]
    assert counts["shape"] == {"tokens": TOKENS, "in_features": FEATURES, "out_features": OUTPUTS}
    assert counts["runtime"] == {"weight_group": 32}
    assert counts["bits_per_activation"] == config.mantissa + 1 + 5 / GROUP
    assert counts["bits_per_activation_padded"] == pytest.approx(
        counts["bits_per_activation"] * 48 / FEATURES
    )
    assert counts["bits_per_weight"] == 4 + (2 if asymmetric else 1) * 16 / 32
    assert 0 < counts["utilisation"] < 1
    (rival,) = counts["baselines"]
    array = fp16.Fp16Config(rows=TINY.rows, columns=TINY.columns)
    assert rival["unit"] == "fp16"
    assert rival["cycles"] == fp16.cycles(array, Workload(TOKENS, FEATURES, OUTPUTS)).cycles
    assert rival["speedup"] == rival["cycles"] / counts["cycles"]


def test_blocks_of_a_file_are_taken_as_they_are():
    x, w = operands("float32")
    blocks = quantise_weights(w * 2, "group", 16, symmetric=False)
    found = simulate(x, w, TINY.replace(asymmetric=True), blocks=blocks)
    assert found.mismatches == []
    np.testing.assert_array_equal(found.arrays["w_q"], blocks.q)
    np.testing.assert_array_equal(found.arrays["w_min"], blocks.minimum)
    np.testing.assert_array_equal(simulate(x, w, blocks=blocks).arrays["w_q"][0, :3],
                                  quantise_weights(w, "group", 32).q[0, :3])  # fmt: skip


@pytest.mark.parametrize(
    ("x", "w", "config", "sentence"),
    [
        (np.ones((2, 6)), None, TINY, "figna needs weights."),
        (
            np.full((2, 6), 65520.0),
            np.ones((3, 6)),
            TINY,
            "activations must fit FP16 (at most 65504), got 65520.0 in row 0, column 0.",
        ),
        (
            np.ones((2, 80)),
            np.ones((3, 80)),
            TINY.replace(group=64),
            "group must divide the weight group, got group 64, weight group 32.",
        ),
        (
            np.ones((2, 6)),
            np.ones((3, 7)),
            TINY,
            "weights must be int8 of shape (outputs, 6), got int8 (3, 7).",
        ),
    ],
)
def test_wrong_operands(x, w, config, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        simulate(x.astype(np.float32), None if w is None else w.astype(np.float32), config)
