"""Post-processors of the Anda array: group sums to FP32, scaled, added up, handed on as results."""

from amaranth.hdl import Array, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..golden.anda_config import AndaConfig
from ..golden.anda_dot import OFFSET
from ..golden.floating import FloatAddConfig, FloatMultiplyConfig, IntToFloatConfig
from .base import Part
from .emission import place
from .floating import FP32_BITS, FloatAdd, FloatMultiply, IntToFloat

ADJUST_BITS = 6
"""Bits of a signed exponent ``E - 15 - (M - 1)``."""


def product_layout(config: AndaConfig) -> data.StructLayout:
    """What goes along with the products of a cycle.

    ``position``: which of the processors that share; ``minima``: the pass of the minima;
    ``from_zero``: sums start from +0; ``final``: sums are results; ``last``: final position.
    """
    position = max(1, (config.fp_share - 1).bit_length())
    flags = dict.fromkeys(("valid", "minima", "from_zero", "final", "last"), 1)
    return data.StructLayout({"position": position, **flags})


class PostProcessor(Part[AndaConfig]):
    """``sum = sum + fl(value) * 2^adjust * factor`` for S processors in turn, and their results.

    ``start``, ``added`` and ``done`` tell whose value enters, meets its running sum, and is done.
    Final sums become results; with ``pull`` these take those of the row below.
    """

    def __init__(self, config: AndaConfig):
        share, product = config.fp_share, product_layout(config)
        ports = {
            "values": In(share * config.accumulator_bits),
            "adjust": In(signed(ADJUST_BITS)),
            "factors": In(share * FP32_BITS),
            "start": In(product),
            "added": In(product),
            "done": In(product),
            "pull": In(1),
            "below": In(share * FP32_BITS),
            "results": Out(share * FP32_BITS),
        }
        if config.asymmetric:
            ports["ones"] = In(signed(config.ones_bits))
        super().__init__(config, ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        convert = IntToFloat(
            IntToFloatConfig(bits=config.value_bits, stages=config.convert_latency)
        )
        multiply = FloatMultiply(
            FloatMultiplyConfig(significand=11, stages=config.multiply_latency)
        )
        adder = FloatAdd(FloatAddConfig(stages=config.add_latency))
        place(m, platform, "convert", convert)
        place(m, platform, "multiply", multiply)
        place(m, platform, "add", adder)
        factor = _chosen(self.factors, FP32_BITS, self.start.position)
        m.d.comb += [
            convert.enable.eq(1),
            multiply.enable.eq(1),
            adder.enable.eq(1),
            convert.value.eq(self._value()),
            multiply.a.eq(self._scaled(m, convert.result)),
            multiply.b.eq(_later(m, factor, config.convert_latency, "factor")),
            adder.a.eq(self._total(m, adder.result)),
            adder.b.eq(multiply.result),
        ]
        self._hand_on(m, adder.result)
        return m

    def _value(self) -> Value:
        """Sum of the processor that is on turn, or that of the activations alone."""
        config = self.config
        value = _chosen(self.values, config.accumulator_bits, self.start.position).as_signed()
        if not config.asymmetric:
            return value
        return Mux(self.start.minima, self.ones, value + OFFSET * self.ones)

    def _scaled(self, m: Module, number: Value) -> Value:
        """Times ``2^adjust``: no result leaves the normal numbers, zero stays zero."""
        adjust = _later(m, self.adjust, self.config.convert_latency, "adjust")
        scaled = Signal(data.StructLayout({"fraction": 23, "exponent": 8, "sign": 1}))
        m.d.comb += scaled.as_value().eq(number)
        exponent = number[23:31]
        with m.If(exponent != 0):
            m.d.comb += scaled.exponent.eq(exponent + adjust.as_signed())
        return scaled.as_value()

    def _total(self, m: Module, result: Value) -> Value:
        """Running sum that the product meets; a result may be needed as soon as it is there."""
        config, done, added = self.config, self.done, self.added
        sums = [Signal(FP32_BITS, name=f"sum_{i}", reset_less=True) for i in range(config.fp_share)]
        for i, kept in enumerate(sums):
            with m.If(done.valid & (done.position == i)):
                m.d.sync += kept.eq(result)
        total = Array(sums)[added.position] if len(sums) > 1 else sums[0]
        if config.fp_share <= config.add_latency:
            total = Mux(done.valid & (done.position == added.position), result, total)
        return Mux(added.from_zero, 0, total)

    def _hand_on(self, m: Module, result: Value) -> None:
        """Results of a tile, until they have left."""
        done = self.done
        for i in range(self.config.fp_share):
            kept = Signal(FP32_BITS, name=f"result_{i}", reset_less=True)
            with m.If(done.valid & done.final & (done.position == i)):
                m.d.sync += kept.eq(result)
            with m.Elif(self.pull):
                m.d.sync += kept.eq(self.below.word_select(i, FP32_BITS))
            m.d.comb += self.results.word_select(i, FP32_BITS).eq(kept)


def _chosen(words: Value, bits: int, position: Value) -> Value:
    """One of several words."""
    count = len(words) // bits
    return words if count == 1 else words.word_select(position, bits)


def _later(m: Module, value: Value, cycles: int, name: str) -> Value:
    """A value so many cycles later."""
    for cycle in range(cycles):
        late = Signal(value.shape(), name=f"{name}_{cycle}", reset_less=True)
        m.d.sync += late.eq(value)
        value = late
    return value
