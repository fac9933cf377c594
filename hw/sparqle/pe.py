"""Processing elements of the hybrid array."""

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from ...golden.contract.layer import WEIGHT_BITS
from ...golden.sparqle.config import SparqleConfig
from ..lib.base import Part
from ..lib.elements.element import ElementConfig, MultiplyAccumulate, control_layout
from ..lib.elements.rows import RowElements
from ..lib.emission import place


def result_bits(config: SparqleConfig) -> int:
    """Bits of one row of results: the sums of all columns, then that of the activations."""
    ones = config.ones_bits if config.asymmetric else 0
    return config.columns * config.accumulator_bits + ones


class HybridRow(Part[SparqleConfig]):
    """C processing elements, and that of the ones column, that share a token's half."""

    def __init__(self, config: SparqleConfig):
        super().__init__(
            config,
            {
                "half": In(config.k),
                "w": In(config.columns * WEIGHT_BITS),
                "control": In(control_layout),
                "below": In(result_bits(config)),
                "result": Out(result_bits(config)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        bits = config.accumulator_bits
        operand = Signal(signed(config.operand_bits))
        m.d.comb += operand.eq(self._operand())
        element = ElementConfig(
            operand_bits=config.operand_bits,
            result_bits=bits,
            shift=config.k,
            loads="accumulator",
        )
        sums = RowElements(element, config.columns).place(m, platform, self, operand)
        m.d.comb += self.result[: config.columns * bits].eq(sums)
        if config.asymmetric:
            ones = MultiplyAccumulate(
                element.replace(result_bits=config.ones_bits, multiplies=False)
            )
            below = self.below[config.columns * bits :]
            place(m, platform, "ones", ones, x=operand, control=self.control, below=below)
            m.d.comb += self.result[config.columns * bits :].eq(ones.result)
        return m

    def _operand(self) -> Value:
        """Both halves are signed, but two's complement has an unsigned low one."""
        if self.config.recode == "balanced":
            return self.half.as_signed()
        return Cat(self.half, self.control.high & self.half[-1]).as_signed()
