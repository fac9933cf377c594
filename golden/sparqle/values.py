"""Values of the hybrid array: halves of activations.

Operands and exact results are those of every integer array
(:mod:`nibbleforge.golden.contract.layer`, :mod:`nibbleforge.golden.grouped`).
"""

import numpy as np
from numpy.typing import NDArray

from . import format as hybrid
from .config import SparqleConfig


def halves(config: SparqleConfig, x: NDArray) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Low and high halves of activations as unsigned k-bit patterns."""
    low, high = hybrid.split(config.format, x)
    pattern = np.uint8((1 << config.k) - 1)
    return low.view(np.uint8) & pattern, high.view(np.uint8) & pattern
