"""Processing elements that arrays of integers share."""

from typing import Any, Literal

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ...golden.contract.config import Config
from ...golden.contract.layer import WEIGHT_BITS
from .base import Part
from .emission import place

control_layout = data.StructLayout({"enable": 1, "first": 1, "high": 1, "load": 1, "pull": 1})
"""What elements do: accumulate, from 0 on, a high half; load and pull results."""


class ElementConfig(Config):
    """Parameters of a processing element."""

    operand_bits: int = Parameter(ge=1)
    """Bits of an activation, or of its half."""
    result_bits: int = Parameter(ge=1)
    """Bits of a sum."""
    shift: int = Parameter(default=0, ge=0)
    """Places by which high halves are shifted; 0: there are none."""
    loads: Literal["sum", "accumulator"] = "sum"
    """What becomes the result: the sum of this cycle, or the accumulator, that of earlier ones."""
    multiplies: bool = True
    """Whether there are weights; else all of them are 1."""


class MultiplyAccumulate(Part[ElementConfig]):
    """One multiplier, one accumulator and one result register.

    With ``enable``: ``accumulator = (first ? 0 : accumulator) + (x * w << (high ? shift : 0))``.
    With ``load`` the result takes this sum (only with ``enable``) or the accumulator, with ``pull``
    the result of the element before.
    """

    def __init__(self, config: ElementConfig):
        ports = {"x": In(signed(config.operand_bits))}
        if config.multiplies:
            ports["w"] = In(signed(WEIGHT_BITS))
        result = signed(config.result_bits)
        super().__init__(
            config,
            {**ports, "control": In(control_layout), "below": In(result), "result": Out(result)},
        )

    @property
    def title(self) -> str:
        """With whether it multiplies."""
        return "multiply_accumulate" if self.config.multiplies else "accumulate"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        control = self.control
        accumulator = Signal.like(self.result, reset_less=True)
        total = Signal.like(self.result)
        m.d.comb += total.eq(Mux(control.first, 0, accumulator) + self._addend(m))
        with m.If(control.enable):
            m.d.sync += accumulator.eq(total)
        with m.If(control.load):
            m.d.sync += self.result.eq(total if self.config.loads == "sum" else accumulator)
        with m.Elif(control.pull):
            m.d.sync += self.result.eq(self.below)
        return m

    def _addend(self, m: Module) -> Value:
        """The product, or the activation, at its place."""
        addend: Value = self.x
        if self.config.multiplies:
            product = Signal(signed(len(self.x) + WEIGHT_BITS))
            m.d.comb += product.eq(self.x * self.w)
            addend = product
        shift = self.config.shift
        return Mux(self.control.high, addend << shift, addend) if shift else addend


def place_columns(
    m: Module, platform: object, element: ElementConfig, columns: int, row: Any, x: Value
) -> None:
    """Put C elements that share an activation into a row.

    Parameters
    ----------
    element, columns
        The element, and how many there are.
    row
        The part: its ``w``, ``control`` and ``below`` go to the elements, a word each of the
        first and the last, and their results to the words of its ``result``.
    x
        The activation, as wide as the element takes it.
    """
    bits = element.result_bits
    for column in range(columns):
        pe = MultiplyAccumulate(element)
        place(
            m,
            platform,
            f"pe_{column}",
            pe,
            x=x,
            w=row.w.word_select(column, WEIGHT_BITS),
            control=row.control,
            below=row.below.word_select(column, bits),
        )
        m.d.comb += row.result.word_select(column, bits).eq(pe.result)
