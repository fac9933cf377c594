"""Hardware of every design that golden declares."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ..golden.config import Config
from ..golden.dense import GROUPED as DENSE_GROUPED
from ..golden.dense import GROUPED_2K as DENSE2K_GROUPED
from ..golden.design import Design
from ..golden.nm import GROUPED as NM_GROUPED
from ..golden.sparqle import GROUPED as SPARQLE_GROUPED
from .anda import AndaArray
from .anda_compressed import AndaCompressed
from .anda_compressor import Compressor
from .base import Unit
from .bitmap import BitmapDecoder, BitmapEncoder
from .dense import DenseArray
from .dequantizer import Dequantizer
from .figna import FignaArray
from .fp16 import Fp16Array
from .grouped import GroupedArray
from .nm import NMArray
from .reglu import SkippingFFN
from .sparqle import HybridArray

COMPONENTS: dict[str, Callable[[Any], Unit]] = {
    "anda_array": AndaArray,
    "anda_compressed": AndaCompressed,
    "anda_compressor": Compressor,
    "bitmap_decoder": BitmapDecoder,
    "bitmap_encoder": BitmapEncoder,
    "dense2k_array": DenseArray,
    "dense2k_grouped": partial(GroupedArray, design=DENSE2K_GROUPED, array=DenseArray),
    "dense_array": DenseArray,
    "dense_grouped": partial(GroupedArray, design=DENSE_GROUPED, array=DenseArray),
    "dequantizer": Dequantizer,
    "figna_array": FignaArray,
    "fp16_array": Fp16Array,
    "nm_array": NMArray,
    "nm_grouped": partial(GroupedArray, design=NM_GROUPED, array=NMArray),
    "skipping_ffn": SkippingFFN,
    "sparqle_array": HybridArray,
    "sparqle_grouped": partial(GroupedArray, design=SPARQLE_GROUPED, array=HybridArray),
}


def component(design: Design, config: Config) -> Unit:
    """The hardware of a design with this configuration."""
    return COMPONENTS[design.name](config)
