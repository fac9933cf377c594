"""Simulation of arrays whose weights have group scales: what it shares between arrays."""

import numpy as np
from numpy.typing import NDArray

from ...golden.arithmetic.quantise import QuantisedWeights, take_weights
from ...golden.grouped import GroupedLayer, JoinedConfig, check_grouped


def take_groups(
    config: JoinedConfig, weights: NDArray, blocks: QuantisedWeights | None
) -> QuantisedWeights:
    """Weights in groups: as the model's file holds them if that is what the array takes."""
    asymmetric = config.dequantizer.asymmetric
    if (
        blocks
        and (blocks.group, blocks.bits) == (config.weight_group, config.weight_bits)
        and asymmetric == (blocks.minimum is not None)
    ):
        return blocks
    return take_weights(
        weights, "group", config.weight_group, symmetric=not asymmetric, bits=config.weight_bits
    )


def grouped_layer(
    config: JoinedConfig, x: NDArray[np.signedinteger], w: QuantisedWeights
) -> GroupedLayer:
    """Operands of the joined unit, padded with zeros to whole weight groups."""
    padding = ((0, 0), (0, -x.shape[1] % config.weight_group))
    integers = (np.pad(x, padding), np.pad(w.q, padding))
    layer = GroupedLayer(*integers, w.scale, *([] if w.minimum is None else [w.minimum]))
    check_grouped(config, layer)
    return layer
