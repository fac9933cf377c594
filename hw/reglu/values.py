"""Fixed point of the neuron-skipping FFN: dot products to z8, g16, u16 and h."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ...golden.reglu.config import OPERAND_BITS, SHIFT_BITS, Matrix, RegluConfig
from ...golden.reglu.ffn import INT8_LIMIT
from ...golden.reglu.format import MULT_BITS
from ..lib.base import Part
from ..lib.delays import delayed, delays
from .requests import G16_BITS, MATRIX_CODES, result_layout
from .rows import operand_layout, tag_layout

FIXED_BITS = 16  # of g16 and u16


def factor_layout() -> data.StructLayout:
    """A factor ``mult / 2**shift``."""
    return data.StructLayout({"mult": MULT_BITS, "shift": SHIFT_BITS})


def round_shift(m: Module, product: Value, shift: Value, bits: int, name: str) -> Signal:
    """``(product + 2**(shift - 1)) >> shift``, saturated to ``bits`` bits, signed."""
    halves = Signal(product.shape(), name=f"{name}_halves")
    near = Signal(signed(bits + 1), name=f"{name}_near")
    result = Signal(signed(bits), name=name)
    distance = Signal.like(shift, name=f"{name}_distance")
    twice = Signal(signed(bits + 2), name=f"{name}_twice")
    fits = Signal(name=f"{name}_fits")
    most = (1 << (bits - 1)) - 1
    above = halves[bits:]
    m.d.comb += [
        distance.eq(shift - 1),
        halves.eq(product >> distance),
        twice.eq(halves[: bits + 1].as_signed() + 1),
        near.eq(twice[1:].as_signed()),
        fits.eq((above.all() | ~above.any()) & (near <= most)),
        result.eq(Mux(fits, near[:bits], Mux(halves[-1], ~most, most)[:bits])),
    ]
    return result


class NeuronValues(Part[RegluConfig]):
    """What neurons, and elements of z, go on with.

    ``dot`` belongs to ``tag`` and ``operand``, whose word is 0 but with a row's final beat: the
    multiplier of ``dot``, which grows with every beat, has nothing to do until then. Two cycles
    later z8 and g16 are there, five cycles later h.
    """

    codes = MATRIX_CODES

    def __init__(self, config: RegluConfig):
        super().__init__(
            config,
            {
                "tag": In(tag_layout()),
                "operand": In(operand_layout()),
                "dot": In(signed(config.dot_bits)),
                "to_h": In(factor_layout()),
                "z_done": Out(1),
                "z_end": Out(1),
                "z": Out(signed(OPERAND_BITS)),
                "gate_done": Out(1),
                "gate": Out(result_layout(G16_BITS)),
                "up_done": Out(1),
                "up": Out(result_layout(OPERAND_BITS)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        row = Signal(_row_layout())
        done = Signal()
        m.d.comb += [
            done.eq(self.tag.valid & self.tag.final),
            row.z.eq(done & (self.tag.matrix == Matrix.A)),
            row.gate.eq(done & (self.tag.matrix == Matrix.GATE)),
            row.up.eq(done & (self.tag.matrix == Matrix.UP)),
            row.end.eq(self.tag.end),
            row.positive.eq(self.dot > 0),
        ]
        rows = delays(m, row, 5, "row")
        ups = Cat(row.up for row in rows)
        g16 = delayed(m, self.operand.value, 2, "g16", ups, reset_less=True)
        fixed = self._fixed(m, rows)
        row = rows[2]
        m.d.comb += [
            self.z_done.eq(row.z),
            self.z_end.eq(row.end),
            self.z.eq(_clip(m, fixed, -INT8_LIMIT - 1, INT8_LIMIT, "z_clipped")),
            self.gate_done.eq(row.gate),
            self.gate.alive.eq(row.positive),
            self.gate.value.eq(fixed),
        ]
        self._hidden(m, g16, fixed, ups[2:])
        row = rows[5]
        m.d.comb += self.up_done.eq(row.up)
        m.d.comb += self.up.alive.eq(row.positive if self.config.double_relu else 1)
        return m

    def _fixed(self, m: Module, rows: list[data.View]) -> Signal:
        """The dot product times the row's factor, in two cycles."""
        factor = data.View(factor_layout(), self.operand.word[: factor_layout().size])
        product = Signal(signed(self.config.dot_bits + MULT_BITS), reset_less=True)
        shift = Signal(SHIFT_BITS, reset_less=True)
        fixed = Signal(signed(FIXED_BITS), reset_less=True)
        fixed_next = round_shift(m, product, shift, FIXED_BITS, "fixed_next")
        scaled = Signal()
        rounded = Signal()
        m.d.comb += [
            scaled.eq(rows[0].z | rows[0].gate | rows[0].up),
            rounded.eq(rows[1].z | rows[1].gate | rows[1].up),
        ]
        with m.If(scaled):
            m.d.sync += [product.eq(self.dot * factor.mult), shift.eq(factor.shift)]
        with m.If(rounded):
            m.d.sync += fixed.eq(fixed_next)
        return fixed

    def _hidden(self, m: Module, g16: Value, u16: Signal, ups: Value) -> None:
        """h, in three cycles, each with its bit of ``ups``."""
        pair = Signal(signed(G16_BITS + FIXED_BITS), reset_less=True)
        product = Signal(signed(len(pair) + MULT_BITS), name="hidden_product", reset_less=True)
        h = Signal(signed(OPERAND_BITS), reset_less=True)
        hidden = round_shift(m, product, self.to_h.shift, OPERAND_BITS, "hidden")
        clipped = _clip(m, hidden, -INT8_LIMIT, INT8_LIMIT, "h_clipped")
        with m.If(ups[0]):
            m.d.sync += pair.eq(u16 * g16)
        with m.If(ups[1]):
            m.d.sync += product.eq(pair * self.to_h.mult)
        with m.If(ups[2]):
            m.d.sync += h.eq(clipped)
        m.d.comb += self.up.value.eq(h)


def _row_layout() -> data.StructLayout:
    """Which result becomes due, and what is known of it."""
    return data.StructLayout(dict.fromkeys(("z", "gate", "up", "end", "positive"), 1))


def _clip(m: Module, value: Value, least: int, most: int, name: str) -> Signal:
    """A signed number within limits."""
    clipped = Signal(value.shape(), name=name)
    m.d.comb += clipped.eq(Mux(value < least, least, Mux(value > most, most, value)))
    return clipped
