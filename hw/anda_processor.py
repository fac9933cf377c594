"""Bit-plane processors of the Anda array."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..golden.anda_config import AndaConfig
from ..golden.layer import WEIGHT_BITS
from .adders import binary_tree, carry_save
from .base import Part
from .emission import place

control_layout = data.StructLayout({"step": 1, "first": 1, "load": 1})
"""What all processors do: work off a plane, the group's first one, its last one."""

weights_layout = data.StructLayout({"take": 1, "swap": 1})
"""What all weight registers do: take a beat, make what they took the active weights."""


class WeightRegisters(Part[AndaConfig]):
    """Active weights of a group in bit slices, and those of the next group as they come in.

    With ``take`` a beat enters behind those before it; with ``swap`` what came in becomes active,
    and a beat taken in the same cycle is the first of the next group.
    """

    def __init__(self, config: AndaConfig):
        super().__init__(
            config,
            {
                "control": In(weights_layout),
                "beat": In(config.weight_beat * WEIGHT_BITS),
                "active": Out(config.group * WEIGHT_BITS),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        group, beat = self.config.group, self.config.weight_beat
        slices = [Cat(self.beat[k::WEIGHT_BITS]) for k in range(WEIGHT_BITS)]
        for k, arriving in enumerate(slices):
            next_group = Signal(group, name=f"next_{k}", reset_less=True)
            active = Signal(group, name=f"active_{k}", reset_less=True)
            with m.If(self.control.take):
                m.d.sync += next_group.eq(Cat(next_group[beat:], arriving))
            with m.If(self.control.swap):
                m.d.sync += active.eq(next_group)
            m.d.comb += self.active[k * group : (k + 1) * group].eq(active)
        return m


class BitPlaneProcessor(Part[AndaConfig]):
    """Dot product of a group's mantissas with its weights, one plane a cycle.

    With ``step``, ``sum = 2 * (first ? 0 : sum) + sum of w_i where positive_i is set - sum of w_i
    where negative_i is``, and with ``load`` the new sum becomes the value. ``correction`` is the
    number of ``negative`` bits, which the row counts once for all columns: ``-w = ~w + 1``.
    """

    def __init__(self, config: AndaConfig):
        operands = {
            "positive": In(config.group),
            "negative": In(config.group),
            "correction": In(config.group.bit_length()),
            "control": In(control_layout),
        }
        if config.weight_registers == "column":
            operands["w"] = In(config.group * WEIGHT_BITS)
        else:
            operands["weights"] = In(weights_layout)
            operands["w"] = In(config.weight_beat * WEIGHT_BITS)
        super().__init__(config, {**operands, "value": Out(signed(config.accumulator_bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        control, bits = self.control, self.config.accumulator_bits
        slices = self._slices(m, platform)
        running = Signal(bits, reset_less=True)
        before = Signal(bits)
        total = Signal(bits)
        m.d.comb += before.eq(Mux(control.first, 0, running << 1))
        if self.config.tree == "carry_save":
            m.d.comb += total.eq(self._carry_save(m, slices, before))
        else:
            m.d.comb += total.eq(before.as_signed() + self._binary(slices))
        with m.If(control.step):
            m.d.sync += running.eq(total)
        with m.If(control.load):
            m.d.sync += self.value.eq(total)
        return m

    def _slices(self, m: Module, platform: object) -> list[Value]:
        """Bit k of the weights of all elements."""
        group = self.config.group
        active: Value = self.w
        if self.config.weight_registers == "processor":
            registers = WeightRegisters(self.config)
            place(m, platform, "registers", registers)
            m.d.comb += [registers.control.eq(self.weights), registers.beat.eq(self.w)]
            active = registers.active
        return [active[k * group : (k + 1) * group] for k in range(WEIGHT_BITS)]

    def _carry_save(self, m: Module, slices: list[Value], before: Value) -> Value:
        """All bits at once: the top slice counts negatively, so add its complement and a constant.

        ``-8 * t = 8 * ~t - 8``; an AND-OR an element and bit chooses the terms of a plane.
        """
        group, bits = self.config.group, self.config.accumulator_bits
        columns: dict[int, list[Value]] = {k: [before[k]] for k in range(bits)}
        for k, w in enumerate(slices):
            term = Signal(group, name=f"term_{k}")
            chosen = (self.positive & w) | (self.negative & ~w)
            top = k == WEIGHT_BITS - 1
            m.d.comb += term.eq(~chosen if top else chosen)
            columns[k].append(term)
        for k in range(len(self.correction)):
            columns[k].append(self.correction[k])
        constant = Const(-(group << (WEIGHT_BITS - 1)), bits)
        for k in range(bits):
            if constant.value >> k & 1:
                columns[k].append(Const(1, 1))
        return carry_save(m, columns, bits)

    def _binary(self, slices: list[Value]) -> Value:
        """Each element's signed term, then a tree of adders."""
        terms = []
        for i in range(self.config.group):
            w = Cat(bits[i] for bits in slices).as_signed()
            terms.append(Mux(self.positive[i], w, Mux(self.negative[i], -w, 0)))
        return binary_tree(terms)


class OnesProcessor(Part[AndaConfig]):
    """The same where all weights are 1: a group's signed sum of mantissas, once a row."""

    def __init__(self, config: AndaConfig):
        super().__init__(
            config,
            {
                "positive": In(config.group.bit_length()),
                "negative": In(config.group.bit_length()),
                "control": In(control_layout),
                "value": Out(signed(config.ones_bits)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        control = self.control
        running = Signal(signed(self.config.ones_bits), reset_less=True)
        total = Signal.like(running)
        before = Mux(control.first, 0, running << 1)
        m.d.comb += total.eq(before + self.positive - self.negative)
        with m.If(control.step):
            m.d.sync += running.eq(total)
        with m.If(control.load):
            m.d.sync += self.value.eq(total)
        return m
