"""Anda: the bit-serial array joined to the compressor."""

from amaranth.hdl import Cat, Module, Mux, Signal

from ...golden.anda.compressed import COMPRESSED, PREFIX, array_config, compressor_config
from ...golden.anda.config import AndaConfig
from ..lib.base import Unit, connect, connect_inputs, forward_events
from ..lib.emission import place
from .array import AndaArray
from .compressor import AndaCompressor


class AndaCompressed(Unit[AndaConfig]):
    """``y = x @ w.T`` from Anda to Anda: what one layer gives, the next one takes.

    Rows of FP16 results leave the array for the compressor, C of a token a beat; the G / C tiles
    that follow each other in a block of R tokens make a group of each. ``y_mantissa`` says M of
    the group with its first row. ``y_sign``, ``y_exponent`` and ``y_plane`` are those of the
    compressor, R lanes side by side: what ``sign``, ``exponent`` and ``plane`` of an array take.

    * Throughput: that of the array. The configuration sees to it that a group's rows are as many as
      the longest mantissa, so that the compressor never holds the array up.
    * Latency: a row that leaves the array in cycle t enters the compressor in that cycle.
    * Schedule: that of the array; a group whose final row leaves in cycle t gives its sign word,
      its exponents and its first plane in cycle t + 1, then a plane a cycle; its mantissa is taken
      with its first row.

    Stalls as array and compressor do, and while a group's mantissa is missing.

    Parameters
    ----------
    config
        Configuration of the array, ``output="anda"``.
    """

    def __init__(self, config: AndaConfig):
        super().__init__(config, COMPRESSED)
        self.array = AndaArray(array_config(config))
        self.compressor = AndaCompressor(compressor_config(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        array, compressor = self.array, self.compressor
        place(m, platform, "array", array)
        place(m, platform, "compressor", compressor)
        connect_inputs(m, self, array)
        self._results(m)
        for port in compressor.design.ports(compressor.config):
            if port.direction == "out":
                connect(m, getattr(compressor, port.name), getattr(self, f"y_{port.name}"))
        forward_events(m, self, array)
        forward_events(m, self, compressor, PREFIX)
        return m

    def _results(self, m: Module) -> None:
        """Rows of results to the compressor, the first of a group with its mantissa."""
        y, mantissa, x = self.array.y, self.y_mantissa, self.compressor.x
        opens = Signal()
        there = Signal()
        taken = Signal()
        row = Signal(range(self.compressor.config.beats))  # of the group
        m.d.comb += [
            opens.eq(row == 0),
            there.eq(~opens | mantissa.valid),
            x.valid.eq(y.valid & there),
            y.ready.eq(x.ready & there),
            taken.eq(y.valid & y.ready),
            mantissa.ready.eq(taken & opens),
            x.payload.value.eq(Cat(y.payload.value)),
            x.payload.mantissa.eq(mantissa.payload.value),
        ]
        with m.If(taken):
            m.d.sync += row.eq(Mux(row == self.compressor.config.beats - 1, 0, row + 1))
