"""Post-processors of arrays on groups: sums to FP32, scaled, added up, handed on as results.

:class:`PostProcessor` is the datapath, :func:`place_post` puts those of a row in place, and
:class:`PostSequence` controls all of them.
"""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, ValueLike, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ...golden.anda.config import GroupArrayConfig
from ...golden.anda.dots import OFFSET
from ...golden.anda.format import BIAS, EXPONENT_BITS
from ...golden.arithmetic.floating import FloatAddConfig, FloatMultiplyConfig, IntToFloatConfig
from ...golden.dequantizer import SCALE_BITS
from ..lib.base import Part, Unit
from ..lib.delays import delayed, stages_in_use
from ..lib.emission import place
from ..lib.floating import FP32_BITS, FloatAdd, FloatMultiply, Fp16ToFp32, IntToFloat
from ..lib.streams import RowDrain, RowDrainConfig

ADJUST_BITS = 6
"""Bits of a signed exponent ``E - 15 - (M - 1)``."""


def product_layout(config: GroupArrayConfig) -> data.StructLayout:
    """What goes along with the products of a cycle.

    ``position``: which of the processors that share; ``minima``: the pass of the minima;
    ``from_zero``: sums start from +0; ``final``: sums are results; ``last``: final position.
    """
    position = max(1, (config.fp_share - 1).bit_length())
    flags = dict.fromkeys(("valid", "minima", "from_zero", "final", "last"), 1)
    return data.StructLayout({"position": position, **flags})


def stages_of(config: GroupArrayConfig) -> int:
    """Stages from a sum to its product in the running sum."""
    return config.convert_latency + config.multiply_latency + config.add_latency


class PostProcessor(Part[GroupArrayConfig]):
    """``sum = sum + fl(value) * 2^adjust * factor`` for processors in turn, and their results.

    ``start``, ``added`` and ``done`` tell whose value enters, meets its running sum, and is done;
    ``enable`` which of the stages between take one.
    Final sums become results; with ``pull`` these take those of the row below.
    """

    def __init__(self, config: GroupArrayConfig):
        share, product = config.fp_share, product_layout(config)
        ports = {
            "values": In(share * config.accumulator_bits),
            "adjust": In(signed(ADJUST_BITS)),
            "factors": In(share * FP32_BITS),
            "enable": In(stages_of(config)),
            "start": In(product),
            "added": In(product),
            "done": In(product),
            "pull": In(1),
            "below": In(share * FP32_BITS),
            "results": Out(share * FP32_BITS),
        }
        if config.asymmetric:
            ports["ones"] = In(signed(config.ones_bits))
        super().__init__(config, ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        convert = IntToFloat(
            IntToFloatConfig(bits=config.value_bits, stages=config.convert_latency)
        )
        multiply = FloatMultiply(
            FloatMultiplyConfig(significand=11, bounded=True, stages=config.multiply_latency)
        )
        adder = FloatAdd(FloatAddConfig(bounded=True, stages=config.add_latency))
        place(m, platform, "convert", convert)
        place(m, platform, "multiply", multiply)
        place(m, platform, "add", adder)
        factor = Signal(FP32_BITS, name="start_factor")
        m.d.comb += [
            factor.eq(_chosen(self.factors, FP32_BITS, self.start.position)),
            Cat(convert.enable, multiply.enable, adder.enable).eq(self.enable),
            convert.value.eq(self._value()),
            multiply.a.eq(self._scaled(m, convert.result)),
            multiply.b.eq(self._with_number(m, factor, "factor")),
            adder.a.eq(self._total(m, adder.result)),
            adder.b.eq(multiply.result),
        ]
        self._hand_on(m, adder.result)
        return m

    def _value(self) -> Value:
        """Sum of the processor that is on turn, or that of the activations alone."""
        config = self.config
        value = _chosen(self.values, config.accumulator_bits, self.start.position).as_signed()
        if not config.asymmetric:
            return value
        return Mux(self.start.minima, self.ones, value + OFFSET * self.ones)

    def _scaled(self, m: Module, number: Value) -> Value:
        """Times ``2^adjust``: no result leaves the normal numbers, zero stays zero."""
        adjust = self._with_number(m, self.adjust, "adjust")
        scaled = Signal(data.StructLayout({"fraction": 23, "exponent": 8, "sign": 1}))
        m.d.comb += scaled.as_value().eq(number)
        exponent = Signal(8)
        adjusted = Signal.like(exponent, name="adjusted_exponent")
        sign = adjust[-1].replicate(len(exponent) - ADJUST_BITS)
        m.d.comb += [
            exponent.eq(number[23:31]),
            adjusted.eq(exponent + Cat(adjust, sign)),
        ]
        with m.If(exponent != 0):
            m.d.comb += scaled.exponent.eq(adjusted)
        return scaled.as_value()

    def _with_number(self, m: Module, value: Value, name: str) -> Value:
        """As late as the converted number."""
        stages = self.config.convert_latency
        return delayed(m, value, stages, name, self.enable[:stages], reset_less=True)

    def _total(self, m: Module, result: Value) -> Value:
        """Running sum that the product meets; a result may be needed as soon as it is there."""
        config, done, added = self.config, self.done, self.added
        sums = [Signal(FP32_BITS, name=f"sum_{i}", reset_less=True) for i in range(config.fp_share)]
        for i, kept in enumerate(sums):
            with m.If(done.valid & (done.position == i)):
                m.d.sync += kept.eq(result)
        total = Signal(FP32_BITS, name="running_sum")
        m.d.comb += total.eq(Array(sums)[added.position] if len(sums) > 1 else sums[0])
        if config.fp_share <= config.add_latency:
            as_it_comes = done.valid & (done.position == added.position)
            return Mux(added.from_zero, 0, Mux(as_it_comes, result, total))
        return Mux(added.from_zero, 0, total)

    def _hand_on(self, m: Module, result: Value) -> None:
        """Results of a tile, until they have left."""
        done = self.done
        is_result = Signal()
        m.d.comb += is_result.eq(done.valid & done.final)
        for i in range(self.config.fp_share):
            kept = Signal(FP32_BITS, name=f"result_{i}", reset_less=True)
            with m.If(is_result & (done.position == i)):
                m.d.sync += kept.eq(result)
            with m.Elif(self.pull):
                m.d.sync += kept.eq(self.below.word_select(i, FP32_BITS))
            m.d.comb += self.results.word_select(i, FP32_BITS).eq(kept)


def _chosen(words: Value, bits: int, position: Value) -> Value:
    """One of several words."""
    each = [words[i : i + bits] for i in range(0, len(words), bits)]
    return Array(each)[position] if len(each) > 1 else words


def row_ports(config: GroupArrayConfig) -> dict[str, object]:
    """Ports of a row for its post-processors, as :class:`PostProcessor` has them."""
    product = product_layout(config)
    words = config.columns * FP32_BITS
    return {
        "adjust": In(signed(ADJUST_BITS)),
        "factors": In(words),
        "enable": In(stages_of(config)),
        "start": In(product),
        "added": In(product),
        "done": In(product),
        "pull": In(1),
        "below": In(words),
        "results": Out(words),
    }


def place_post(
    m: Module,
    platform: object,
    row: Part[GroupArrayConfig],
    values: Value,
    ones: Value | None,
) -> None:
    """Put the post-processors of a row in place; ``ones`` only for asymmetric weights."""
    share = row.config.fp_share
    words = share * FP32_BITS
    for q in range(row.config.columns // share):
        post = PostProcessor(row.config)
        place(m, platform, f"post_{q}", post)
        m.d.comb += [
            post.values.eq(values.word_select(q, len(post.values))),
            post.adjust.eq(row.adjust),
            post.factors.eq(row.factors.word_select(q, words)),
            post.enable.eq(row.enable),
            post.start.eq(row.start),
            post.added.eq(row.added),
            post.done.eq(row.done),
            post.pull.eq(row.pull),
            post.below.eq(row.below.word_select(q, words)),
            row.results.word_select(q, words).eq(post.results),
        ]
        if ones is not None:
            m.d.comb += post.ones.eq(ones)


class GroupRegisters:
    """What came with a group's first beat: exponents, whether it ends the tile, scales."""

    def __init__(self, config: GroupArrayConfig):
        exponents = data.ArrayLayout(EXPONENT_BITS, config.rows)
        scales = data.ArrayLayout(SCALE_BITS, config.columns)
        self.exponent = Signal(exponents, name="exponents", reset_less=True)
        self.ends_tile = Signal(name="group_ends_tile", reset_less=True)
        self.scales = {
            name: Signal(scales, name=f"next_{name}", reset_less=True)
            for name in (("d", "minimum") if config.asymmetric else ("d",))
        }

    def there(self, unit: Unit) -> Value:
        """Whether the unit's ports have what comes with the next group."""
        return unit.exponent.valid & (~unit.exponent.payload.fresh | unit.scale.valid)

    def take(self, m: Module, unit: Unit, take: Value) -> None:
        """Take it from the unit's ports."""
        exponent = unit.exponent.payload
        fresh = take & exponent.fresh
        m.d.comb += [
            unit.exponent.ready.eq(take),
            unit.scale.ready.eq(fresh),
            unit.events.scales.eq(unit.scale.valid & unit.scale.ready),
        ]
        with m.If(take):
            m.d.sync += [self.exponent.eq(exponent.value), self.ends_tile.eq(exponent.last)]
        with m.If(fresh):
            for name, words in self.scales.items():
                m.d.sync += words.eq(getattr(unit.scale.payload, name))


class PostSequence:
    """Which products start in a cycle, what goes along with them, and rows that leave.

    Parameters
    ----------
    m, platform, unit
        Module of the array, its platform and the array; events of the post-processors are driven
        here.
    group
        What came with the group whose sums become values with ``load``.
    load
        The group's sums are there in the next cycle; not while ``busy``.

    Attributes
    ----------
    busy
        Whether the group before is still being taken.
    drain
        Rows of a tile still to leave; the array drives ``pull``, or :meth:`hand_over`.
    """

    def __init__(self, m: Module, platform: object, unit: Unit, group: GroupRegisters, load: Value):
        config = unit.config
        self.config, self._group, self._load = config, group, load
        self.drain = RowDrain(RowDrainConfig(rows=config.rows))
        place(m, platform, "drain", self.drain)
        self._start = Signal(product_layout(config), name="start")
        self.busy = Signal(name="post_busy")
        m.d.comb += self.busy.eq(self._sequence(m, unit.events))
        before_sum = config.convert_latency + config.multiply_latency
        self._added = delayed(m, self._start, before_sum, "added")
        self._done = delayed(m, self._added, config.add_latency, "done")
        self._in_use = stages_in_use(m, self._start.valid, stages_of(config), "in_use")
        m.d.comb += self.drain.load.eq(self._done.valid & self._done.final & self._done.last)

    def _sequence(self, m: Module, events: data.View) -> Value:
        """Start products; whether the group before is still being taken."""
        config, start, load = self.config, self._start, self._load
        full = Signal()
        minima = Signal()
        from_zero = Signal(init=1)
        ends_tile = Signal()
        draining = Signal()
        position = Signal.like(start.position)
        remaining = Signal(range(max(2, config.period - config.fp_share + 1)))
        last_pass = minima if config.asymmetric else Const(1, 1)
        ready = Signal()
        held = Signal()
        ends = Signal()
        final = Signal(name="ends_sums")
        last = Signal()
        m.d.comb += [
            ready.eq(full & (remaining == 0)),
            final.eq(ends_tile & last_pass),
            last.eq(position == config.fp_share - 1),
            held.eq(final & (position == 0) & draining),
            start.valid.eq(ready & ~held),
            start.position.eq(position),
            start.minima.eq(minima),
            start.from_zero.eq(from_zero),
            start.final.eq(final),
            start.last.eq(last),
            ends.eq(ready & ~held & last & last_pass),
            events.products.eq(Mux(start.valid, config.products, 0)),
            events.tiles.eq(start.valid & start.last & start.final),
            events.stall_drain.eq(ready & held),
        ]
        with m.If(load):
            m.d.sync += [full.eq(1), ends_tile.eq(self._group.ends_tile)]
        with m.Elif(ends):
            m.d.sync += full.eq(0)
        with m.If(start.valid):
            m.d.sync += position.eq(Mux(start.last, 0, position + 1))
        with m.If(start.valid & start.last):
            m.d.sync += from_zero.eq(start.final)
            if config.asymmetric:
                m.d.sync += minima.eq(~minima)
        if config.period > config.fp_share:  # the next pass needs sums that are not there yet
            with m.If(start.valid & start.last & ~start.final):
                m.d.sync += remaining.eq(config.period - config.fp_share)
            with m.Elif(remaining != 0):
                m.d.sync += remaining.eq(remaining - 1)
        with m.If(start.valid & start.final & (position == 0)):
            m.d.sync += draining.eq(1)
        with m.Elif(self.drain.pull & self.drain.last):
            m.d.sync += draining.eq(0)
        return full & ~ends

    def factors(self, m: Module, platform: object) -> Signal:
        """Scales, or minima, of all columns in FP32 for the group that is being taken."""
        factors = []
        for c in range(self.config.columns):
            kept = []
            for name, words in self._group.scales.items():
                word = Signal(SCALE_BITS, name=f"{name}_{c}", reset_less=True)
                with m.If(self._load):
                    m.d.sync += word.eq(words[c])
                kept.append(word)
            widen = Fp16ToFp32()
            place(m, platform, f"widen_{c}", widen)
            chosen = Mux(self._start.minima, kept[1], kept[0]) if len(kept) > 1 else kept[0]
            m.d.comb += widen.value.eq(chosen)
            factors.append(widen.result)
        together = Signal(len(factors) * FP32_BITS, name="factors")
        m.d.comb += together.eq(Cat(factors))
        return together

    def serve(
        self, m: Module, row: Part, index: int, shift: ValueLike, factors: Value, below: Value
    ) -> Value:
        """Control a row; ``shift`` is M - 1 of the group that is loaded. Returns its results."""
        adjust = Signal(signed(ADJUST_BITS), name=f"adjust_{index}", reset_less=True)
        with m.If(self._load):
            m.d.sync += adjust.eq(self._group.exponent[index] - BIAS - shift)
        m.d.comb += [
            row.adjust.eq(adjust),
            row.factors.eq(factors),
            row.enable.eq(self._in_use),
            row.start.eq(self._start),
            row.added.eq(self._added),
            row.done.eq(self._done),
            row.pull.eq(self.drain.moves[index]),
            row.below.eq(below),
        ]
        return row.results

    def hand_over(self, m: Module, unit: Unit, row: Value) -> None:
        """Row 0 of what is there to the unit's port, as it is."""
        y = unit.y
        m.d.comb += [
            y.valid.eq(self.drain.valid),
            y.payload.value.as_value().eq(row),
            y.payload.last.eq(self.drain.last),
            self.drain.pull.eq(y.valid & y.ready),
            unit.events.y_beats.eq(self.drain.pull),
        ]
