"""Paths and areas of small bit-serial arrays and of FP16, and of their parts."""

from dataclasses import dataclass
from typing import Any

from ...golden.fp16 import Fp16Config
from .area import Array, Found

_SINGLE = {"multiply_latency": 1, "add_latency": 1}
_FP16 = {"rows": 1, "columns": 1}
_ROW = {"rows": 1, "columns": 4}
_STAGES = {"multiply_latency": 2, "add_latency": 3}
SINGLE = (
    Array("fp16, 1 x 1", "fp16", values=_FP16),
    Array(
        "anda, 1 x 4, product and sum in a stage each",
        "anda",
        values={**_ROW, **_SINGLE},
    ),
    Array("anda, 1 x 4, as it is by default", "anda", values=_ROW),
    Array(
        "fp16, 1 x 1, with the same stages",
        "fp16",
        values={**_FP16, **_STAGES},
    ),
    Array("compressor, 16 lanes of G = 64", "compressor"),
)
"""Small arrays for their critical paths, and the compressor."""


@dataclass(frozen=True)
class Processor:
    """One processor of a 16 x 16 array, with its share of what processors share.

    Attributes
    ----------
    name
        As it is shown.
    values
        Parameters.
    held_by
        Whether weights are held once a column, or once a processor.
    """

    name: str
    values: dict[str, Any]
    held_by: str = "column"

    @property
    def array(self) -> Array:
        """A row of the array, whose modules are measured."""
        return Array(self.name, "anda", values={**_ROW, **self.values}, runs=3)


ROWS = 16
_BINARY = {"tree": "binary"}
PROCESSORS = (
    Processor("binary tree", _BINARY, "processor"),
    Processor("carry-save tree", {}, "processor"),
    Processor("binary tree", _BINARY),
    Processor("carry-save tree, fp_share = 1", {"fp_share": 1}),
    Processor("carry-save tree, fp_share = 2", {"fp_share": 2}),
    Processor("carry-save tree", {}),
    Processor("the same, product and sum in a stage each, as in fp16", _SINGLE),
    Processor("the same, M up to 11", {**_SINGLE, "max_mantissa": 11}),
)
RIVAL = Array("fp16", "fp16", values=_FP16, runs=3)


def processor_row(processor: Processor, found: Found, rival: float) -> list[object]:
    """Parts of a processor, and how it compares with four FP16 multiply-accumulates."""
    columns = _ROW["columns"]
    own = found.modules("bit_plane_processors") / columns
    held = found.modules("weight_registers") / columns
    weights = held / ROWS if processor.held_by == "column" else held
    post = found.modules("post_processor", "int_to_float", "float_multiply", "float_add") / columns
    whole = own + weights + post
    parts = [round(part) for part in (own, weights, post, whole)]
    return [processor.name, processor.held_by, *parts, f"{whole / rival:.2f}"]


def rival_area(found: Found) -> float:
    """Multiply-accumulates of an FP16 element with their registers, a row's share of conversions.

    The tree that adds up a column's results is left out.
    """
    lanes = found.config_as(Fp16Config).lanes
    adders = lanes * found.each("float_add")
    own = found.modules("float_multiply", "fp16_pe") + adders
    return own + found.modules("fp16_to_fp32") / ROWS
