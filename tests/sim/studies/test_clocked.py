"""Flip-flops that a clock edge reaches, on arrays whose every register is known."""

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.layer import Layer
from nibbleforge.golden.dense import ARRAY_2K, DenseConfig
from nibbleforge.sim.studies.clocked import clocked, on_sample
from nibbleforge.sim.units.simulate import Run

CONFIG = DenseConfig(rows=4, columns=4, passes=1, max_k=64)
ELEMENT = CONFIG.accumulator_bits


def run(features, config=CONFIG):
    layer = Layer(np.ones((4, features), np.int8), np.ones((4, features), np.int8))
    return clocked(Run(ARRAY_2K, config, layer))


@pytest.mark.deep
def test_a_step_clocks_accumulators_and_operands_and_not_results():
    short, long = run(10), run(30)
    operands = (4 * 8 + 1 + 1) + (4 * 4 + 1)  # values, last, valid of x; values, valid of w
    assert short.bits == 16 * 2 * ELEMENT + operands + 1 + 3  # whether first; rows that remain
    assert long.cycles - short.cycles == 20
    more = long.reached * long.cycles - short.reached * short.cycles
    assert more == 20 * (16 * ELEMENT + operands + 1)


@pytest.mark.deep
def test_rows_that_have_left_and_accumulators_that_are_done_hold():
    """A bit more for each accumulator and result tells how often these are clocked."""
    narrow, wide = run(10), run(10, CONFIG.replace(max_k=128))
    assert wide.bits - narrow.bits == 2 * 16
    more = wide.reached * wide.cycles - narrow.reached * narrow.cycles
    accumulated, loaded, moved = 9 * 16, 16, (3 + 2 + 1) * 4
    assert more == accumulated + loaded + moved


def test_a_preset_that_is_not_there():
    sentence = "^dense2k has no preset none; it has paper, tiny, vector, fpga, q4_0, lanes16, "
    sentence += "w3a8, w2a8, w4a6, w4a7.$"
    with pytest.raises(UserError, match=sentence):
        on_sample("dense2k", "none", 16, 16)
