"""Hardware of the toy unit."""

from abc import abstractmethod

from amaranth.hdl import Module, Mux, Signal, Value, signed
from nibbleforge.hw.lib.base import Unit

from .golden import MAXIMUM, SUM, ToyConfig


class _Reducer(Unit[ToyConfig]):
    """A result a packet: an accumulator, and a register for the result that waits."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x, y, config = self.x, self.y, self.config
        element = x.payload.value
        total = Signal(signed(config.sum_bits), reset_less=True)
        result = Signal(signed(config.sum_bits))
        started = Signal()
        illegal = Signal()
        error = Signal()
        take = Signal()
        m.d.comb += [
            x.ready.eq(~y.valid | y.ready),
            take.eq(x.valid & x.ready),
            result.eq(Mux(started, self.combine(total, element), element)),
            illegal.eq((element == -config.limit - 1) | (started & error)),
            self.events.elements.eq(take),
            self.events.packets.eq(take & x.payload.last),
            self.events.stall_out.eq(y.valid & ~y.ready),
        ]
        with m.If(y.ready):
            m.d.sync += y.valid.eq(0)
        with m.If(take):
            m.d.sync += [total.eq(result), error.eq(illegal), started.eq(~x.payload.last)]
            with m.If(x.payload.last):
                m.d.sync += [
                    y.valid.eq(1),
                    y.payload.value.eq(result),
                    y.payload.error.eq(illegal),
                ]
        return m

    @abstractmethod
    def combine(self, total: Value, element: Value) -> Value:
        """What becomes of the elements so far and the next one."""


class ToySum(_Reducer):
    """Sum of every packet.

    * Throughput: an element a cycle. Latency: the result leaves in the cycle after the final
      element. Stalls while a result waits.
    """

    def __init__(self, config: ToyConfig):
        super().__init__(config, SUM)

    def combine(self, total: Value, element: Value) -> Value:
        return total + element


class ToyMaximum(_Reducer):
    """Maximum of every packet; timing as :class:`ToySum`."""

    def __init__(self, config: ToyConfig):
        super().__init__(config, MAXIMUM)

    def combine(self, total: Value, element: Value) -> Value:
        return Mux(total > element, total, element)
