"""The element: products of its lanes, an accumulator and a result register."""

from typing import Literal

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ....golden.contract.config import Config
from ....golden.contract.layer import WEIGHT_BITS
from ..adders import binary_tree
from ..base import Part

control_layout = data.StructLayout({"enable": 1, "first": 1, "high": 1, "load": 1, "pull": 1})
"""What elements do: accumulate, from 0 on, a high half; load and pull results."""


class ElementConfig(Config):
    """Parameters of a processing element."""

    operand_bits: int = Parameter(ge=1)
    """Bits of an activation, of its half, or of what is added up."""
    weight_bits: int = Parameter(default=WEIGHT_BITS, ge=2)
    """Bits of a weight."""
    lanes: int = Parameter(default=1, ge=1)
    """Products a cycle (L)."""
    result_bits: int = Parameter(ge=1)
    """Bits of a sum."""
    shift: int = Parameter(default=0, ge=0)
    """Places by which high halves are shifted; 0: there are none."""
    loads: Literal["sum", "accumulator"] = "sum"
    """What becomes the result: the sum of this cycle, or the accumulator, that of earlier ones."""
    multiplies: bool = True
    """Whether there are weights; else all of them are 1."""
    pulls: bool = True
    """Whether results leave through those of other elements."""

    @property
    def product_bits(self) -> int:
        """Bits of the sum of a cycle's products, signed."""
        if not self.multiplies:
            return self.operand_bits
        return dot_bits(self.operand_bits, self.weight_bits, self.lanes)


def dot_bits(operand_bits: int, weight_bits: int, lanes: int) -> int:
    """Bits of the sum of so many products of signed operands and weights."""
    return (lanes << (operand_bits + weight_bits - 2)).bit_length() + 1


class MultiplyAccumulate(Part[ElementConfig]):
    """Multipliers of L lanes, an accumulator and a result register.

    With ``enable``: ``accumulator = (first ? 0 : accumulator) + (x . w << (high ? shift : 0))``,
    ``x . w`` being the sum of the products of all lanes, or ``x`` where the element has no
    multipliers. With ``load`` the result takes this sum (only with ``enable``) or the accumulator,
    with ``pull`` the result of the element before, where results leave so. A sum that becomes the
    result is the last one: the accumulator holds, and the next sum starts with ``first``.
    """

    def __init__(self, config: ElementConfig):
        ports = {"x": In(signed(config.lanes * config.operand_bits))}
        if config.multiplies:
            ports["w"] = In(signed(config.lanes * config.weight_bits))
        result = signed(config.result_bits)
        ports["control"] = In(control_layout)
        if config.pulls:
            ports["below"] = In(result)
        super().__init__(config, {**ports, "result": Out(result)})

    @property
    def title(self) -> str:
        """With whether it multiplies."""
        return "multiply_accumulate" if self.config.multiplies else "accumulate"

    @property
    def summary(self) -> str:
        """Says so where there are no multipliers."""
        return (
            super().summary if self.config.multiplies else "An accumulator and a result register."
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        control = self.control
        accumulator = Signal.like(self.result, reset_less=True)
        total = Signal.like(self.result)
        m.d.comb += total.eq(Mux(control.first, 0, accumulator) + self._addend(m))
        ends = control.load if self.config.loads == "sum" else Const(0, 1)
        with m.If(control.enable & ~ends):
            m.d.sync += accumulator.eq(total)
        with m.If(control.load):
            m.d.sync += self.result.eq(total if self.config.loads == "sum" else accumulator)
        if self.config.pulls:
            with m.Elif(control.pull):
                m.d.sync += self.result.eq(self.below)
        return m

    def _addend(self, m: Module) -> Value:
        """The products, or the activation, at their place."""
        addend: Value = self.x
        if self.config.multiplies:
            addend = Signal(signed(self.config.product_bits), name="product")
            m.d.comb += addend.eq(binary_tree(self._products(m)))
        shift = self.config.shift
        return Mux(self.control.high, addend << shift, addend) if shift else addend

    def _products(self, m: Module) -> list[Value]:
        """Product of each lane."""
        bits, weight_bits = self.config.operand_bits, self.config.weight_bits
        lanes = self.config.lanes
        if lanes == 1:
            return [self.x * self.w]
        products = []
        for lane in range(lanes):
            product = Signal(signed(bits + weight_bits), name=f"product_{lane}")
            x = self.x.word_select(lane, bits).as_signed()
            w = self.w.word_select(lane, weight_bits).as_signed()
            m.d.comb += product.eq(x * w)
            products.append(product)
        return products
