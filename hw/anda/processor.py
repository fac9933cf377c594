"""Bit-plane processors of the Anda array."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ...golden.anda.config import AndaConfig
from ...golden.contract.layer import WEIGHT_BITS
from ..lib.adders import binary_tree, carry_save, spread
from ..lib.base import Part

control_layout = data.StructLayout({"step": 1, "first": 1, "load": 1})
"""What all processors do: work off a plane, the group's first one, its last one."""

weights_layout = data.StructLayout({"take": 1, "swap": 1})
"""What all weight registers do: take a beat, make what they took the active weights."""


class WeightRegisters(Part[AndaConfig]):
    """Active weights of a group, and those of the next group as they come in, for all columns.

    With ``take`` a beat enters behind those before it; with ``swap`` what came in becomes active,
    and a beat taken in the same cycle is the first of the next group. ``active`` has bit slice
    after bit slice, each element after element, column after column.
    """

    def __init__(self, config: AndaConfig):
        beat = config.columns * config.weight_beat
        super().__init__(
            config,
            {
                "control": In(weights_layout),
                "beat": In(beat * WEIGHT_BITS),
                "active": Out(config.columns * config.group * WEIGHT_BITS),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.config.columns * self.config.group
        for k in range(WEIGHT_BITS):
            arriving = Cat(self.beat[k::WEIGHT_BITS])
            next_group = Signal(bits, name=f"next_{k}", reset_less=True)
            active = Signal(bits, name=f"active_{k}", reset_less=True)
            with m.If(self.control.take):
                m.d.sync += next_group.eq(Cat(next_group[len(arriving) :], arriving))
            with m.If(self.control.swap):
                m.d.sync += active.eq(next_group)
            m.d.comb += self.active.word_select(k, bits).eq(active)
        return m


class BitPlaneProcessors(Part[AndaConfig]):
    """A row's C processors: dot products of a group's mantissas with weights, one plane a cycle.

    With ``step``, ``sum = 2 * (first ? 0 : sum) + sum of w_i where positive_i is set - sum of w_i
    where negative_i is``, and with ``load`` the new sums become the values; then registers of sums
    hold, as the next plane is a first one.
    """

    def __init__(self, config: AndaConfig):
        super().__init__(
            config,
            {
                "positive": In(config.group),
                "negative": In(config.group),
                "correction": In(config.group.bit_length()),
                "control": In(control_layout),
                "w": In(config.columns * config.group * WEIGHT_BITS),
                "values": Out(config.columns * config.accumulator_bits),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        control, bits = self.control, self.config.accumulator_bits
        add_up = self._carry_save if self.config.tree == "carry_save" else self._binary
        goes_on = Signal()  # the last plane's sum is needed in value alone
        m.d.comb += goes_on.eq(control.step & ~control.load)
        for c, plane_sum in enumerate(add_up(m)):
            plane = Signal(plane_sum.shape(), name=f"plane_sum_{c}")
            augend = Signal(signed(bits), name=f"augend_{c}")
            running = Signal(signed(bits), name=f"running_{c}", reset_less=True)
            total = Signal(signed(bits), name=f"total_{c}")
            value = Signal(signed(bits), name=f"value_{c}", reset_less=True)
            m.d.comb += [
                plane.eq(plane_sum),
                augend.eq(Mux(control.first, 0, Cat(Const(0, 1), running[:-1]))),
                total.eq(augend + plane),
            ]
            with m.If(goes_on):
                m.d.sync += running.eq(total)
            with m.If(control.load):
                m.d.sync += value.eq(total)
            m.d.comb += self.values.word_select(c, bits).eq(value)
        return m

    def _carry_save(self, m: Module) -> list[Value]:
        """Plane sums by carry-save adders.

        ``-w = ~w + 1``, whose 1 the row counts once for all columns (``correction``). The top slice
        counts negatively: ``-8 * t = 8 * ~t - 8``.
        """
        columns, group = self.config.columns, self.config.group
        width = (group << (WEIGHT_BITS - 1)).bit_length() + 1
        positive, negative = (Signal(group * columns, name=n) for n in ("positives", "negatives"))
        m.d.comb += [
            positive.eq(Cat(spread(bit, columns) for bit in self.positive)),
            negative.eq(Cat(spread(bit, columns) for bit in self.negative)),
        ]
        bits: dict[int, list[Value]] = {k: [] for k in range(width)}
        for k in range(WEIGHT_BITS):
            w = self.w.word_select(k, group * columns)
            chosen = (positive & w) | (negative & ~w)
            term = Signal(group * columns, name=f"term_{k}")
            m.d.comb += term.eq(~chosen if k == WEIGHT_BITS - 1 else chosen)
            bits[k].append(term)
        for k, bit in enumerate(self.correction):
            for_all = Signal(columns, name=f"correction_{k}")
            m.d.comb += for_all.eq(spread(bit, columns))
            bits[k].append(for_all)
        constant = -(group << (WEIGHT_BITS - 1))
        for k in range(width):
            if constant >> k & 1:
                bits[k].append(Const((1 << columns) - 1, columns))
        return [total.as_signed() for total in carry_save(m, bits, width, columns)]

    def _binary(self, m: Module) -> list[Value]:
        """Plane sums by a tree of signed adders on each element's weight, its negative or 0."""
        columns, group = self.config.columns, self.config.group
        totals = []
        for c in range(columns):
            terms = []
            for i in range(group):
                place_of = [k * group * columns + i * columns + c for k in range(WEIGHT_BITS)]
                w = Cat(self.w[bit] for bit in place_of).as_signed()
                terms.append(Mux(self.positive[i], w, Mux(self.negative[i], -w, 0)))
            totals.append(binary_tree(terms))
        return totals


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
        with m.If(control.step & ~control.load):
            m.d.sync += running.eq(total)
        with m.If(control.load):
            m.d.sync += self.value.eq(total)
        return m
