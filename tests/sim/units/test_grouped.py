"""Weights in groups: taken as a file holds them only where the array takes their bits."""

import numpy as np
import pytest
from nibbleforge.golden.arithmetic.quantise import quantise_weights
from nibbleforge.golden.dense import DenseConfig
from nibbleforge.golden.grouped import GroupScales
from nibbleforge.sim.units.grouped import take_groups


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_blocks_of_other_bits_are_quantised_anew(bits):
    w = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
    config = DenseConfig(dequant=GroupScales(weight_group=32), weight_bits=bits)
    blocks = quantise_weights(w, "group", 32)
    taken = take_groups(config, w, blocks)
    assert (taken is blocks) == (bits == 4)
    assert taken.bits == bits
    np.testing.assert_array_equal(taken.q, quantise_weights(w, "group", 32, bits=bits).q)
