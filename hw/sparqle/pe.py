"""Processing elements of the hybrid array."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ...golden.contract.layer import WEIGHT_BITS
from ...golden.sparqle.config import SparqleConfig
from ..lib.base import Part
from ..lib.emission import place

control_layout = data.StructLayout({"enable": 1, "first": 1, "high": 1, "load": 1, "pull": 1})
"""What a row of PEs does: accumulate, load and pull results."""


def result_bits(config: SparqleConfig) -> int:
    """Bits of one row of results: the sums of all columns, then that of the activations."""
    ones = config.ones_bits if config.asymmetric else 0
    return config.columns * config.accumulator_bits + ones


class _Accumulator(Part[SparqleConfig]):
    """Accumulator and result register of one column.

    With ``enable``: ``accumulator = (first ? 0 : accumulator) + (term << (high ? k : 0))``. With
    ``load`` the result takes the accumulator, with ``pull`` the result of the row below.
    """

    def __init__(self, config: SparqleConfig, bits: int, operands: dict[str, object]):
        ports = {"control": In(control_layout), "below": In(signed(bits))}
        super().__init__(config, {**operands, **ports, "result": Out(signed(bits))})

    def term(self) -> Value:
        """What is added, before the shift."""
        raise TypeError("an accumulator has a term")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        control = self.control
        term = self.term()
        addend = Signal(signed(len(term) + self.config.k))
        accumulator = Signal.like(self.result, reset_less=True)
        m.d.comb += addend.eq(Mux(control.high, term << self.config.k, term))
        with m.If(control.enable):
            m.d.sync += accumulator.eq(Mux(control.first, 0, accumulator) + addend)
        with m.If(control.load):
            m.d.sync += self.result.eq(accumulator)
        with m.Elif(control.pull):
            m.d.sync += self.result.eq(self.below)
        return m


class HybridPE(_Accumulator):
    """One k-bit multiplier, one accumulator and one result register."""

    def __init__(self, config: SparqleConfig):
        operands = {"x": In(signed(config.operand_bits)), "w": In(signed(WEIGHT_BITS))}
        super().__init__(config, config.accumulator_bits, operands)

    def term(self) -> Value:
        """The product."""
        return self.x * self.w


class OnesPE(_Accumulator):
    """The same where all weights are 1: the sum of the activations."""

    def __init__(self, config: SparqleConfig):
        super().__init__(config, config.ones_bits, {"x": In(signed(config.operand_bits))})

    def term(self) -> Value:
        """The activation's half."""
        return self.x


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
        for column in range(config.columns):
            pe = HybridPE(config)
            place(
                m,
                platform,
                f"pe_{column}",
                pe,
                x=operand,
                w=self.w.word_select(column, WEIGHT_BITS),
                control=self.control,
                below=self.below.word_select(column, bits),
            )
            m.d.comb += self.result.word_select(column, bits).eq(pe.result)
        if config.asymmetric:
            ones = OnesPE(config)
            below = self.below[config.columns * bits :]
            place(m, platform, "ones", ones, x=operand, control=self.control, below=below)
            m.d.comb += self.result[config.columns * bits :].eq(ones.result)
        return m

    def _operand(self) -> Value:
        """Both halves are signed, but two's complement has an unsigned low one."""
        if self.config.recode == "balanced":
            return self.half.as_signed()
        return Cat(self.half, self.control.high & self.half[-1]).as_signed()
