"""Integer arrays joined to the dequantizer: FP32 sums of scaled weight groups."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from amaranth.hdl import Module

from ..golden.contract.config import Config
from ..golden.contract.design import Design
from ..golden.grouped import PREFIX
from .dequantizer import Dequantizer
from .lib.base import Unit, connect, connect_inputs, forward_events
from .lib.emission import place

C = TypeVar("C", bound=Config)


class GroupedArray(Unit[C], Generic[C]):
    """``y = sum over weight groups of d * (x @ w.T)`` in FP32 for a tile of R tokens, C outputs.

    An array takes each weight group of a tile as a tile of its own (``last`` on the group's final
    input feature); its rows of sums go straight into the dequantizer, which takes the group's C
    scales (and minima) on ``scale``, ``last`` on the tile's final group. ``y`` gives R rows of C
    results a tile, row 0 first.

    * Throughput: that of the array with weight groups for tiles. The configuration sees to it that
      a group lasts as long as the dequantizer's passes over it, which then never holds the array
      up.
    * Latency: a row of sums that leaves the array in cycle t enters the dequantizer in that cycle.
    * Schedule: that of the array and, with its rows for arrivals, that of the dequantizer: group j
      starts in ``max(arrival[j], start[j])`` with ``start`` as in its docstring.

    Stalls as array and dequantizer do. Where the array reports errors, all rows of a tile have
    ``error`` set if one of its weight groups had.

    Parameters
    ----------
    config
        Configuration of the array with group scales.
    design
        Golden declaration of the joined unit.
    array
        Class of the array.
    """

    def __init__(self, config: C, design: Design, array: Callable[[Any], Unit]):
        super().__init__(config, design)
        self.array = array(config.array)  # type: ignore[attr-defined]
        self.dequantizer = Dequantizer(config.dequantizer)  # type: ignore[attr-defined]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        array, dequantizer = self.array, self.dequantizer
        place(m, platform, "array", array)
        place(m, platform, "dequantizer", dequantizer)
        connect_inputs(m, self, array)
        connect(m, self.scale, dequantizer.scale)
        connect(m, array.y, dequantizer.x)
        connect(m, dequantizer.y, self.y)
        forward_events(m, self, array)
        forward_events(m, self, dequantizer, PREFIX)
        return m
