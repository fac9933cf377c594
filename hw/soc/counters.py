"""Counters of events: 64 bits each, in block RAM, written out at a snapshot."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from ...golden.contract.config import Config
from ...golden.soc.unit import TURNS
from ..lib.base import Part
from ..lib.memories import buffer_of
from .pieces import selected

WORD = 32


class CountersConfig(Config):
    """Parameters of the counters."""

    widths: tuple[int, ...]
    """Bits of each event's increment."""


class Counters(Part[CountersConfig]):
    """A counter of 64 bits for each event.

    The low bits of every total are counted at once. Event after event, ``TURNS`` cycles each, the
    totals in memory follow: the low word grows by what its low bits lack, the high one by its
    carry. ``snapshot`` has the next whole round write out all totals, low words at even addresses;
    ``counting`` until then. A word written in a cycle with ``lost`` does not arrive: another round
    follows. A snapshot while events fire is spread over a round.
    """

    def __init__(self, config: CountersConfig):
        words = 2 * len(config.widths)
        super().__init__(
            config,
            {
                "events": In(sum(config.widths)),
                "snapshot": In(1),
                "lost": In(1),
                "counting": Out(1),
                "write": Out(1),
                "address": Out(range(words), init=words - 1),
                "data": Out(WORD),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        events = len(self.config.widths)
        index = Signal(range(max(2, events)))
        turn = Signal(events, init=1)  # the same with a bit an event
        high = Signal()
        ends_round = Signal()
        first_round = Signal(init=1)  # memory holds anything
        previous = Signal(WORD)
        total = Signal(WORD + 1)
        carry = Signal()
        m.d.comb += ends_round.eq(high & turn[-1])
        m.d.sync += high.eq(~high)
        with m.If(high):
            m.d.sync += [
                index.eq(Mux(ends_round, 0, index + 1)),
                turn.eq(turn.rotate_left(1)),
            ]
        with m.If(ends_round):
            m.d.sync += first_round.eq(0)

        totals = buffer_of(m, "totals", WORD, 2 * events)
        write, read = totals.write_port(), totals.read_port(domain="comb")
        with m.If(first_round):  # a reset that block RAM has
            m.d.sync += previous.eq(0)
        with m.Else():
            m.d.sync += previous.eq(read.data)
        m.d.sync += [self.address.eq(read.addr), carry.eq(total[-1])]
        m.d.comb += [
            read.addr.eq(Cat(high, index)),
            total.eq(previous + Mux(high, self._advance(m, turn, previous), carry)),
            write.en.eq(1),
            write.addr.eq(self.address),
            write.data.eq(total),
            self.data.eq(total),
        ]
        self._snapshot(m, ends_round)
        return m

    def _advance(self, m: Module, turn: Signal, previous: Signal) -> Signal:
        """By how much the event whose low word was read has happened since the word was written.

        So many low bits are counted that they come round less than once in a round.
        """
        cycles = TURNS * len(self.config.widths)
        counts = []
        start = 0
        for i, width in enumerate(self.config.widths):
            most = cycles * ((1 << width) - 1)
            recent = Signal(most.bit_length(), name=f"recent_{i}")
            m.d.sync += recent.eq(recent + self.events[start : start + width])
            counts.append(recent)
            start += width
        now = Signal(max(map(len, counts)))
        counted = Signal.like(now)  # which of its bits there are
        advance = Signal.like(now)
        m.d.sync += [
            counted.eq(self._counted(m, turn, [len(count) for count in counts])),
            now.eq(selected(zip(turn, counts, strict=True))),
        ]
        m.d.comb += advance.eq((now - previous[: len(now)])[: len(now)] & counted)
        return advance

    def _counted(self, m: Module, turn: Signal, widths: list[int]) -> Value:
        """Which bits are counted of the event whose turn it is."""
        bits = []
        least = 0
        for width in sorted(set(widths)):
            having = [turn[i] for i, w in enumerate(widths) if w >= width]
            has = having[0]
            if len(having) > 1:
                has = Signal(name=f"counts_{width}_bits")
                m.d.comb += has.eq(Cat(*having).any())
            bits += [has if least else Const(1)] * (width - least)
            least = width
        return Cat(*bits)

    def _snapshot(self, m: Module, ends_round: Signal) -> None:
        """Write out a whole round; what is read in a cycle is written in the next one."""
        asked = Signal()
        begins_round = Signal()
        again = Signal()
        seen = Signal()
        m.d.comb += again.eq(self.write & (self.lost | seen))
        m.d.sync += [begins_round.eq(ends_round), seen.eq(again)]
        with m.If(begins_round):
            m.d.sync += [self.write.eq(asked | again), asked.eq(0), seen.eq(0)]
        with m.If(self.snapshot):
            m.d.sync += asked.eq(1)
        m.d.comb += self.counting.eq(asked | self.write)
