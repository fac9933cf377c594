"""AXI4 read master: bursts to memory, and beats back, over soft resets of whoever asks."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ...golden.contract.config import Config
from ...golden.soc.memory import LENGTH_BITS
from ..lib.base import Part


class ReadMasterConfig(Config):
    """Parameters of the read master."""

    address_bits: int
    """Bits of a byte address."""
    data_bits: int
    """Bits of a beat."""
    bursts: int = Parameter(ge=1)
    """Bursts under way at most."""


class ReadMaster(Part[ReadMasterConfig]):
    """Passes bursts on to memory and beats back.

    * A burst taken in cycle c is offered to memory from c + 1 on; beats pass in the same cycle.
    * ``flush``: bursts that were taken in this cycle or before are still asked for, as AXI wants
      it, and their beats dropped. ``flushing`` until the final one came; no burst is taken then.

    Stalls while memory takes no burst.
    """

    def __init__(self, config: ReadMasterConfig):
        burst = data.StructLayout({"addr": config.address_bits, "len": LENGTH_BITS})
        beat = data.StructLayout({"data": config.data_bits, "error": 1})
        answer = data.StructLayout({"data": config.data_bits, "resp": 2, "last": 1})
        super().__init__(
            config,
            {
                "bursts": In(stream.Signature(burst)),
                "beats": Out(stream.Signature(beat)),
                "flush": In(1),
                "flushing": Out(1),
                "ar": Out(stream.Signature(burst)),
                "r": In(stream.Signature(answer)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        under_way = Signal(range(self.config.bursts + 1))
        ask = Signal()
        ended = Signal()
        beat = self.beats.payload
        m.d.comb += [
            self.bursts.ready.eq(~self.ar.valid & ~self.flushing),
            ask.eq(self.bursts.valid & self.bursts.ready),
            self.beats.valid.eq(self.r.valid & ~self.flushing),
            beat.data.eq(self.r.payload.data),
            beat.error.eq(self.r.payload.resp != 0),
            self.r.ready.eq(self.beats.ready | self.flushing),
            ended.eq(self.r.valid & self.r.ready & self.r.payload.last),
        ]
        m.d.sync += under_way.eq(under_way + ask - ended)
        with m.If(self.ar.ready):
            m.d.sync += self.ar.valid.eq(0)
        with m.If(ask):
            m.d.sync += [self.ar.valid.eq(1), self.ar.payload.eq(self.bursts.payload)]
        with m.If(self.flush):
            m.d.sync += self.flushing.eq(1)
        with m.Elif(under_way == 0):
            m.d.sync += self.flushing.eq(0)
        return m
