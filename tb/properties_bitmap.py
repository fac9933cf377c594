"""Properties of the bitmap decoder and encoder, for :mod:`nibbleforge.sim.verify.formal`.

Written from the definitions in :mod:`nibbleforge.golden.bitmap`; nothing here looks inside a unit.
All inputs are free in every cycle, offers may be withdrawn, and a reset may come at any time.

One group is chosen freely when it enters, and for the whole run one element of a group and one
lane of a beat. The specification counts the groups and beats ahead of the chosen ones and checks
them when they leave. As the choice is free, what holds for the chosen ones holds for all: nothing
is lost, repeated, invented or reordered.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.hdl._ast import AnyConst, AnySeq  # not exported by amaranth.hdl
from amaranth.lib import wiring

from ..golden.bitmap import BitmapConfig
from .properties import passes, prove, reach, set_free, waits_unchanged


class DecoderProperties(Elaboratable):
    """A decoder with free inputs beside its specification.

    Parameters
    ----------
    unit
        A component with the ports of :class:`nibbleforge.hw.bitmap.BitmapDecoder`.
    config
        What the specification expects; the unit's configuration unless it is to be wrong.
    """

    def __init__(self, unit: wiring.Component, config: BitmapConfig | None = None):
        self.unit = unit
        self.config = config or unit.config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, unit = self.config, self.unit
        gathers = config.mode == "gather"
        out = unit.pairs if gathers else unit.dense
        set_free(m, unit)
        waits_unchanged(m, "output", out)

        leaves = passes(out) & (out.payload.group_last if gathers else 1)
        groups = _Queue(m, "groups", 2 if gathers else 3, passes(unit.bitmap), leaves)
        chosen = _Chosen(m, config, groups, Value.cast(unit.bitmap.payload.mask))
        prove(m, "no output without a group", ~out.valid | (groups.length != 0))
        prove(m, "an empty unit takes a group", unit.bitmap.ready | (groups.length != 0))

        value = _DecodedValue(m, config, chosen, unit) if config.value_width else None
        shown = Signal()
        m.d.comb += shown.eq(out.valid & (chosen.place == 1))
        if gathers:
            self._check_pairs(m, chosen, value, shown)
        elif value is not None:  # as always: scatter needs values
            self._check_dense(m, chosen, value, shown)

        supplied = 1 if value is None else unit.values.valid | (value.lacking == 0)
        turn = (chosen.place == 1) & supplied
        latency = 1 if gathers else 1 + config.group // config.beat
        _within(m, "a supplied group is offered", latency, turn, out.valid)
        _within(m, "a supplied group leaves", latency, turn & out.ready, passes(out))
        self._cover(m, chosen, value, leaves)
        return m

    def _check_pairs(
        self, m: Module, chosen: "_Chosen", value: "_DecodedValue | None", shown: Signal
    ) -> None:
        """Beats of the chosen group: the next ``width`` set bits with their values."""
        width, pairs = self.config.width, self.unit.pairs.payload
        todo = chosen.remember(m, "todo", chosen.mask)
        rest: Value = todo
        for slot in range(width):
            used, index = Signal(name=f"used_{slot}"), pairs.index[slot]
            m.d.comb += used.eq(rest != 0)
            prove(m, f"index {slot} is the next set bit", ~shown | (index == _lowest(rest)))
            if value is not None:
                right = Mux(used, value.suits(index, pairs.value[slot]), pairs.value[slot] == 0)
                prove(m, f"value {slot} belongs to its bit", ~shown | right)
            rest = _without_lowest(m, rest, f"rest_{slot}")
        with m.If(shown & self.unit.pairs.ready):
            m.d.sync += todo.eq(rest)

        present = _count(todo)
        ends = rest == 0
        last = ends & chosen.remember(m, "last", self.unit.bitmap.payload.last)
        count = Mux(present > width, width, present)
        prove(m, "count is right", ~shown | (pairs.count == count))
        prove(m, "group last is right", ~shown | (pairs.group_last == ends))
        prove(m, "last is right", ~shown | (pairs.last == last))

    def _check_dense(
        self, m: Module, chosen: "_Chosen", value: "_DecodedValue", shown: Signal
    ) -> None:
        """The chosen element of the chosen group: its value, or 0."""
        dense = self.unit.dense.payload
        present = chosen.remember(m, "present", chosen.mask.bit_select(chosen.element, 1))
        last = chosen.remember(m, "last", self.unit.bitmap.payload.last)
        got = dense.value[chosen.element]
        right = Mux(present, value.suits(chosen.element, got), got == 0)
        prove(m, "value belongs to its bit", ~shown | right)
        prove(m, "last is right", ~shown | (dense.last == last))

    def _cover(
        self, m: Module, chosen: "_Chosen", value: "_DecodedValue | None", leaves: Value
    ) -> None:
        """Histories of the chosen group that must be possible."""
        last = passes(self.unit.bitmap) & self.unit.bitmap.payload.last
        histories = {
            "an empty group": chosen.mask == 0,
            "a full group": chosen.mask.all(),
            "a group behind another": chosen.is_behind,
            "a group of a later token": _ever(m, last),
        }
        if value is not None:
            histories["a value of a beat to come"] = value.follows & ~value.is_here
        if value is not None and self.config.beat > 1:
            dropped = _ever(m, last & (value.packing.rest != 0))
            histories |= {
                "a value of a beat taken earlier": value.follows & value.is_here,
                "a value behind a dropped rest": value.follows & dropped,
            }
        for name, history in histories.items():
            happened = chosen.remember(m, name.replace(" ", "_"), history)
            reach(m, f"{name} leaves", happened & (chosen.place == 1) & leaves)


class EncoderProperties(Elaboratable):
    """An encoder with free inputs beside its specification.

    Parameters
    ----------
    unit
        A component with the ports of :class:`nibbleforge.hw.bitmap.BitmapEncoder`.
    config
        What the specification expects; the unit's configuration unless it is to be wrong.
    """

    def __init__(self, unit: wiring.Component, config: BitmapConfig | None = None):
        self.unit = unit
        self.config = config or unit.config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, unit = self.config, self.unit
        dense = unit.dense.payload
        set_free(m, unit)
        waits_unchanged(m, "bitmap", unit.bitmap)
        waits_unchanged(m, "values", unit.values)

        mask = Cat(dense.value[i] != 0 for i in range(config.group))
        groups = _Queue(m, "groups", 2, passes(unit.dense), passes(unit.bitmap))
        chosen = _Chosen(m, config, groups, mask)
        packing = _Packing(m, config, mask, dense.last, passes(unit.dense))
        completed = packing.total // config.beat + (dense.last & (packing.rest != 0))
        most = 2 * (config.group // config.beat) + (config.beat > 1)
        beats = _Queue(m, "beats", most, Mux(passes(unit.dense), completed, 0), passes(unit.values))
        prove(m, "no word without a group", ~unit.bitmap.valid | (groups.length != 0))
        prove(
            m, "no values before their beat is complete", ~unit.values.valid | (beats.length != 0)
        )
        prove(
            m, "an empty unit takes a group", unit.dense.ready | (groups.length + beats.length != 0)
        )

        self._check_word(m, chosen)
        self._check_values(m, chosen, packing, beats)
        self._check_independence(m, chosen, beats, completed)
        return m

    def _check_word(self, m: Module, chosen: "_Chosen") -> None:
        """The word of the chosen group: the bit of the chosen element, and last."""
        word = self.unit.bitmap.payload
        present = chosen.remember(m, "present", chosen.mask.bit_select(chosen.element, 1))
        last = chosen.remember(m, "last", self.unit.dense.payload.last)
        shown = self.unit.bitmap.valid & (chosen.place == 1)
        prove(m, "bit is set where a value is", ~shown | (word.mask[chosen.element] == present))
        prove(m, "last is right", ~shown | (word.last == last))

    def _check_values(
        self, m: Module, chosen: "_Chosen", packing: "_Packing", beats: "_Queue"
    ) -> None:
        """Either the chosen element, in its beat and lane, or the padding of the token's end."""
        config, values, dense = self.config, self.unit.values, self.unit.dense.payload
        lane, pads = _any(m, "lane", range(config.beat)), _any(m, "pads", 1)
        position = packing.position(chosen)
        is_value = chosen.mask.bit_select(chosen.element, 1) & (position % config.beat == lane)
        is_padding = dense.last & (packing.rest != 0) & (lane >= packing.rest)
        number = Mux(pads, packing.total, position) // config.beat
        place = beats.place(m, "value_place", chosen.enters, number + 1)
        follows = chosen.remember(m, "follows", Mux(pads, is_padding, is_value))
        value = chosen.remember(m, "value", Mux(pads, 0, dense.value[chosen.element]))
        shown = values.valid & (place == 1) & follows
        got = values.payload.value[lane]
        prove(m, "value is in its lane", ~shown | pads | (got == value))
        prove(m, "tail is padded with zeros", ~shown | ~pads | (got == value))

        histories = {
            "a value alone": ~pads & (packing.before == 0),
            "a value of a full group": ~pads & chosen.mask.all(),
            "a value behind another group": ~pads & chosen.is_behind,
        }
        if config.beat > 1:
            histories |= {
                "a value behind others": ~pads & (packing.before != 0),
                "padding": pads,
                "padding of an empty group": pads & (chosen.mask == 0),
            }
        for name, history in histories.items():
            happened = chosen.remember(m, name.replace(" ", "_"), history)
            reach(m, f"{name} leaves", happened & shown & values.ready)

    def _check_independence(
        self, m: Module, chosen: "_Chosen", beats: "_Queue", completed: Value
    ) -> None:
        """Once all before it is gone, a group offers word and values, whoever is ready."""
        ahead = beats.place(m, "beats_ahead", chosen.enters, 0)
        left = beats.place(m, "beats_left", chosen.enters, completed)
        turn = ahead == 0
        word = (chosen.place == 1) & turn
        values = (chosen.place <= 1) & turn & (left != 0)
        _within(m, "a word is offered", 1, word, self.unit.bitmap.valid)
        _within(m, "values are offered", 1, values, self.unit.values.valid)


class _Queue:
    """Things inside the unit, counted.

    Never more than ``limit``, and none leaves that did not enter in an earlier cycle.
    """

    def __init__(self, m: Module, name: str, limit: int, enter: Value, leaves: Value):
        self.enters, self.leaves = enter, leaves
        self.limit = limit
        self.length = Signal(range(limit + (1 << len(enter))), name=f"{name}_inside")
        m.d.sync += self.length.eq(self.length + enter - leaves)
        prove(m, f"at most {limit} {name} inside", self.length <= limit)
        prove(m, f"no {name} leave that did not enter", ~leaves | (self.length != 0))
        reach(m, f"{limit} {name} inside", self.length == limit)

    def place(self, m: Module, name: str, enters: Value, behind: Value | int) -> Signal:
        """Place of something that enters now, ``behind`` places behind what is inside.

        Counts down as things leave: the thing at place 1 leaves next; 0: it left, or never entered.
        """
        start = self.length + behind
        place = Signal(len(start), name=name)
        now = Mux(enters, start, place)
        m.d.sync += place.eq(now - (self.leaves & (now != 0)))
        return place


class _Chosen:
    """The chosen group and element."""

    def __init__(self, m: Module, config: BitmapConfig, groups: _Queue, mask: Value):
        self.enters = Signal(name="chosen_enters")
        """The group enters in this cycle."""
        self.element = _any(m, "element", range(config.group))
        """The element, for the whole run."""
        self.mask = mask
        """Bitmap of the group while it enters."""
        was = Signal(name="was_chosen")
        is_chosen = Signal()
        m.d.comb += is_chosen.eq(AnySeq(1))
        m.d.comb += self.enters.eq(is_chosen & ~was & groups.enters)
        m.d.sync += was.eq(was | self.enters)
        self.place = groups.place(m, "chosen_place", self.enters, 1)
        """1 while its outputs are next."""
        self.is_behind = groups.length - groups.leaves != 0
        """Another group is still ahead while it enters."""

    def remember(self, m: Module, name: str, value: Value) -> Signal:
        """What a value was when the group entered."""
        memory = Signal(len(Value.cast(value)), name=f"chosen_{name}")
        with m.If(self.enters):
            m.d.sync += memory.eq(value)
        return memory


class _Packing:
    """Where values lie in the packed stream: numbered from the beat that is open."""

    def __init__(self, m: Module, config: BitmapConfig, mask: Value, last: Value, enters: Value):
        self.before = Signal(range(config.beat), name="values_before")
        """Values of the token in the open beat, before the group that enters."""
        self.total = Signal(range(config.beat + config.group), name="values_after")
        """The same after it."""
        self.rest = Signal(range(config.beat), name="values_rest")
        """Those of them in a beat that is not full."""
        m.d.comb += self.total.eq(self.before + _count(mask))
        m.d.comb += self.rest.eq(self.total % config.beat)
        with m.If(enters):
            m.d.sync += self.before.eq(Mux(last, 0, self.rest))

    def position(self, chosen: _Chosen) -> Value:
        """Number of the chosen element's value."""
        below = Cat(chosen.mask[i] & (i < chosen.element) for i in range(len(chosen.mask)))
        return self.before + _count(below)


class _DecodedValue:
    """The value of the chosen element, if it is in the chosen lane of a beat."""

    def __init__(self, m: Module, config: BitmapConfig, chosen: _Chosen, unit: wiring.Component):
        word, values = unit.bitmap.payload, unit.values
        self.packing = _Packing(m, config, chosen.mask, word.last, passes(unit.bitmap))
        is_open = self.packing.before != 0
        opened = (self.packing.total + config.beat - 1) // config.beat - is_open
        needed = Mux(passes(unit.bitmap), opened, 0)
        beats = _Queue(m, "beats", config.group // config.beat, needed, passes(values))
        self.lacking = beats.place(m, "beats_lacking", chosen.enters, opened)
        """Beats that must still come for the chosen group."""

        lane = _any(m, "lane", range(config.beat))
        position = self.packing.position(chosen)
        self.follows = chosen.mask.bit_select(chosen.element, 1) & (position % config.beat == lane)
        """The value is in the lane; while the group enters."""
        behind = position // config.beat + ~is_open
        self.is_here = beats.length + behind == 0
        """The beat of the value was taken before the group; while the group enters."""
        self._element = chosen.element
        self._follows = chosen.remember(m, "follows", self.follows)
        self._place = beats.place(m, "value_place", chosen.enters, behind)
        self._value = Signal(config.value_width, name="chosen_value")
        newest, kept = Signal.like(self._value), Signal.like(self._value)
        m.d.comb += newest.eq(Mux(passes(values), values.payload.value[lane], kept))
        m.d.sync += kept.eq(newest)
        with m.If(chosen.enters | (self._place != 0)):
            m.d.sync += self._value.eq(newest)

    def suits(self, index: Value, value: Value) -> Value:
        """Whether the chosen group may show this value at this element."""
        is_it = self._follows & (index == self._element)
        return ~is_it | ((self._place == 0) & (value == self._value))


def _any(m: Module, name: str, shape: range | int) -> Signal:
    """A value that is free but the same in all cycles."""
    value = Signal(shape, name=name)
    if len(value):
        m.d.comb += value.eq(AnyConst(len(value)))
    return value


def _within(m: Module, name: str, cycles: int, offered: Value, happens: Value) -> None:
    """Something lets one wait for at most ``cycles`` cycles in a row."""
    waited = Signal(range(cycles + 1), name=f"{name.replace(' ', '_')}_after")
    idle = offered & ~happens
    m.d.sync += waited.eq(Mux(idle, waited + 1, 0))
    prove(m, f"{name} in time", ~idle | (waited < cycles))
    reach(m, f"{name} after {cycles}", waited == cycles)


def _ever(m: Module, event: Value) -> Signal:
    """Whether something happened in an earlier cycle."""
    happened = Signal(name="happened")
    m.d.sync += happened.eq(happened | event)
    return happened


def _count(mask: Value) -> Value:
    """Set bits; halves are counted apart, or the sum would be as wide as the mask."""
    half = len(mask) // 2
    return _count(mask[:half]) + _count(mask[half:]) if half else mask


def _lowest(mask: Value) -> Value:
    """Index of the lowest set bit; 0 if there is none."""
    index: Value | int = 0
    for i in reversed(range(1, len(mask))):
        index = Mux(mask[i], i, index)
    return Mux(mask[0], 0, index)


def _without_lowest(m: Module, mask: Value, name: str) -> Signal:
    """All but the lowest set bit."""
    rest = Signal(len(mask), name=name)
    m.d.comb += rest.eq(mask & (mask - 1))
    return rest
