"""Anda: the bit-serial array."""

from functools import reduce
from operator import and_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..golden.anda import ARRAY
from ..golden.anda_config import AndaConfig
from ..golden.anda_format import BIAS
from ..golden.dequantizer import SCALE_BITS
from ..golden.floating import FloatToHalfConfig
from ..golden.layer import WEIGHT_BITS
from .adders import carry_save
from .anda_post import ADJUST_BITS, PostProcessor, product_layout
from .anda_processor import (
    BitPlaneProcessors,
    OnesProcessor,
    WeightRegisters,
    control_layout,
    weights_layout,
)
from .base import Part, Unit
from .emission import place
from .floating import FP32_BITS, FloatToHalf, Fp16ToFp32


class AndaRow(Part[AndaConfig]):
    """C bit-plane processors that share a token's planes, and their post-processors."""

    def __init__(self, config: AndaConfig):
        product = product_layout(config)
        weights = config.group if config.weight_registers == "column" else config.weight_beat
        ports = {
            "bits": In(config.group),
            "sign": In(config.group),
            "control": In(control_layout),
            "w": In(config.columns * weights * WEIGHT_BITS),
            "adjust": In(signed(ADJUST_BITS)),
            "factors": In(config.columns * FP32_BITS),
            "start": In(product),
            "added": In(product),
            "done": In(product),
            "pull": In(1),
            "below": In(config.columns * FP32_BITS),
            "results": Out(config.columns * FP32_BITS),
        }
        if config.weight_registers == "processor":
            ports["weights"] = In(weights_layout)
        super().__init__(config, ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        positive, negative = Signal(config.group), Signal(config.group)
        m.d.comb += [positive.eq(self.bits & ~self.sign), negative.eq(self.bits & self.sign)]
        correction = Signal(config.group.bit_length())
        m.d.comb += correction.eq(carry_save(m, {0: [negative]}, len(correction))[0])
        processors = BitPlaneProcessors(config)
        place(m, platform, "processors", processors)
        m.d.comb += [
            processors.positive.eq(positive),
            processors.negative.eq(negative),
            processors.correction.eq(correction),
            processors.control.eq(self.control),
            processors.w.eq(self._weights(m, platform)),
        ]
        ones = self._ones(m, platform, positive, correction) if config.asymmetric else None
        share = config.fp_share
        for q in range(config.columns // share):
            post = PostProcessor(config)
            place(m, platform, f"post_{q}", post)
            words = share * FP32_BITS
            m.d.comb += [
                post.values.eq(processors.values.word_select(q, len(post.values))),
                post.adjust.eq(self.adjust),
                post.factors.eq(self.factors.word_select(q, words)),
                post.start.eq(self.start),
                post.added.eq(self.added),
                post.done.eq(self.done),
                post.pull.eq(self.pull),
                post.below.eq(self.below.word_select(q, words)),
                self.results.word_select(q, words).eq(post.results),
            ]
            if ones is not None:
                m.d.comb += post.ones.eq(ones)
        return m

    def _weights(self, m: Module, platform: object) -> Value:
        """Active weights: the columns', or the row's own."""
        if self.config.weight_registers == "column":
            return self.w
        registers = WeightRegisters(self.config)
        place(m, platform, "registers", registers)
        m.d.comb += [registers.control.eq(self.weights), registers.beat.eq(self.w)]
        return registers.active

    def _ones(self, m: Module, platform: object, positive: Value, negatives: Value) -> Value:
        """Signed sum of the group's mantissas."""
        ones = OnesProcessor(self.config)
        place(m, platform, "ones", ones)
        (positives,) = carry_save(m, {0: [positive]}, len(ones.positive))
        m.d.comb += [
            ones.positive.eq(positives),
            ones.negative.eq(negatives),
            ones.control.eq(self.control),
        ]
        return ones.value


class AndaArray(Unit[AndaConfig]):
    """R x C bit-serial array: ``y = x @ w.T`` for a tile of R tokens and C outputs.

    Activations come in groups of G: ``plane`` brings one bit of every element of R tokens a beat,
    most significant first, ``last`` on the group's final one, so that the number of planes is the
    mantissa's length M; with a group's first beat ``sign`` (or, if serial, a beat of ``plane``
    before) brings its signs, ``exponent`` its exponents, ``last`` on the tile's final group, and
    where that says ``fresh``, ``scale`` the C scales that hold from then on. ``w`` brings G weights
    of C columns a group. ``y`` gives R rows of C results a tile, row 0 first.

    * Equation: per group ``acc = sum over planes of 2^(M-j) * sum_i bit_ij * (-1)^sign_i * w_i``,
      ``sum = sum + fl(acc) * 2^(E - 15 - (M - 1)) * d``; with minima, ``acc + 8 * acc_1`` for
      ``acc``, then ``sum = sum + fl(acc_1) * 2^(...) * minimum``; every operation rounded to FP32.
    * Throughput: a group every ``max(M, p * max(S, add_latency), G / weight_beat)`` cycles (M + 1
      if signs are serial), p the passes, S the processors that share a post-processor.
    * Latency: a group's sum enters the post-processors in the cycle after its final plane, or up to
      S - 1 later; ``convert_latency + multiply_latency + add_latency`` cycles on it is added.
    * Schedule: for group j of the run, ``load[j] = swap[j-1]`` first beat of its weights,
      ``swap[j] = max(load[j] + G / weight_beat, final[j-1])``, ``first[j] = max(final[j-1],
      swap[j]) + 1`` its first plane is worked off, ``final[j] = max(first[j] + beats - 1,
      taken[j-1])`` its last one. Its pass enters from ``start = max(final[j] + 1, start of the pass
      before + (S if the tile is new, else max(S, add_latency)))`` on, one processor of S a cycle;
      a tile's final pass not before the rows of the tile before have left; ``taken[j]`` is the last
      cycle of its final pass. Row r of a tile leaves in ``taken + latency + 1 + r``, as FP16 a
      cycle later. A plane is taken when the one before is worked off, the run's first in cycle 0.

    Stalls while planes (with what they need) or weights are missing, while post-processors have not
    taken the group before, and at a tile's end while the tile before drains.

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.anda_config.AndaConfig`.
    """

    def __init__(self, config: AndaConfig):
        super().__init__(config, ARRAY)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        operand = _Operand(m, config)
        step, ending = Signal(), Signal()
        m.d.comb += ending.eq(step & operand.last)
        weights, active = self._weights(m, ending)
        control = self._planes(m, operand, step)
        start = Signal(product_layout(config))
        emptied = Signal()
        busy = self._sequence_post(m, control.load, operand, start, emptied)
        self._step(m, operand, step, active, busy)
        added = _after(m, start, config.convert_latency + config.multiply_latency, "added")
        done = _after(m, added, config.add_latency, "done")
        left, pull = self._drain(m, done)

        w = self._columns(m, platform, weights)
        factors = self._factors(m, platform, control.load, operand, start)
        below: Value = Const(0, config.columns * FP32_BITS)
        for r in reversed(range(config.rows)):
            row = AndaRow(config)
            place(m, platform, f"row_{r}", row)
            adjust = Signal(signed(ADJUST_BITS), name=f"adjust_{r}", reset_less=True)
            with m.If(control.load):
                m.d.sync += adjust.eq(operand.exponent[r] - BIAS - operand.count)
            m.d.comb += [
                row.bits.eq(operand.bits.word_select(r, config.group)),
                row.sign.eq(operand.sign.word_select(r, config.group)),
                row.control.eq(control),
                row.w.eq(w),
                row.adjust.eq(adjust),
                row.factors.eq(factors),
                row.start.eq(start),
                row.added.eq(added),
                row.done.eq(done),
                row.pull.eq(pull),
                row.below.eq(below),
            ]
            if config.weight_registers == "processor":
                m.d.comb += row.weights.eq(weights)
            below = row.results
        self._results(m, platform, below, left, pull)
        m.d.comb += emptied.eq(pull & (left == 1))
        return m

    def _weights(self, m: Module, ending: Value) -> tuple[data.View, Signal]:
        """Take beats of weights, make them the active ones; whether there are active ones."""
        config = self.config
        weights = Signal(weights_layout)
        active = Signal()
        count = Signal(range(config.weight_beats + 1))
        full = count == config.weight_beats
        m.d.comb += [
            weights.swap.eq(full & (~active | ending)),
            self.w.ready.eq(~full | weights.swap),
            weights.take.eq(self.w.valid & self.w.ready),
            self.events.w_beats.eq(weights.take),
        ]
        m.d.sync += count.eq(Mux(weights.swap, 0, count) + weights.take)
        with m.If(weights.swap):
            m.d.sync += active.eq(1)
        with m.Elif(ending):
            m.d.sync += active.eq(0)
        return weights, active

    def _planes(self, m: Module, operand: "_Operand", step: Signal) -> data.View:
        """Take planes into the operand register, and what comes with a group's first beat."""
        serial = self.config.sign_plane == "serial"
        begins = Signal(init=1)  # the next beat is a group's first
        needed = [self.exponent, *([] if serial else [self.sign])]
        fresh = self.exponent.payload.fresh
        room = ~operand.valid | step
        there = [stream.valid for stream in needed] + [~fresh | self.scale.valid]
        complete = reduce(and_, there)
        take, take_group = Signal(), Signal()
        m.d.comb += [
            take.eq(self.plane.valid & self.plane.ready),
            self.plane.ready.eq(room & (~begins | complete)),
            take_group.eq(take & begins),
            *(stream.ready.eq(take_group) for stream in needed),
            self.scale.ready.eq(take_group & fresh),
            self.events.scales.eq(self.scale.valid & self.scale.ready),
        ]
        with m.If(room):
            m.d.sync += operand.valid.eq(take)
        with m.If(take):
            m.d.sync += [
                begins.eq(self.plane.payload.last),
                operand.bits.eq(self.plane.payload.bits.as_value()),
                operand.last.eq(self.plane.payload.last),
                operand.is_sign.eq(begins if serial else 0),
            ]
        operand.take_group(m, take_group, self.exponent.payload, self.scale)
        if serial:
            with m.If(step & operand.is_sign):
                m.d.sync += operand.sign.eq(operand.bits)
        else:
            with m.If(take_group):
                m.d.sync += operand.sign.eq(self.sign.payload.word.as_value())
        return operand.control(m, step)

    def _step(
        self, m: Module, operand: "_Operand", step: Signal, active: Value, busy: Value
    ) -> None:
        """Work off a plane when there are weights and, for the last one, room for the sums."""
        config = self.config
        open_tile = Signal()
        mantissa = Signal()
        m.d.comb += [
            step.eq(operand.valid & active & ~(operand.last & busy)),
            mantissa.eq(step & ~operand.is_sign),
            self.events.bit_macs.eq(Mux(mantissa, config.rows * config.columns * config.group, 0)),
            self.events.planes.eq(mantissa),
            self.events.groups.eq(step & operand.last),
            self.events.stall_operands.eq(open_tile & ~operand.valid),
            self.events.stall_weights.eq(operand.valid & ~active),
            self.events.stall_post.eq(operand.valid & active & operand.last & busy),
        ]
        with m.If(step):
            m.d.sync += open_tile.eq(~(operand.last & operand.ends_tile))

    def _sequence_post(
        self, m: Module, load: Value, operand: "_Operand", start: data.View, emptied: Value
    ) -> Value:
        """Which products start in this cycle; whether the group before is still being taken."""
        config = self.config
        full, minima, from_zero = Signal(), Signal(), Signal(init=1)
        ends_tile, draining = Signal(), Signal()
        position, left = Signal.like(start.position), Signal(range(config.period + 1))
        last_pass = minima if config.asymmetric else Const(1, 1)
        ready, held, ends = Signal(), Signal(), Signal()
        m.d.comb += [
            ready.eq(full & (left == 0)),
            held.eq(start.final & (position == 0) & draining),
            start.valid.eq(ready & ~held),
            start.position.eq(position),
            start.minima.eq(minima),
            start.from_zero.eq(from_zero),
            start.final.eq(ends_tile & last_pass),
            start.last.eq(position == config.fp_share - 1),
            ends.eq(start.valid & start.last & last_pass),
            self.events.products.eq(
                Mux(start.valid, config.rows * config.columns // config.fp_share, 0)
            ),
            self.events.tiles.eq(start.valid & start.last & start.final),
            self.events.stall_drain.eq(ready & held),
        ]
        with m.If(load):
            m.d.sync += [full.eq(1), ends_tile.eq(operand.ends_tile)]
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
                m.d.sync += left.eq(config.period - config.fp_share)
            with m.Elif(left != 0):
                m.d.sync += left.eq(left - 1)
        with m.If(start.valid & start.final & (position == 0)):
            m.d.sync += draining.eq(1)
        with m.Elif(emptied):
            m.d.sync += draining.eq(0)
        return full & ~ends

    def _drain(self, m: Module, done: data.View) -> tuple[Signal, Signal]:
        """Rows of a tile still to leave, from its final sums on; one goes with ``pull``."""
        left = Signal(range(self.config.rows + 1))
        pull = Signal()
        with m.If(done.valid & done.final & done.last):
            m.d.sync += left.eq(self.config.rows)
        with m.Elif(pull):
            m.d.sync += left.eq(left - 1)
        return left, pull

    def _results(self, m: Module, platform: object, row: Value, left: Signal, pull: Signal) -> None:
        """Row 0 of what is there, for FP16 rounded on its way out."""
        y, leaving = self.y, Signal()
        m.d.comb += [leaving.eq(left != 0), self.events.y_beats.eq(y.valid & y.ready)]
        if self.config.output == "fp32":
            m.d.comb += [
                y.valid.eq(leaving),
                y.payload.value.as_value().eq(row),
                y.payload.last.eq(left == 1),
                pull.eq(leaving & y.ready),
            ]
            return
        room = Signal()
        m.d.comb += [room.eq(~y.valid | y.ready), pull.eq(leaving & room)]
        with m.If(room):
            m.d.sync += [y.valid.eq(leaving), y.payload.last.eq(left == 1)]
        for c in range(self.config.columns):
            half = FloatToHalf(FloatToHalfConfig())
            place(m, platform, f"half_{c}", half)
            m.d.comb += [
                half.enable.eq(room),
                half.value.eq(row.word_select(c, FP32_BITS)),
                y.payload.value[c].eq(half.result),
            ]

    def _columns(self, m: Module, platform: object, weights: data.View) -> Value:
        """Active weights of all columns, or the beat where processors hold them."""
        beat = self.w.payload.value.as_value()
        if self.config.weight_registers == "processor":
            return beat
        registers = WeightRegisters(self.config)
        place(m, platform, "weights", registers)
        m.d.comb += [registers.control.eq(weights), registers.beat.eq(beat)]
        return registers.active

    def _factors(
        self, m: Module, platform: object, load: Value, operand: "_Operand", start: data.View
    ) -> Value:
        """Scales, or minima, of all columns in FP32 for the group that is being taken."""
        factors = []
        for c in range(self.config.columns):
            kept = []
            for name, words in operand.scales.items():
                word = Signal(SCALE_BITS, name=f"{name}_{c}", reset_less=True)
                with m.If(load):
                    m.d.sync += word.eq(words[c])
                kept.append(word)
            widen = Fp16ToFp32()
            place(m, platform, f"widen_{c}", widen)
            chosen = Mux(start.minima, kept[1], kept[0]) if len(kept) > 1 else kept[0]
            m.d.comb += widen.value.eq(chosen)
            factors.append(widen.result)
        return Cat(factors)


class _Operand:
    """A plane, what came with its group, and how many planes of the group were before."""

    def __init__(self, m: Module, config: AndaConfig):
        elements = config.rows * config.group
        self.valid = Signal()
        self.bits = Signal(elements, name="bits", reset_less=True)
        self.sign = Signal(elements, name="sign_word", reset_less=True)
        self.last = Signal(name="last_plane", reset_less=True)
        self.is_sign = Signal(reset_less=True)
        self.exponent = Signal(data.ArrayLayout(5, config.rows), name="exponents", reset_less=True)
        self.ends_tile = Signal(reset_less=True)
        names = ("d", "minimum") if config.asymmetric else ("d",)
        self.scales = {
            name: Signal(
                data.ArrayLayout(SCALE_BITS, config.columns), name=f"next_{name}", reset_less=True
            )
            for name in names
        }
        self.first = Signal(init=1)
        self.count = Signal(range(config.max_mantissa))

    def take_group(self, m: Module, take: Value, exponent: data.View, scale: object) -> None:
        """Take what comes with a group's first beat."""
        with m.If(take):
            m.d.sync += [self.exponent.eq(exponent.value), self.ends_tile.eq(exponent.last)]
        with m.If(take & exponent.fresh):
            for name, words in self.scales.items():
                m.d.sync += words.eq(getattr(scale.payload, name))  # type: ignore[attr-defined]

    def control(self, m: Module, step: Value) -> data.View:
        """What processors do when the plane is worked off."""
        control = Signal(control_layout)
        m.d.comb += [
            control.step.eq(step & ~self.is_sign),
            control.first.eq(self.first),
            control.load.eq(step & self.last),
        ]
        with m.If(control.step):
            m.d.sync += [
                self.first.eq(self.last),
                self.count.eq(Mux(self.last, 0, self.count + 1)),
            ]
        return control


def _after(m: Module, product: data.View, cycles: int, name: str) -> data.View:
    """What goes along with products so many cycles later."""
    for cycle in range(cycles):
        late = Signal(product.shape(), name=f"{name}_{cycle}")
        m.d.sync += late.eq(product)
        product = late
    return product
