"""Counters of events: 64 bits each, in block RAM, read as they were at a snapshot."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from ...golden.contract.config import Config
from ...golden.soc.unit import TURNS
from ..lib.base import Part
from ..lib.memories import buffer_of
from .pieces import chosen

WORD = 32


class CountersConfig(Config):
    """Parameters of the counters."""

    widths: tuple[int, ...]
    """Bits of each event's increment."""


class Counters(Part[CountersConfig]):
    """A counter of 64 bits for each event.

    The low bits of every total are counted at once. Event after event, ``TURNS`` cycles each, the
    totals in memory follow: where their low bits went down, these have come round. ``snapshot`` has
    the next whole round copy the totals to where ``address`` reads them, in the next cycle;
    ``counting`` until then. A snapshot while events fire is spread over a round.
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

        recent, low = self._recent(m, event)
        totals = buffer_of(m, "totals", WORD, 2 * events)
        write, read = totals.write_port(), totals.read_port()
        snapshots = buffer_of(m, "snapshots", WORD, 2 * events)
        copy, shown = snapshots.write_port(), snapshots.read_port()
        bits = len(recent)
        carry = Signal()
        before = Signal(WORD)
        wrapped = Signal()
        increment = Signal(bits + 1)
        total = Signal(WORD + 1)
        half = phase == TURNS - 1
        m.d.comb += [
            read.addr.eq(Cat(phase == 1, event)),
            before.eq(Mux(first_round, 0, read.data)),
            wrapped.eq(recent < (before[:bits] & low)),
            increment.eq(Mux(half, carry, Mux(wrapped, low + 1, 0))),
            total.eq(before + increment),
            write.en.eq(phase != 0),
            write.addr.eq(Cat(half, event)),
            write.data.eq(Mux(half, total, (total & ~low) | recent)),
            copy.en.eq(write.en & copying),
            copy.addr.eq(write.addr),
            copy.data.eq(write.data),
            shown.addr.eq(self.address),
            self.data.eq(shown.data),
        ]
        m.d.sync += carry.eq(total[-1])
        return m

    def _recent(self, m: Module, event: Signal) -> tuple[Signal, Signal]:
        """The low bits of the total of ``event``, up to date, and which bits these are.

        There are so many that they come round less than once between two visits.
        """
        rounds = TURNS * len(self.config.widths)
        counts, masks, start = [], [], 0
        for i, width in enumerate(self.config.widths):
            recent = Signal(width + rounds.bit_length(), name=f"recent_{i}")
            m.d.sync += recent.eq(recent + self.events[start : start + width])
            counts.append(recent)
            masks.append(Const((1 << len(recent)) - 1))
            start += width
        found = Signal(max(map(len, counts)))
        low = Signal(WORD)
        m.d.comb += [found.eq(chosen(counts, event)), low.eq(chosen(masks, event))]
        return found, low
