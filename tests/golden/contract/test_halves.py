"""Layers cut along in_features: results of the halves add up where golden says so."""

import numpy as np
import pytest
from nibbleforge.golden.contract.layer import Layer, compute
from nibbleforge.golden.dense import DenseConfig
from nibbleforge.golden.nm.values import sums
from nibbleforge.golden.units import UNITS
from nibbleforge.tb import tb_nm
from nibbleforge.tb.stimuli import stimuli_of


def test_halves_of_integer_layers_add_up():
    config = DenseConfig(rows=4, columns=4, max_k=64, passes=1)
    rng = np.random.default_rng(0)
    for features in (2, 3, 7, 64):
        x = rng.integers(-128, 128, (3, features)).astype(np.int16)
        layer = Layer(x, rng.integers(-8, 8, (5, features)).astype(np.int8))
        first, second = layer.halves(config)
        assert first.x.shape[1] + second.x.shape[1] == features
        assert np.array_equal(
            compute(config, first) + compute(config, second), compute(config, layer)
        )
    assert Layer(x[:, :1], layer.w[:, :1]).halves(config) is None


@pytest.mark.parametrize("features", [5, 8, 9, 30])
def test_halves_of_sparse_layers_end_with_a_block(features):
    config = UNITS["nm"].presets["tiny"]
    layer = tb_nm.layer(config, np.random.default_rng(features), 2, 3, features, 5)
    layer = type(layer)(layer.x, layer.values, layer.indices, features)
    first, second = layer.halves(config)
    assert first.x.shape[1] % config.m == 0
    assert np.array_equal(sums(config, first) + sums(config, second), sums(config, layer))
    groups = type(layer)(layer.x, layer.values, layer.indices, config.m)
    assert groups.halves(config) is None


@pytest.mark.parametrize(
    ("name", "preset"),
    [("fp16", "tiny"), ("figna", "tiny"), ("anda", "tiny"), ("anda", "chained"),
     ("dense2k", "q4_0"), ("sparqle", "q4_1"), ("nm", "fpga"), ("reglu", "tiny")],
)  # fmt: skip
def test_layers_of_rounded_results_are_not_cut(name, preset):
    owner = UNITS[name]
    config = owner.presets[preset]
    (design,) = owner.designs(config)
    operands = stimuli_of(design).random(config, np.random.default_rng(1))
    assert operands.halves(config) is None
