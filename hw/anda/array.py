"""Anda: the bit-serial array."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In

from ...golden.anda.config import AndaConfig
from ...golden.anda.unit import ARRAY
from ...golden.arithmetic.floating import FloatToHalfConfig
from ...golden.contract.layer import WEIGHT_BITS
from ..lib.adders import carry_save
from ..lib.base import Part, Unit
from ..lib.emission import place
from ..lib.floating import FP32_BITS, FloatToHalf
from .post import GroupRegisters, PostSequence, place_post, row_ports
from .processor import (
    BitPlaneProcessors,
    OnesProcessor,
    WeightRegisters,
    control_layout,
    weights_layout,
)


class AndaRow(Part[AndaConfig]):
    """C bit-plane processors that share a token's planes, and their post-processors."""

    def __init__(self, config: AndaConfig):
        weights = config.group if config.weight_registers == "column" else config.weight_beat
        ports = {
            "bits": In(config.group),
            "sign": In(config.group),
            "control": In(control_layout),
            "w": In(config.columns * weights * WEIGHT_BITS),
            **row_ports(config),
        }
        if config.weight_registers == "processor":
            ports["weights"] = In(weights_layout)
        super().__init__(config, ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        positive = Signal(config.group)
        negative = Signal(config.group)
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
        place_post(m, platform, self, processors.values, ones)
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
    * Throughput: a group every ``max(M, passes * max(fp_share, add_latency), G / weight_beat)``
      cycles (M + 1 for M if signs are serial); ``passes`` is 2 with minima, else 1.
    * Latency: a group's sum enters the post-processors in the cycle after its final plane, or up to
      ``fp_share - 1`` later; ``convert_latency + multiply_latency + add_latency`` cycles on it is
      added.
    * Schedule: for group j of the run, ``load[j] = swap[j-1]`` first beat of its weights,
      ``swap[j] = max(load[j] + G / weight_beat, final[j-1])``,
      ``first[j] = max(final[j-1], swap[j]) + 1`` its first plane is worked off,
      ``final[j] = max(first[j] + beats - 1, taken[j-1])`` its last one. Its pass enters from
      ``start = max(final[j] + 1, start of the pass before + (fp_share if the tile is new, else
      max(fp_share, add_latency)))`` on, one of ``fp_share`` processors a cycle; a tile's final pass
      not before the rows of the tile before have left; ``taken[j]`` is the last cycle of its final
      pass. Row i of a tile leaves in ``taken + latency + 1 + i``, as FP16 a cycle later. A plane is
      taken when the one before is worked off, the run's first in cycle 0.

    Stalls while planes (with what they need) or weights are missing, while post-processors have not
    taken the group before, and at a tile's end while the tile before drains.

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.anda.config.AndaConfig`.
    """

    def __init__(self, config: AndaConfig):
        super().__init__(config, ARRAY)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        operand = _Operand(m, config)
        step = Signal()
        ending = Signal()
        m.d.comb += ending.eq(step & operand.last)
        weights, active = self._weights(m, ending)
        control = self._planes(m, operand, step)
        post = PostSequence(m, platform, self, operand.group, control.load)
        self._step(m, operand, step, active, post.busy)
        w = self._columns(m, platform, weights)
        factors = post.factors(m, platform)
        below: Value = Const(0, config.columns * FP32_BITS)
        for r in reversed(range(config.rows)):
            row = AndaRow(config)
            place(m, platform, f"row_{r}", row)
            m.d.comb += [
                row.bits.eq(operand.bits.word_select(r, config.group)),
                row.sign.eq(operand.sign.word_select(r, config.group)),
                row.control.eq(control),
                row.w.eq(w),
            ]
            if config.weight_registers == "processor":
                m.d.comb += row.weights.eq(weights)
            below = post.serve(m, row, r, operand.count, factors, below)
        self._results(m, platform, below, post)
        return m

    def _weights(self, m: Module, ending: Value) -> tuple[data.View, Signal]:
        """Take beats of weights, make them the active ones; whether there are active ones."""
        config = self.config
        weights = Signal(weights_layout)
        # apart from their record: one depends on the other
        take = Signal(name="take_weights")
        swap = Signal(name="swap_weights")
        active = Signal(name="weights_active")
        full = Signal(name="weights_full")
        count = Signal(range(config.weight_beats + 1), name="weight_beats")
        m.d.comb += [
            full.eq(count == config.weight_beats),
            swap.eq(full & (~active | ending)),
            self.w.ready.eq(~full | swap),
            take.eq(self.w.valid & self.w.ready),
            weights.eq(Cat(take, swap)),
            self.events.w_beats.eq(take),
        ]
        m.d.sync += count.eq(Mux(swap, 0, count) + take)
        with m.If(swap):
            m.d.sync += active.eq(1)
        with m.Elif(ending):
            m.d.sync += active.eq(0)
        return weights, active

    def _planes(self, m: Module, operand: "_Operand", step: Signal) -> data.View:
        """Take planes into the operand register, and what comes with a group's first beat."""
        serial = self.config.sign_plane == "serial"
        begins = Signal(init=1)  # the next beat is a group's first
        present = Signal(name="group_present")
        room = Signal(name="plane_room")
        take = Signal(name="take_plane")
        take_group = Signal()
        m.d.comb += [
            present.eq(operand.group.there(self) & (1 if serial else self.sign.valid)),
            room.eq(~operand.valid | step),
            take.eq(self.plane.valid & self.plane.ready),
            self.plane.ready.eq(room & (~begins | present)),
            take_group.eq(take & begins),
        ]
        operand.group.take(m, self, take_group)
        with m.If(room):
            m.d.sync += operand.valid.eq(take)
        with m.If(take):
            m.d.sync += [
                begins.eq(self.plane.payload.last),
                operand.bits.eq(self.plane.payload.bits.as_value()),
                operand.last.eq(self.plane.payload.last),
                operand.is_sign.eq(begins if serial else 0),
            ]
        if serial:
            with m.If(step & operand.is_sign):
                m.d.sync += operand.sign.eq(operand.bits)
        else:
            m.d.comb += self.sign.ready.eq(take_group)
            with m.If(take_group):
                m.d.sync += operand.sign.eq(self.sign.payload.word.as_value())
        return operand.control(m, step)

    def _step(
        self, m: Module, operand: "_Operand", step: Signal, active: Value, busy: Value
    ) -> None:
        """Work off a plane when there are weights and, for the last one, room for the sums."""
        open_tile = Signal()
        mantissa = Signal()
        present = Signal(name="operands_present")
        m.d.comb += [
            present.eq(operand.valid & active),
            step.eq(present & ~(operand.last & busy)),
            mantissa.eq(step & ~operand.is_sign),
            self.events.bit_macs.eq(Mux(mantissa, self.config.bit_macs, 0)),
            self.events.planes.eq(mantissa),
            self.events.groups.eq(step & operand.last),
            self.events.stall_operands.eq(open_tile & ~operand.valid),
            self.events.stall_weights.eq(operand.valid & ~active),
            self.events.stall_post.eq(present & operand.last & busy),
        ]
        with m.If(step):
            m.d.sync += open_tile.eq(~(operand.last & operand.group.ends_tile))

    def _results(self, m: Module, platform: object, row: Value, post: PostSequence) -> None:
        """Row 0 of what is there, for FP16 rounded on its way out."""
        if self.config.output == "fp32":
            post.hand_over(m, self, row)
            return
        y = self.y
        drain = post.drain
        room = Signal()
        m.d.comb += [
            room.eq(~y.valid | y.ready),
            drain.pull.eq(drain.valid & room),
            self.events.y_beats.eq(y.valid & y.ready),
        ]
        with m.If(room):
            m.d.sync += [y.valid.eq(drain.valid), y.payload.last.eq(drain.last)]
        for c in range(self.config.columns):
            half = FloatToHalf(FloatToHalfConfig())
            place(m, platform, f"half_{c}", half)
            m.d.comb += [
                half.enable.eq(room & drain.valid),
                half.value.eq(row.word_select(c, FP32_BITS)),
                y.payload.value[c].eq(half.result),
            ]

    def _columns(self, m: Module, platform: object, weights: data.View) -> Value:
        """Active weights of all columns, or the beat where processors hold them."""
        beat = self.w.payload.value.as_value()
        if self.config.weight_registers == "processor":
            return beat
        registers = WeightRegisters(self.config)
        place(m, platform, "weight_registers", registers)
        m.d.comb += [registers.control.eq(weights), registers.beat.eq(beat)]
        return registers.active


class _Operand:
    """A plane, what came with its group, and how many planes of the group were before."""

    def __init__(self, m: Module, config: AndaConfig):
        elements = config.rows * config.group
        self.valid = Signal(name="operand_valid")
        self.bits = Signal(elements, name="bits", reset_less=True)
        self.sign = Signal(elements, name="sign_word", reset_less=True)
        self.last = Signal(name="last_plane", reset_less=True)
        self.is_sign = Signal(reset_less=True)
        self.group = GroupRegisters(config)
        self.first = Signal(init=1)
        self.count = Signal(range(config.max_mantissa), name="plane_number")

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
