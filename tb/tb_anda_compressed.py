"""Stimuli of the Anda array joined to the compressor."""

from dataclasses import fields

import numpy as np

from ..golden.anda.compressed import CompressedLayer, compute
from ..golden.anda.config import AndaConfig
from ..golden.anda.format import MANTISSA_MAX
from ..golden.anda.values import AndaLayer
from ..golden.contract.schedule import Schedule
from . import tb_anda
from .stimuli import Stimuli

SMALL = (
    AndaConfig(group=16, rows=8, columns=8, max_mantissa=11, output="anda"),
    AndaConfig(group=16, rows=4, columns=4, max_mantissa=11, asymmetric=True, output="anda"),
)
"""Arrays that multiply every 11-bit mantissa with every weight."""


def random_config(rng: np.random.Generator) -> AndaConfig:
    """A small array of any kind; illegal combinations are drawn, too."""
    return tb_anda.random_config(rng).replace(output="anda")


def random_layer(config: AndaConfig, rng: np.random.Generator) -> CompressedLayer:
    """A layer of a few tiles, ragged in tokens and in_features, mantissas of every kind."""
    tokens, features, _ = tb_anda.random_shape(config, rng)
    outputs = config.group * int(rng.integers(1, 3))
    layer = tb_anda.layer(config, rng, tokens, features, outputs)
    return _compressed(layer, int(rng.integers(1, MANTISSA_MAX + 1)))


def waiting_layer(config: AndaConfig, rng: np.random.Generator) -> CompressedLayer:
    """Several groups of results, each of several tiles."""
    mantissa, result_mantissa = rng.integers(1, (config.max_mantissa + 1, MANTISSA_MAX + 1))
    operands = tb_anda.waiting(config, rng, 2 * config.group)
    return _compressed(AndaLayer(mantissa=int(mantissa), **operands), int(result_mantissa))


def under_way(schedule: Schedule) -> int:
    """The compressor has the first results of a group, the array works on the next tile."""
    return int(schedule.cycles["y_mantissa"][0]) + 1


def corner_layer(config: AndaConfig) -> CompressedLayer:
    """The largest sums of either sign, every element alone; outputs repeat."""
    return _compressed(_whole_groups(config, tb_anda.corner_layer(config)), MANTISSA_MAX)


def exhaustive_products(config: AndaConfig) -> CompressedLayer:
    """Every 11-bit mantissa times every weight."""
    return _compressed(_whole_groups(config, tb_anda.exhaustive_products(config)), 11)


def _whole_groups(config: AndaConfig, layer: AndaLayer) -> AndaLayer:
    """With outputs repeated to a multiple of the group."""
    outputs = -(-len(layer.w) // config.group) * config.group
    values = {item.name: getattr(layer, item.name) for item in fields(layer)}
    for name in ("w", "d", "minimum"):
        matrix = values[name]
        if matrix.size:
            values[name] = matrix[np.arange(outputs) % len(matrix)]
    return AndaLayer(**values)


def _compressed(layer: AndaLayer, mantissa: int) -> CompressedLayer:
    values = {item.name: getattr(layer, item.name) for item in fields(layer)}
    return CompressedLayer(**values, result_mantissa=mantissa)


def bins(config: AndaConfig, operands: CompressedLayer) -> dict[str, bool]:
    """Functional bins, and whether these operands hit them."""
    results = compute(config, operands)
    mantissa = results.mantissa
    facts = {
        "result mantissa of 1 bit": mantissa == 1,
        "longest result mantissa": mantissa == MANTISSA_MAX,
        "group of results": results.groups == 1,
        "groups of results": results.groups > 1,
        "result shifted out": ((results.magnitude == 0) & results.sign).any(),
        "largest result exponent": (results.exponent == 30).any(),
        "smallest result exponent": (results.exponent == 1).any(),
        "negative result": (results.sign & (results.magnitude > 0)).any(),
    }
    shared = tb_anda.shared_bins(config, operands, operands.encoded(config), results.decode())
    for name in ("single tile", "ragged output edge"):  # seldom, never: outputs are whole groups
        shared.pop(name, None)
    return facts | shared


ARRAY = Stimuli(
    operands=CompressedLayer,
    config=random_config,
    random=random_layer,
    corners=corner_layer,
    small=SMALL,
    exhaustive=exhaustive_products,
    bins=bins,
    few=lambda config: False,
    waiting=waiting_layer,
    under_way=under_way,
)
