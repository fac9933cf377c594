"""Unpacking of N:M weights: bytes of a packed row to slots, one a cycle.

What all columns do at the same time (which bits are pulled, where a block's fields stand) is worked
out once, in :class:`UnpackSequence`; a column holds only its bits.
"""

from math import gcd
from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ...golden.contract.config import Config
from ...golden.contract.layer import WEIGHT_BITS
from ...golden.nm.config import BEAT_BITS
from ...golden.nm.pattern import Pattern
from ..lib.base import Part

NIBBLES = BEAT_BITS // WEIGHT_BITS  # of a byte


class UnpackConfig(Config):
    """Parameters of a column's unpacker."""

    m: int
    """Weights of a block."""

    @property
    def index_bits(self) -> int:
        """Bits of a place in a block."""
        return self.m.bit_length() - 1

    @property
    def patterns(self) -> list[Pattern]:
        """Every ``n``, in order."""
        return [Pattern(n, self.m) for n in range(1, self.m + 1)]

    @property
    def words(self) -> int:
        """Bytes of the longest block."""
        return max(-(-pattern.block_bits // BEAT_BITS) for pattern in self.patterns)

    @property
    def grain(self) -> int:
        """Bits that every block begins at a multiple of."""
        return gcd(BEAT_BITS, *(pattern.block_bits for pattern in self.patterns))

    @property
    def grains(self) -> int:
        """Places in a byte where a block may begin."""
        return BEAT_BITS // self.grain


def unpack_layout(config: UnpackConfig) -> data.StructLayout:
    """What a column has to do in a cycle.

    ``pull``: the next byte of the block, number ``word``, starts ``unread`` grains before the end
    of the byte that is kept (which ``beat`` replaces); ``place[i]``: nibble i of the metadata is in
    it, the ``odd`` one if ``n`` and i are not both odd or both even; ``load``: the block that is
    there becomes the current one; ``step``: its next slot; how slots know their place: a
    ``bitmap``, or, if the block is ``sparse``, indices.
    """
    return data.StructLayout(
        {
            "pull": 1,
            "beat": 1,
            "unread": config.grains.bit_length() - 1,
            "word": config.words.bit_length(),
            "place": config.m // WEIGHT_BITS,
            "odd": 1,
            "load": 1,
            "step": 1,
            "slot": config.index_bits,
            "final": 1,
            "sparse": 1,
            "bitmap": 1,
        }
    )


class Unpacker(Part[UnpackConfig]):
    """One column: its bits, the block that is being collected, and the one in use.

    ``value`` and ``index`` are those of the current slot; ``error``: the slots so far show that
    the block is no legal one (indices that do not ascend, a bitmap without exactly ``n`` ones).
    """

    def __init__(self, config: UnpackConfig):
        super().__init__(
            config,
            {
                "control": In(unpack_layout(config)),
                "bits": In(BEAT_BITS),
                "value": Out(WEIGHT_BITS),
                "index": Out(config.index_bits),
                "error": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        values, places = self._collect(m, self._byte(m))
        self._work_off(m, values, places)
        return m

    def _byte(self, m: Module) -> Value:
        """The next bits of the row: what is left of the byte before, then this one's."""
        control = self.control
        kept = Signal(BEAT_BITS, reset_less=True)
        with m.If(control.beat):
            m.d.sync += kept.eq(self.bits)
        window = Cat(kept, self.bits)
        byte = Signal(BEAT_BITS, name="pulled")
        with m.Switch(control.unread):
            for unread in range(self.config.grains):
                with m.Case(unread):
                    first = BEAT_BITS - unread * self.config.grain
                    m.d.comb += byte.eq(window[first : first + BEAT_BITS])
        return byte

    def _collect(self, m: Module, byte: Signal) -> tuple[list[Signal], list[Signal]]:
        """Values and metadata of the next block, nibble by nibble."""
        control, config = self.control, self.config
        nibbles = [byte.word_select(lane, WEIGHT_BITS) for lane in range(NIBBLES)]
        values = [
            Signal(WEIGHT_BITS, name=f"next_value_{i}", reset_less=True) for i in range(config.m)
        ]
        places = [
            Signal(WEIGHT_BITS, name=f"next_places_{i}", reset_less=True)
            for i in range(config.m // WEIGHT_BITS)
        ]
        for word in range(-(-config.m // NIBBLES)):
            pulls = Signal(name=f"pulls_{word}")
            m.d.comb += pulls.eq(control.pull & (control.word == word))
            with m.If(pulls):
                for value, nibble in zip(values[word * NIBBLES :], nibbles, strict=False):
                    m.d.sync += value.eq(nibble)
        for i, place in enumerate(places):
            with m.If(control.pull & control.place[i]):
                m.d.sync += place.eq(Mux(control.odd ^ (i % 2), nibbles[1], nibbles[0]))
        return values, places

    def _work_off(self, m: Module, next_values: list[Signal], next_places: list[Signal]) -> None:
        """The current block, slot 0 lowest."""
        control, config = self.control, self.config
        values = Signal(config.m * WEIGHT_BITS, reset_less=True)
        places = Signal(config.m, reset_less=True)
        previous = Signal(config.index_bits, reset_less=True)  # index of the slot before
        disordered = Signal()
        miscounted = Signal()
        lowest = Signal(config.index_bits)
        rest = Signal(config.m)
        for i in reversed(range(config.m)):
            with m.If(places[i]):
                m.d.comb += lowest.eq(i)
        listed = Mux(control.sparse, places[: config.index_bits], control.slot)
        m.d.comb += [
            rest.eq(places & (places - 1)[: config.m]),
            self.value.eq(values[:WEIGHT_BITS]),
            self.index.eq(Mux(control.bitmap, lowest, listed)),
            disordered.eq((control.slot != 0) & (self.index <= previous)),
            miscounted.eq((places == 0) | (control.final & (rest != 0))),
        ]
        m.d.comb += self.error.eq(
            control.step & control.sparse & Mux(control.bitmap, miscounted, disordered)
        )
        with m.If(control.load):
            m.d.sync += [values.eq(Cat(next_values)), places.eq(Cat(next_places))]
        with m.Elif(control.step):
            m.d.sync += [
                values.eq(values >> WEIGHT_BITS),
                places.eq(Mux(control.bitmap, rest, places >> config.index_bits)),
                previous.eq(self.index),
            ]


class UnpackSequence:
    """What all columns do: bytes of blocks are pulled one after the other.

    Attributes
    ----------
    full
        A block is there.
    load
        It is taken, so that the next one is pulled from this cycle on.
    end
        With ``load``: the next one begins packed rows, with a fresh byte that comes with ``n``.
    slots
        ``n`` of the block that is there.
    error
        The packed rows of that block began with an ``n`` outside 1..``m``.
    """

    def __init__(self, config: UnpackConfig):
        self.config = config
        self.full = Signal()
        self.load = Signal()
        self.end = Signal(name="ends_rows")
        self.error = Signal(name="next_illegal")
        self.slots = Signal(range(config.m + 1), init=config.m, name="next_slots")

    def elaborate(self, m: Module, source: Any, control: data.View) -> None:
        """Pull from the stream of packed weights; ``control`` is that of the columns."""
        # the next byte begins packed rows
        fresh = Signal()
        opens = Signal(init=1)
        n = Signal.like(self.slots)
        word = Signal.like(control.word)
        unread = Signal.like(control.unread)
        grain, grains = self.config.grain, self.config.grains
        wanted = Signal(range(grains + 1))  # grains
        last = Signal()
        needed = Signal()
        room = Signal()
        legal = Signal()
        available = Signal(range(2 * grains))  # grains
        given = source.payload.n
        bits = [pattern.block_bits for pattern in self.config.patterns]
        final = [-(-total // BEAT_BITS) - 1 for total in bits]
        rests = [((total - 1) % BEAT_BITS + 1) // grain for total in bits]
        m.d.comb += [
            fresh.eq(opens | (self.load & self.end)),
            legal.eq((given != 0) & (given <= self.config.m)),
            n.eq(Mux(fresh, Mux(legal, given, self.config.m), self.slots)),
            control.word.eq(Mux(self.load, 0, word)),
            control.unread.eq(Mux(fresh, 0, unread)),
            last.eq(control.word == self._of(m, n, final, "final_word")),
            wanted.eq(Mux(last, self._of(m, n, rests, "final_grains"), grains)),
            needed.eq(control.unread < wanted),
            available.eq(Mux(needed, control.unread + grains, control.unread)),
            room.eq(~self.full | self.load),
            source.ready.eq(room & needed),
            control.beat.eq(source.valid & source.ready),
            control.pull.eq(room & (~needed | source.valid)),
            control.odd.eq(n[0]),
        ]
        for i in range(len(control.place)):
            nibble = n + i if i else n
            m.d.comb += control.place[i].eq(nibble[1:] == control.word)
        with m.If(control.pull):
            m.d.sync += [
                self.slots.eq(n),
                self.error.eq(Mux(fresh, ~legal, self.error)),
                opens.eq(0),
                word.eq(control.word + 1),
                unread.eq(available - wanted),
            ]
        with m.Elif(self.load):
            m.d.sync += [opens.eq(fresh), word.eq(0), unread.eq(control.unread)]
        m.d.sync += self.full.eq((control.pull & last) | (self.full & ~self.load))

    def sparse(self) -> Value:
        """Whether slots of the block that is there come with their places."""
        return self.slots != self.config.m

    def bitmap(self) -> Value:
        """Whether the places are a bitmap."""
        bitmaps = [pattern.n for pattern in self.config.patterns if pattern.metadata == "bitmap"]
        return Cat(self.slots == n for n in bitmaps).any()

    def _of(self, m: Module, n: Value, figures: list[int], name: str) -> Signal:
        """A figure of ``n`` = 1..``m``, of which ``m`` is 0 but for its highest bit."""
        figure = Signal(range(max(figures) + 1), name=name)
        m.d.comb += figure.eq(Array([figures[-1], *figures[:-1]])[n[:-1]])
        return figure
