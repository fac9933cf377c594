"""Bit-plane array of Anda, and arrays on groups in general: operands and results.

Source: Anda, arXiv 2411.15982; what is ours is said in :mod:`.config`. The number format is
:mod:`.format`, the arithmetic :mod:`.dots`.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..arithmetic.floating import fp32_to_fp16
from ..arithmetic.quantise import INT4_MAX, INT4_MIN, QuantisedWeights
from ..contract.errors import UserError
from ..contract.layer import check_integer
from ..contract.tiling import Tiling
from ..grouped import check_scales
from . import dots as anda_dots
from .config import AndaConfig, GroupArrayConfig
from .format import Anda, check_mantissa, encode


class GroupOperands:
    """What arrays on groups have in common: operands of one layer, as :class:`AndaLayer` says."""

    x: NDArray[np.float16]
    w: NDArray[np.int8]
    d: NDArray[np.float16]
    weight_group: int
    minimum: NDArray[np.float16]

    def groups(self, config: GroupArrayConfig) -> int:
        """Groups along in_features."""
        return -(-self.x.shape[1] // config.group)

    def tiling(self, config: GroupArrayConfig) -> Tiling:
        """Tiles of the layer on the array."""
        return Tiling(len(self.x), len(self.w), config.rows, config.columns)

    def fresh(self, config: GroupArrayConfig) -> NDArray[np.bool_]:
        """Whether each group is the first of a weight group."""
        scale = np.arange(self.groups(config)) * config.group // self.weight_group
        return np.diff(scale, prepend=-1) > 0

    def weights(self, config: GroupArrayConfig) -> QuantisedWeights:
        """Weights with their scales and, if the array takes them, minima."""
        minimum = self.minimum if config.asymmetric else None
        return QuantisedWeights(self.w, self.d, minimum, self.weight_group)


@dataclass(frozen=True)
class AndaLayer(GroupOperands):
    """Operands of one layer.

    Attributes
    ----------
    x
        Activations, finite float16, ``(tokens, in_features)``.
    mantissa
        Bits of a mantissa (M).
    w
        Weights in [-8, 7], int8, ``(outputs, in_features)``.
    d
        Scales, finite float16, ``(outputs, weight groups)``.
    weight_group
        Input features that share a scale; a multiple of the Anda group, or at least in_features.
    minimum
        Minima, finite float16, ``(outputs, weight groups)``; empty for symmetric weights.
    """

    x: NDArray[np.float16]
    mantissa: int
    w: NDArray[np.int8]
    d: NDArray[np.float16]
    weight_group: int
    minimum: NDArray[np.float16] = field(default_factory=lambda: np.zeros((0, 0), np.float16))

    def encoded(self, config: AndaConfig) -> Anda:
        """The activations in the number format."""
        return encode(config, self.mantissa, self.x)


def check(config: AndaConfig, layer: AndaLayer) -> None:
    """Raise :class:`UserError` unless the array takes the operands."""
    check_operands(config, layer)
    check_integer("mantissa", layer.mantissa)
    check_max_mantissa(config, layer.mantissa)


def check_max_mantissa(config: AndaConfig, mantissa: int) -> None:
    """Refuse mantissas that the array does not take."""
    check_mantissa(mantissa)
    if mantissa > config.max_mantissa:
        raise UserError(
            f"mantissa must not exceed max_mantissa = {config.max_mantissa}, got {mantissa}."
        )


def check_operands(config: GroupArrayConfig, layer: GroupOperands) -> None:
    """Raise :class:`UserError` unless the operands fit together and the array."""
    x, w = layer.x, layer.w
    if x.ndim != 2 or x.dtype != np.float16 or not x.size:
        raise UserError(
            f"activations must be a matrix of float16 and not empty, got {x.dtype} {x.shape}."
        )
    if not np.isfinite(x).all():
        raise UserError(f"activations must be finite, got {x[~np.isfinite(x)][0]}.")
    if w.ndim != 2 or w.dtype != np.int8 or not w.size or w.shape[1] != x.shape[1]:
        raise UserError(
            f"weights must be int8 of shape (outputs, {x.shape[1]}), got {w.dtype} {w.shape}."
        )
    if w.min() < INT4_MIN or w.max() > INT4_MAX:
        raise UserError(f"weights must be in -8..7, got {w.min()}..{w.max()}.")
    check_integer("weight_group", layer.weight_group)
    check_weight_group(config, layer.weight_group, x.shape[1])
    _check_scales(config, layer)


def check_weight_group(config: GroupArrayConfig, weight_group: int, in_features: int) -> None:
    """Refuse weight groups that Anda groups straddle."""
    if weight_group < 1 or (weight_group % config.group and weight_group < in_features):
        raise UserError(
            f"group must divide the weight group, got group {config.group}, "
            f"weight group {weight_group}."
        )


def _check_scales(config: GroupArrayConfig, layer: GroupOperands) -> None:
    group, features = layer.weight_group, layer.x.shape[1]
    per_group = (len(layer.w), -(-features // group))
    expected = {"d": per_group, "minimum": per_group if config.asymmetric else (0, 0)}
    for name, shape in expected.items():
        check_scales(name, getattr(layer, name), shape)


def compute(config: AndaConfig, layer: AndaLayer) -> NDArray[np.floating]:
    """Results, ``(tokens, outputs)``, float32 or float16 as the array gives them."""
    check(config, layer)
    y = anda_dots.compute(layer.encoded(config), layer.weights(config))
    return y if config.output == "fp32" else fp32_to_fp16(y)
