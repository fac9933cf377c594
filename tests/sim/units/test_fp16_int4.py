"""``simulate fp16_int4``: a user's layer in FP16 through the RTL."""

import re

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.figna import FignaSettings
from nibbleforge.golden.units import UNITS, unit
from nibbleforge.sim.run.measure import Runner
from nibbleforge.sim.tools.workers import Workers
from nibbleforge.sim.units import simulate as simulation
from nibbleforge.sim.units.simulate import Simulation, Tensors

TOKENS, FEATURES, OUTPUTS = 4, 43, 5
SETTINGS = FignaSettings(weight_group=32)
TINY = unit("fp16_int4").presets["tiny"]


def simulate(name, config, x, w) -> Simulation:
    with Workers(1) as workers:
        return simulation.simulate(UNITS[name], config, SETTINGS, Tensors(x, w), Runner(workers))


def test_a_layer_gives_what_the_array_alone_gives():
    rng = np.random.default_rng(4)
    x = (rng.standard_normal((TOKENS, FEATURES)) * 3).astype(np.float32)
    w = (rng.standard_normal((OUTPUTS, FEATURES)) / 20).astype(np.float32)
    found = simulate("fp16_int4", TINY, x, w)
    alone = simulate("figna", TINY.array, x, w)
    assert found.mismatches == []
    assert found.arrays.keys() == alone.arrays.keys()
    for name, values in alone.arrays.items():
        assert found.arrays[name].tobytes() == values.tobytes()
    assert found.counts["cycles"] == found.counts["golden_cycles"] == alone.counts["cycles"] + 4
    assert found.counts["bits_per_activation"] == 16
    assert found.counts["bits_per_activation_padded"] == pytest.approx(16 * 48 / FEATURES)


def test_activations_that_do_not_fit():
    sentence = "activations must fit FP16 (at most 65504), got 65520.0 in row 0, column 0."
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        simulate("fp16_int4", TINY, np.full((2, 6), 65520.0), np.ones((3, 6)))
