"""Operands with a purpose, where random ones seldom go."""

import numpy as np

from ..golden.bitmap import BitmapConfig, Groups
from ..golden.config import Config
from ..golden.dense import DenseConfig, Layer


def corners(config: Config) -> Groups | Layer:
    """Operands that give every bit of a unit a turn of its own."""
    if isinstance(config, BitmapConfig):
        return corner_groups(config)
    if isinstance(config, DenseConfig):
        return corner_layer(config)
    raise TypeError(f"no corners for {type(config).__name__}")


def corner_groups(config: BitmapConfig) -> Groups:
    """Groups where each element is the only, the first, the last and the only one left.

    What is left of a mask after a beat of pairs is a single element only where the group has one
    more than a multiple of ``width``: random masks of 64 hardly ever leave a given one.
    """
    element = np.arange(config.group)
    only = element[:, None] == element
    first = element[:, None] <= element
    last = element[:, None] >= element
    left = last & (element[:, None] - config.width <= element)
    present = np.concatenate([only, left, first, last])
    largest = (1 << max(1, config.value_width)) - 1
    values = 1 + np.arange(present.size).reshape(present.shape) % largest
    token = np.arange(len(present)) % 7 == 6
    token[-1] = True
    return Groups(np.where(present, values, 0).astype(np.uint16), token)


def corner_layer(config: DenseConfig) -> Layer:
    """Several tiles of extreme products only: sums as large as a few features can make them."""
    low, high = config.activation_range
    extremes = np.array([[low, -8], [low, 7], [high, -8], [high, 7], [-1, -8], [-1, 7], [0, -1]])
    features = min(config.max_k, 24)
    x = np.resize(extremes[:, 0], (2 * config.rows + 1, 1)).repeat(features, 1)
    w = np.resize(np.roll(extremes[:, 1], 1), (config.columns + 1, 1)).repeat(features, 1)
    return Layer(x.astype(np.int16), w.astype(np.int8))
