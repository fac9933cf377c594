"""Decoder of the hybrid array: precision bitmaps and packed high halves to a list of steps."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ...golden.sparqle.config import SparqleConfig, bitmap_port, values_port
from ..lib.base import Part, payload_layout
from ..lib.networks import count_set, prefix_any
from ..lib.queues import Records


def index_bits(config: SparqleConfig) -> int:
    """Bits of an index within a chunk."""
    return (config.chunk - 1).bit_length()


def extent_bits(config: SparqleConfig) -> int:
    """Bits of an entry's extent; one that is 0 where group and chunk are the same."""
    return max(1, (config.span // min(config.group, config.chunk) - 1).bit_length())


def entry_layout(config: SparqleConfig) -> data.StructLayout:
    """One step on high halves: the index of a feature, and the half of each row that has one.

    A chunk without high halves has one entry that no row uses. ``extent``, on the final entry of a
    tile, tells how far its bitmap goes: chunks left in its word, or words in its chunk less 1;
    ``apart``, there at the latest, that the bitmaps of the rows did not end together.
    """
    return data.StructLayout(
        {
            "index": index_bits(config),
            "used": config.sharing,
            "value": data.ArrayLayout(config.k, config.sharing),
            "chunk_last": 1,
            "tile_last": 1,
            "extent": extent_bits(config),
            "apart": 1,
        }
    )


class ListDecoder(Part[SparqleConfig]):
    """Turns the bitmaps of g rows into one list of indices, and gives each row its high halves.

    Two mask buffers of ``max(group, chunk)`` bits a row take turns: one is filled, a word a cycle,
    while the lowest set bit of the OR of the other's masks is taken, one a cycle. A queue of
    ``queue`` entries lets the list run ahead.

    Rows of a group take their words together. A row whose bitmap has ended before the others' has
    no more high halves in this tile, whose final entry has ``apart`` set.
    """

    def __init__(self, config: SparqleConfig):
        bitmap, values = (payload_layout(port(config, 0)) for port in (bitmap_port, values_port))
        rows = range(config.sharing)
        super().__init__(
            config,
            {
                **{f"bitmap_{row}": In(stream.Signature(bitmap)) for row in rows},
                **{f"values_{row}": In(stream.Signature(values)) for row in rows},
                "entries": Out(stream.Signature(entry_layout(config))),
                "words": Out(range(config.sharing + 1)),
                "beats": Out(range(config.sharing + 1)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        buffers = [_MaskBuffer(self.config, i) for i in range(2)]
        self._fill(m, buffers)
        layout, depth = entry_layout(self.config), self.config.queue
        queue = Records(m, platform, "queue", layout, depth, "registers")
        entry = Signal(layout)
        m.d.comb += [
            queue.push.eq(self._take_lowest(m, buffers, entry, queue.room)),
            queue.entry.eq(entry),
            queue.pop.eq(self.entries.valid & self.entries.ready),
            self.entries.valid.eq(queue.valid),
            self.entries.payload.eq(queue.head),
        ]
        return m

    # bitmap words into mask buffers

    def _fill(self, m: Module, buffers: list["_MaskBuffer"]) -> None:
        config = self.config
        words = config.span // config.group
        bitmaps = [getattr(self, f"bitmap_{row}") for row in range(config.sharing)]
        which = Signal(name="filled")
        word = Signal(range(max(2, words)))
        ended = Signal(config.sharing)
        offered = Signal.like(ended)
        last = Signal.like(ended)
        ends_token = Signal()
        open_rows = Signal.like(ended)
        room = Signal()
        take = Signal()
        complete = Signal()
        m.d.comb += [
            offered.eq(ended | Cat(bitmap.valid for bitmap in bitmaps)),
            last.eq(ended | Cat(bitmap.payload.last for bitmap in bitmaps)),
            ends_token.eq(last.all()),
            open_rows.eq(~ended),
            room.eq(~Mux(which, buffers[1].full, buffers[0].full)),
            take.eq(room & offered.all()),
            complete.eq(take & (ends_token | (word == words - 1))),
            self.words.eq(Mux(take, count_set(open_rows), 0)),
        ]
        for row, bitmap in enumerate(bitmaps):
            others = [offered[other] for other in range(config.sharing) if other != row]
            m.d.comb += bitmap.ready.eq(room & ~ended[row] & Cat(others).all())
        with m.If(take):
            m.d.sync += ended.eq(Mux(ends_token, 0, last))
            m.d.sync += word.eq(Mux(complete, 0, word + 1))
            m.d.sync += which.eq(which ^ complete)
        masks = [Signal(config.group, name=f"new_mask_{row}") for row in range(config.sharing)]
        for row, bitmap in enumerate(bitmaps):
            m.d.comb += masks[row].eq(Mux(ended[row], 0, bitmap.payload.mask))
        for i, buffer in enumerate(buffers):
            writes = Signal(name=f"writes_{i}")
            m.d.comb += writes.eq(take & (which == i))
            with m.If(writes):
                buffer.write(m, masks, word, complete, ends_token, ended.any())

    # lowest set bits into the queue

    def _take_lowest(
        self, m: Module, buffers: list["_MaskBuffer"], entry: data.View, room: Value
    ) -> Signal:
        config = self.config
        chunk = config.chunk
        which = Signal(name="drained")
        done = Signal()
        fire = Signal()
        full = Signal()
        last = Signal(name="drained_last")
        masks = [Signal(config.span, name=f"mask_{row}") for row in range(config.sharing)]
        m.d.comb += [
            full.eq(Mux(which, buffers[1].full, buffers[0].full)),
            last.eq(Mux(which, buffers[1].last, buffers[0].last)),
            *(
                mask.eq(Mux(which, buffers[1].masks[row], buffers[0].masks[row]))
                for row, mask in enumerate(masks)
            ),
        ]
        shared = Signal(config.span)
        lowest = Signal(chunk)
        m.d.comb += shared.eq(_or(masks))
        below = Cat(Const(0, 1), prefix_any(m, shared[:chunk])[:-1])
        m.d.comb += [
            lowest.eq(shared[:chunk] & ~below),
            entry.index.eq(_encode(lowest)),
            entry.used.eq(Cat((mask[:chunk] & lowest).any() for mask in masks)),
            entry.chunk_last.eq((shared[:chunk] & ~lowest) == 0),
            done.eq(entry.chunk_last & self._ends_buffer(m, entry, shared, last, fire, done)),
            entry.tile_last.eq(done & last),
        ]
        if config.chunk > config.group:
            m.d.comb += entry.extent.eq(Mux(which, buffers[1].extent, buffers[0].extent))
        if config.sharing > 1:
            m.d.comb += entry.apart.eq(Mux(which, buffers[1].apart, buffers[0].apart))
        with m.If(fire):
            m.d.sync += which.eq(which ^ done)
        cleared = [Signal(config.span, name=f"cleared_{row}") for row in range(config.sharing)]
        for mask, value in zip(masks, cleared, strict=True):
            m.d.comb += value.eq(Cat(mask[:chunk] & ~lowest, mask[chunk:]))
            if config.span > chunk:
                with m.If(entry.chunk_last):
                    m.d.comb += value.eq(mask[chunk:])
        for i, buffer in enumerate(buffers):
            consumes = Signal(name=f"consumes_{i}")
            m.d.comb += consumes.eq(fire & (which == i))
            with m.If(consumes):
                m.d.sync += buffer.full.eq(~done)
                m.d.sync += [a.eq(b) for a, b in zip(buffer.masks, cleared, strict=True)]
        ready = Signal()
        m.d.comb += ready.eq(full & room)
        m.d.comb += fire.eq(ready & self._values(m, entry, ready, fire))
        return fire

    def _ends_buffer(
        self,
        m: Module,
        entry: data.View,
        shared: Signal,
        last: Signal,
        fire: Signal,
        done: Signal,
    ) -> Value:
        """Whether the buffer's present chunk is its final one that matters."""
        chunks = self.config.span // self.config.chunk
        if chunks == 1:
            return Cat(1)
        remaining = Signal(range(chunks), init=chunks - 1)
        m.d.comb += entry.extent.eq(remaining)
        with m.If(fire & entry.chunk_last):
            m.d.sync += remaining.eq(Mux(done, chunks - 1, remaining - 1))
        return (remaining == 0) | (last & (shared[self.config.chunk :] == 0))

    def _values(self, m: Module, entry: data.View, ready: Signal, fire: Signal) -> Value:
        """Give each row its next value; whether all that are needed are here."""
        rows = range(self.config.sharing)
        feeds = [_ValueFeed(self.config, row) for row in rows]
        available = Signal(self.config.sharing)
        for row, feed in enumerate(feeds):
            values = getattr(self, f"values_{row}")
            used = entry.used[row]
            needs = Signal(name=f"needs_{row}")
            m.d.comb += needs.eq(used & (feed.remaining == 0))
            m.d.comb += available[row].eq(~needs | values.valid)
            others = Cat(available[other] for other in rows if other != row)
            m.d.comb += values.ready.eq(ready & needs & others.all())
            incoming = [values.payload.value[i] for i in range(self.config.beat)]
            m.d.comb += entry.value[row].eq(feed.next(incoming))
            with m.If(fire):
                feed.advance(m, used, incoming, entry.tile_last)
        taken = Signal(self.config.sharing)
        for row in rows:
            values = getattr(self, f"values_{row}")
            m.d.comb += taken[row].eq(values.ready & values.valid)
        m.d.comb += self.beats.eq(count_set(taken))
        return available.all()


class _MaskBuffer:
    """Masks of g rows, ``max(group, chunk)`` bits each."""

    def __init__(self, config: SparqleConfig, number: int):
        self.config = config
        self.full = Signal(name=f"full_{number}")
        self.last = Signal(name=f"last_{number}", reset_less=True)
        self.extent = Signal(extent_bits(config), name=f"extent_{number}", reset_less=True)
        self.apart = Signal(name=f"apart_{number}", reset_less=True)
        self.masks = [
            Signal(config.span, name=f"masks_{number}_{row}", reset_less=True)
            for row in range(config.sharing)
        ]

    def write(
        self,
        m: Module,
        words: list[Value],
        word: Signal,
        complete: Signal,
        last: Value,
        apart: Value,
    ) -> None:
        """Take one word of every row; the first clears what is left of the chunk before."""
        group = self.config.group
        count = self.config.span // group
        for mask, bits in zip(self.masks, words, strict=True):
            if count == 1:
                m.d.sync += mask.eq(bits)
                continue
            with m.If(word == 0):
                m.d.sync += mask.eq(bits)
            for i in range(1, count):
                with m.If(word == i):
                    m.d.sync += mask[i * group : (i + 1) * group].eq(bits)
        m.d.sync += [self.full.eq(complete), self.last.eq(last), self.apart.eq(apart)]
        if count > 1:
            m.d.sync += self.extent.eq(word)


class _ValueFeed:
    """Unpacks beats of high halves of one row."""

    def __init__(self, config: SparqleConfig, row: int):
        self.remaining = Signal(range(config.beat), name=f"remaining_{row}")
        self.held = [
            Signal(config.k, name=f"held_{row}_{i}", reset_less=True)
            for i in range(config.beat - 1)
        ]

    def next(self, incoming: list[Value]) -> Value:
        """The value that comes next."""
        if not self.held:
            return incoming[0]
        return Mux(self.remaining == 0, incoming[0], self.held[0])

    def advance(self, m: Module, used: Value, incoming: list[Value], ends: Value) -> None:
        """Go on to the next value where this one is used; at a token's end drop the rest."""
        if not self.held:
            return
        with m.If(used):
            fresh = self.remaining == 0
            shifted = [*self.held[1:], self.held[-1]]
            m.d.sync += self.remaining.eq(Mux(fresh, len(self.held), self.remaining - 1))
            m.d.sync += [
                register.eq(Mux(fresh, new, old))
                for register, new, old in zip(self.held, incoming[1:], shifted, strict=True)
            ]
        with m.If(ends):
            m.d.sync += self.remaining.eq(0)


def _or(values: list[Signal]) -> Value:
    total: Value = values[0]
    for value in values[1:]:
        total = total | value
    return total


def _encode(onehot: Signal) -> Value:
    """Index of the only set bit; 0 if there is none."""
    bits = (len(onehot) - 1).bit_length()
    return Cat(
        Cat(onehot[i] for i in range(len(onehot)) if i >> bit & 1).any() for bit in range(bits)
    )
