"""Hardware of every design that golden declares."""

from collections.abc import Callable
from typing import Any

from ..golden.config import Config
from ..golden.design import Design
from .base import Unit
from .bitmap import BitmapDecoder, BitmapEncoder
from .dense import DenseArray
from .dequantizer import Dequantizer
from .fp16 import Fp16Array
from .sparqle import HybridArray

COMPONENTS: dict[str, Callable[[Any], Unit]] = {
    "bitmap_decoder": BitmapDecoder,
    "bitmap_encoder": BitmapEncoder,
    "dense_array": DenseArray,
    "dequantizer": Dequantizer,
    "fp16_array": Fp16Array,
    "sparqle_array": HybridArray,
}


def component(design: Design, config: Config) -> Unit:
    """The hardware of a design with this configuration."""
    return COMPONENTS[design.name](config)
