"""Counters of events: 64 bits each, in block RAM, read as they were at a snapshot."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from ...golden.contract.config import Config
from ...golden.soc.unit import TURNS
from ..lib.base import Part
from ..lib.memories import memory_of
from .pieces import chosen

WORD = 32


class CountersConfig(Config):
    """Parameters of the counters."""

    widths: tuple[int, ...]
    """Bits of each event's increment."""


class Counters(Part[CountersConfig]):
    """A counter of 64 bits for each event.

    Every event adds to a small sum of its own. Event after event, ``TURNS`` cycles each, sums go to
    the totals in memory. ``snapshot`` has the next whole round copy the totals to where ``address``
    reads them, in the next cycle; ``counting`` until then. A snapshot while events fire is
    spread over a round.
    """

    def __init__(self, config: CountersConfig):
        events = len(config.widths)
        super().__init__(
            config,
            {
                "events": In(sum(config.widths)),
                "snapshot": In(1),
                "counting": Out(1),
                "address": In(range(max(2, 2 * events))),
                "data": Out(WORD),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        events = len(self.config.widths)
        event = Signal(range(max(2, events)))
        phase = Signal(range(TURNS))
        first_round = Signal(init=1)  # memory holds anything
        asked = Signal()
        copying = Signal()
        final_event = event == events - 1
        ends_round = Signal()
        m.d.comb += [
            ends_round.eq((phase == TURNS - 1) & final_event),
            self.counting.eq(asked | copying),
        ]
        m.d.sync += phase.eq(Mux(phase == TURNS - 1, 0, phase + 1))
        with m.If(phase == TURNS - 1):
            m.d.sync += event.eq(Mux(final_event, 0, event + 1))
        with m.If(ends_round):
            m.d.sync += [first_round.eq(0), copying.eq(asked), asked.eq(0)]
        with m.If(self.snapshot):
            m.d.sync += asked.eq(1)

        pending = self._pending(m, event, phase == 1)
        totals = memory_of(m, "totals", WORD, 2 * events)
        write, read = totals.write_port(), totals.read_port()
        snapshots = memory_of(m, "snapshots", WORD, 2 * events)
        copy, shown = snapshots.write_port(), snapshots.read_port()
        carry = Signal()
        total = Signal(WORD + 1)
        half = phase == TURNS - 1
        m.d.comb += [
            read.addr.eq(Cat(phase == 1, event)),
            total.eq(Mux(first_round, 0, read.data) + Mux(half, carry, pending)),
            write.en.eq(phase != 0),
            write.addr.eq(Cat(half, event)),
            write.data.eq(total),
            copy.en.eq(write.en & copying),
            copy.addr.eq(write.addr),
            copy.data.eq(total),
            shown.addr.eq(self.address),
            self.data.eq(shown.data),
        ]
        m.d.sync += carry.eq(total[-1])
        return m

    def _pending(self, m: Module, event: Signal, collect: Signal) -> Signal:
        """Sums of increments that are not yet among the totals; the one of ``event``."""
        rounds = TURNS * len(self.config.widths)
        sums, start = [], 0
        for i, width in enumerate(self.config.widths):
            pending = Signal(width + rounds.bit_length(), name=f"pending_{i}")
            increment = self.events[start : start + width]
            taken = collect & (event == i)
            m.d.sync += pending.eq(Mux(taken, 0, pending) + increment)
            sums.append(pending)
            start += width
        widest = Signal(max(map(len, sums)))
        m.d.comb += widest.eq(chosen(sums, event))
        return widest
