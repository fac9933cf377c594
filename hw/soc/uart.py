"""A serial line: receiver and transmitter of bytes, at any rate below the clock's."""

from math import gcd

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter
from pydantic import model_validator

from ...golden.contract.config import Config
from ..lib.base import Part

BYTE = 8
_LEAST = 5  # cycles a bit: an edge is seen up to a cycle late, a bit taken up to one late


class UartConfig(Config):
    """Parameters of a serial line."""

    clock: int = Parameter(ge=1)
    """Cycles a second."""
    baud: int = Parameter(ge=1)
    """Bits a second."""

    @model_validator(mode="after")
    def _check(self) -> "UartConfig":
        if self.clock < _LEAST * self.baud:
            raise ValueError(
                f"baud must be at most {self.clock // _LEAST:,}, a {_LEAST}th of the clock of "
                f"{self.clock:,} Hz, got {self.baud:,}."
            )
        return self

    @property
    def ratio(self) -> tuple[int, int]:
        """Cycles and the bits that they last, in lowest terms."""
        common = gcd(self.clock, self.baud)
        return self.clock // common, self.baud // common


class UartReceiver(Part[UartConfig]):
    """Bytes from a line that may change at any time.

    ``valid`` for one cycle with every ``byte``, in the middle of its stop bit; a byte without stop
    bit is dropped. Bits are taken in the middle of their time, up to two cycles late.
    """

    def __init__(self, config: UartConfig):
        super().__init__(config, {"rx": In(1), "valid": Out(1), "byte": Out(BYTE)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cycles, bits = self.config.ratio
        early = Signal(init=1)
        line = Signal(init=1)
        m.d.sync += [early.eq(self.rx), line.eq(early)]
        phase = Signal(range(cycles + bits))  # in 1 / `bits` of a cycle
        tick = Signal()
        left = Signal(range(BYTE + 2))  # bits to come, the stop bit included
        m.d.comb += tick.eq(phase + bits >= cycles)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [phase.eq(cycles // 2 + bits), left.eq(BYTE + 1)]  # a cycle has passed
                with m.If(~line):
                    m.next = "START"
            with m.State("START"):
                m.d.sync += phase.eq(Mux(tick, phase + bits - cycles, phase + bits))
                with m.If(tick):
                    m.next = "IDLE"
                    with m.If(~line):
                        m.next = "BITS"
            with m.State("BITS"):
                m.d.sync += phase.eq(Mux(tick, phase + bits - cycles, phase + bits))
                with m.If(tick):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left != 1):
                        m.d.sync += self.byte.eq(Cat(self.byte[1:], line))
                    with m.Else():
                        m.d.comb += self.valid.eq(line)
                        m.next = "STOP"
            with m.State("STOP"), m.If(line):
                m.next = "IDLE"
        return m


class UartTransmitter(Part[UartConfig]):
    """Bytes to a line; a byte is taken when the one before has left, its stop bit included."""

    def __init__(self, config: UartConfig):
        super().__init__(config, {"bytes": In(stream.Signature(BYTE)), "tx": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cycles, bits = self.config.ratio
        phase = Signal(range(cycles + bits))
        tick = Signal()
        shift = Signal(BYTE + 1, init=(1 << BYTE + 1) - 1)
        left = Signal(range(BYTE + 3))
        m.d.comb += [
            tick.eq(phase + bits >= cycles),
            self.bytes.ready.eq(left == 0),
            self.tx.eq(shift[0]),
        ]
        with m.If(left == 0):
            m.d.sync += phase.eq(0)
            with m.If(self.bytes.valid):
                m.d.sync += [shift.eq(Cat(Const(0, 1), self.bytes.payload)), left.eq(BYTE + 2)]
        with m.Else():
            m.d.sync += phase.eq(Mux(tick, phase + bits - cycles, phase + bits))
            with m.If(tick):
                m.d.sync += [shift.eq(Cat(shift[1:], Const(1, 1))), left.eq(left - 1)]
        return m
