"""Bitmap decoder and encoder: streams of bitmaps and packed values to and from sparse groups."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data

from ..golden.bitmap import DECODER, ENCODER, BitmapConfig
from ..golden.contract.errors import UserError
from .lib.base import Unit
from .lib.networks import (
    Planes,
    compress,
    count_planes,
    expand,
    prefix_counts,
    shift_down,
    shift_up,
    to_elements,
    to_planes,
    where_equal,
)
from .lib.streams import payload_registers


class BitmapDecoder(Unit[BitmapConfig]):
    """Decode a bitmap and its packed values.

    ``bitmap`` brings one G-bit word a group, ``last`` on a token's final one; ``values`` brings the
    non-zero values of the token in ascending order, ``beat`` a beat, the rest of the token's final
    beat unused. A beat of values is taken in the cycle that first needs one of them.

    gather: yields up to ``width`` (index, value) pairs a beat in ascending order.

    * Throughput: ``max(1, ceil(popcount / width))`` cycles a group, no bubble between groups.
    * Latency: a word taken in cycle t gives its first beat in cycle t + 2.
    * Schedule: beat b of the run leaves the extraction in cycle ``1 + b`` and the unit in cycle
      ``2 + b``; the next word is taken in the cycle of the final extraction of the one before.

    scatter: yields the dense group in one beat.

    * Throughput: ``max(1, n)`` cycles a group, n = beats of values that no group before needed.
    * Latency: a group complete in cycle f leaves in cycle f + 2.
    * Schedule: ``f[j] = f[j-1] + max(1, n[j])``, ``f[-1] = 0``; the next word is taken in cycle f.

    mask only (``value_width = 0``): gather without values.

    Stalls while a needed beat of values is missing and while the consumer is not ready.

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.bitmap.BitmapConfig`.
    """

    def __init__(self, config: BitmapConfig):
        super().__init__(config, DECODER)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        group = _CurrentGroup(self.config.group)
        if self.config.mode == "gather":
            self._gather(m, group)
        else:
            self._scatter(m, group)
        return m

    def _take_group(self, m: Module, group: "_CurrentGroup", done: Value) -> None:
        """Hold one bitmap word; take the next in the cycle in which this one is done."""
        m.d.comb += self.bitmap.ready.eq(~group.valid | done)
        m.d.comb += self.events.groups.eq(self.bitmap.valid & self.bitmap.ready)
        with m.If(self.bitmap.ready):
            m.d.sync += group.valid.eq(self.bitmap.valid)
        with m.If(self.bitmap.ready & self.bitmap.valid):
            m.d.sync += [
                group.mask.eq(self.bitmap.payload.mask),
                group.last.eq(self.bitmap.payload.last),
            ]

    def _gather(self, m: Module, group: "_CurrentGroup") -> None:
        width = self.config.width
        *below, count = prefix_counts(m, group.mask, limit=width)
        ranks = count_planes(m, below, width.bit_length())
        rest = Signal.like(group.mask)
        ends_group = Signal()
        ends_token = Signal()
        m.d.comb += [
            rest.eq(group.mask & where_equal(ranks, width)),
            ends_group.eq(rest == 0),
            ends_token.eq(ends_group & group.last),
        ]

        fire = Signal()
        free = Signal()
        pairs = payload_registers(m, self.pairs.payload, "pairs")
        m.d.comb += free.eq(~self.pairs.valid | self.pairs.ready)
        with m.If(free):
            m.d.sync += self.pairs.valid.eq(fire)
        indices = [_index_of(m, group.mask, ranks, slot) for slot in range(width)]
        with m.If(fire):
            m.d.sync += [
                group.mask.eq(rest),
                pairs.count.eq(count),
                pairs.group_last.eq(ends_group),
                pairs.last.eq(ends_token),
                *(register.eq(i) for register, i in zip(pairs.index, indices, strict=True)),
            ]
        self._take_group(m, group, fire & ends_group)

        if self.config.value_width:
            values = self._gather_values(m, group, count, fire, ends_token, free)
            with m.If(fire):
                for slot, value in enumerate(values):
                    m.d.sync += pairs.value[slot].eq(Mux(count > slot, value, 0))
        else:
            m.d.comb += fire.eq(group.valid & free)
        m.d.comb += [
            self.events.empty_groups.eq(fire & (count == 0)),
            self.events.values.eq(Mux(fire, count, 0)),
            self.events.stall_out.eq(self.pairs.valid & ~self.pairs.ready),
        ]

    def _gather_values(
        self,
        m: Module,
        group: "_CurrentGroup",
        count: Value,
        fire: Signal,
        ends_token: Signal,
        free: Signal,
    ) -> list[Value]:
        """The next ``width`` values, from what is left of the held beat and the incoming one."""
        width = self.config.width
        held = _HeldBeat(self.config)
        ahead = Signal(range(2 * self.config.beat))
        needs = Signal()
        m.d.comb += ahead.eq(held.offset + count)
        m.d.comb += needs.eq(ahead >= self.config.beat)
        m.d.comb += self.values.ready.eq(group.valid & free & needs)
        m.d.comb += fire.eq(group.valid & free & (~needs | self.values.valid))
        with m.If(fire):
            m.d.sync += held.offset.eq(Mux(ends_token, held.none, ahead[: len(held.offset)]))
        self._keep_beat(m, held, fire & needs)
        source = [*held.values, *_elements(self.values.payload.value)]
        return shift_down(m, source, held.offset, width)

    def _scatter(self, m: Module, group: "_CurrentGroup") -> None:
        config = self.config
        below = prefix_counts(m, group.mask)
        count = below[-1]
        held = _HeldBeat(config)
        ahead = Signal(range(config.beat + config.group))
        needed = Signal(range(config.group // config.beat + 1))
        taken = Signal.like(needed)
        m.d.comb += ahead.eq(held.offset + count)
        m.d.comb += needed.eq(ahead[len(held.offset) :])

        # collect the beats of the group; the final one passes straight on
        aligned = _Stage(m, config)
        none_missing = needed == taken
        one_missing = needed == taken + 1
        fire = Signal()
        accepted = Signal()
        m.d.comb += [
            self.values.ready.eq(group.valid & ~none_missing & (aligned.ready | ~one_missing)),
            accepted.eq(self.values.valid & self.values.ready),
            fire.eq(group.valid & aligned.ready & (none_missing | (one_missing & accepted))),
        ]
        beats = config.group // config.beat
        incoming = list(_elements(self.values.payload.value))
        window = list(held.values)
        for i in range(beats):
            kept = [
                Signal(config.value_width, name=f"kept_{i}_{j}", reset_less=True)
                for j in range(config.beat)
            ]
            if i < beats - 1:
                with m.If(accepted & (taken == i)):
                    m.d.sync += [a.eq(b) for a, b in zip(kept, incoming, strict=True)]
                window += [Mux(taken == i, b, a) for a, b in zip(kept, incoming, strict=True)]
            else:
                window += incoming
        with m.If(fire):
            m.d.sync += taken.eq(0)
            m.d.sync += held.offset.eq(Mux(group.last, held.none, ahead[: len(held.offset)]))
        with m.Elif(accepted):
            m.d.sync += taken.eq(taken + 1)
        self._keep_beat(m, held, fire & accepted)
        self._take_group(m, group, fire)

        # align to the first value of the group, then expand to the places of the mask
        values = to_planes(shift_down(m, window, held.offset, config.group))
        dense = payload_registers(m, self.dense.payload, "dense")
        m.d.comb += aligned.next.eq(~self.dense.valid | self.dense.ready)
        aligned.load(m, fire, values, group)
        with m.If(aligned.next):
            m.d.sync += self.dense.valid.eq(aligned.valid)
        with m.If(aligned.valid & aligned.next):
            below = prefix_counts(m, aligned.mask)
            places = to_elements(expand(m, aligned.mask, aligned.planes, below), config.group)
            m.d.sync += [dense.value[i].eq(value) for i, value in enumerate(places)]
            m.d.sync += dense.last.eq(aligned.last)
        m.d.comb += [
            self.events.empty_groups.eq(fire & (count == 0)),
            self.events.values.eq(Mux(fire, count, 0)),
            self.events.stall_out.eq(self.dense.valid & ~self.dense.ready),
        ]

    def _keep_beat(self, m: Module, held: "_HeldBeat", keep: Value) -> None:
        """Keep the incoming beat for the groups that follow; events of the values port."""
        with m.If(keep):
            incoming = list(_elements(self.values.payload.value))[1:]
            m.d.sync += [a.eq(b) for a, b in zip(held.values, incoming, strict=True)]
        m.d.comb += [
            self.events.value_beats.eq(self.values.valid & self.values.ready),
            self.events.stall_values.eq(~self.values.valid & self.values.ready),
        ]


class BitmapEncoder(Unit[BitmapConfig]):
    """Encode dense groups as bitmaps and packed non-zero values: the inverse of the decoder.

    ``dense`` brings G values a beat, ``last`` on a token's final group. Three stages: compress the
    non-zero values to the front; align them behind what earlier groups left in the open beat; emit.

    * Throughput: ``max(1, n)`` cycles a group, n = beats of values that the group completes (at a
      token's end a part-filled beat counts).
    * Latency: a group taken in cycle t gives its bitmap word in cycle t + 2.
    * Schedule: group j enters the output stage in cycle ``start[j] = start[j-1] + max(1, n[j-1])``,
      ``start[0] = 2``, gives its word in ``start[j]`` and its beats from ``start[j]`` on; group j
      is taken in cycle ``start[j-1] - 1``, group 0 in cycle 0.

    Stalls while one of the consumers is not ready; neither waits for the other.

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.bitmap.BitmapConfig`; ``value_width`` at least 1.
    """

    def __init__(self, config: BitmapConfig):
        if not config.value_width:
            self._MustUse__used = True  # there is nothing to use
            raise UserError("the encoder needs values: value_width must be at least 1, got 0.")
        super().__init__(config, ENCODER)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        packed = _Stage(m, config)
        count = Signal(range(config.group + 1), reset_less=True)
        self._compress(m, packed, count)
        self._emit(m, packed, count)
        return m

    def _compress(self, m: Module, packed: "_Stage", count: Signal) -> None:
        """Stage 1: the non-zero values of a group, moved to the front."""
        values = list(_elements(self.dense.payload.value))
        present = Signal(self.config.group)
        m.d.comb += present.eq(Cat(value.any() for value in values))
        below = prefix_counts(m, present)
        accepted = Signal()
        m.d.comb += [
            self.dense.ready.eq(packed.ready),
            accepted.eq(self.dense.valid & packed.ready),
        ]
        source = _CurrentGroup(self.config.group, present, self.dense.payload.last)
        packed.load(m, accepted, compress(m, present, to_planes(values), below), source)
        with m.If(accepted):
            m.d.sync += count.eq(below[-1])
        m.d.comb += [
            self.events.groups.eq(accepted),
            self.events.empty_groups.eq(accepted & (below[-1] == 0)),
            self.events.values.eq(Mux(accepted, below[-1], 0)),
        ]

    def _emit(self, m: Module, packed: "_Stage", count: Signal) -> None:
        """Stage 2: one bitmap word and the completed beats of a group; the rest stays behind."""
        config = self.config
        beat = config.beat
        offset = Signal(range(beat))  # values in the open beat
        total = Signal(range(config.group + beat))
        rest = Signal.like(offset)
        m.d.comb += [total.eq(offset + count), rest.eq(total[: len(offset)])]

        places = config.group + beat - 1
        opened = [Signal(places, name=f"open_bit{bit}") for bit in range(config.value_width)]
        beats = Signal(range(config.group // beat + 2))
        valid = Signal()
        sent = Signal()
        last = Signal()
        mask = Signal(config.group, reset_less=True)
        written = Signal()
        leaves = Signal()
        m.d.comb += [
            self.bitmap.valid.eq(valid & ~sent),
            self.bitmap.payload.mask.eq(mask),
            self.bitmap.payload.last.eq(last),
            self.values.valid.eq(valid & (beats != 0)),
            written.eq(self.values.valid & self.values.ready),
            leaves.eq((sent | self.bitmap.ready) & ((beats == 0) | (written & (beats == 1)))),
            packed.next.eq(~valid | leaves),
        ]
        for i, value in enumerate(to_elements(opened, min(beat, places))):
            m.d.comb += self.values.payload.value[i].eq(value)
        remaining = [
            Signal(places, name=f"remaining_bit{bit}") for bit in range(config.value_width)
        ]
        for plane, value in zip(opened, remaining, strict=True):
            m.d.comb += value.eq(Mux(written, plane[beat:], plane))
        moved = shift_up(m, packed.planes, offset, places)
        with m.If(self.bitmap.valid & self.bitmap.ready):
            m.d.sync += sent.eq(1)
        with m.If(written):
            m.d.sync += beats.eq(beats - 1)
            m.d.sync += [plane.eq(rest) for plane, rest in zip(opened, remaining, strict=True)]
        with m.If(packed.next):
            m.d.sync += [valid.eq(packed.valid), sent.eq(0)]
        enters = Signal()
        m.d.comb += enters.eq(packed.next & packed.valid)
        with m.If(enters):
            m.d.sync += [
                mask.eq(packed.mask),
                last.eq(packed.last),
                beats.eq(total[len(offset) :] + (packed.last & (rest != 0))),
                offset.eq(Mux(packed.last, 0, rest)),
            ]
            for plane, old, new in zip(opened, remaining, moved, strict=True):
                m.d.sync += plane.eq(new | old[: beat - 1])
        m.d.comb += [
            self.events.value_beats.eq(written),
            self.events.stall_out.eq(
                (self.bitmap.valid & ~self.bitmap.ready) | (self.values.valid & ~self.values.ready)
            ),
        ]


class _CurrentGroup:
    """The group under work: its bitmap, whether it ends a token, and whether there is one."""

    def __init__(self, size: int, mask: Value | None = None, last: Value | None = None):
        self.valid = Signal(name="group_valid")
        self.mask = Signal(size, name="group_mask", reset_less=True) if mask is None else mask
        self.last = Signal(name="group_last", reset_less=True) if last is None else last


class _HeldBeat:
    """What is left of the latest beat of values.

    Its value 0 is always used at once. ``offset`` points at the first value not yet used, one less
    than its place in the beat; all ones means that nothing is left.
    """

    def __init__(self, config: BitmapConfig):
        self.none = config.beat - 1
        self.offset = Signal(range(config.beat), init=self.none, name="held_offset")
        self.values = [
            Signal(config.value_width, name=f"held_{i}", reset_less=True)
            for i in range(1, config.beat)
        ]


class _Stage:
    """A pipeline register for a group: values as bit planes, mask and last, with a handshake."""

    def __init__(self, m: Module, config: BitmapConfig):
        group, bits = config.group, range(config.value_width)
        self.valid = Signal(name="stage_valid")
        self.planes = [Signal(group, name=f"stage_bit{bit}", reset_less=True) for bit in bits]
        self.mask = Signal(group, name="stage_mask", reset_less=True)
        self.last = Signal(name="stage_last", reset_less=True)
        self.next = Signal(name="stage_next")
        self.ready = Signal(name="stage_ready")
        m.d.comb += self.ready.eq(~self.valid | self.next)

    def load(self, m: Module, fire: Value, planes: Planes, group: _CurrentGroup) -> None:
        """Take a group when ``fire``; ``fire`` implies ``ready``."""
        with m.If(self.ready):
            m.d.sync += self.valid.eq(fire)
        with m.If(fire):
            m.d.sync += [self.mask.eq(group.mask), self.last.eq(group.last)]
            m.d.sync += [a.eq(b) for a, b in zip(self.planes, planes, strict=True)]


def _elements(array: data.View) -> list[Value]:
    """Elements of an array as a list of values."""
    return [array[i] for i in range(array.shape().length)]


def _index_of(m: Module, mask: Value, ranks: Planes, rank: int) -> Value:
    """Index of the set bit that has ``rank`` set bits below it; 0 if there is none."""
    chosen = Signal(len(mask), name=f"chosen_{rank}")
    m.d.comb += chosen.eq(mask & where_equal(ranks, rank))
    index = []
    for bit in range((len(mask) - 1).bit_length()):
        index.append(Signal(name=f"index_{rank}_bit{bit}"))
        m.d.comb += index[bit].eq(Cat(c for i, c in enumerate(chosen) if i >> bit & 1).any())
    return Cat(*index)
