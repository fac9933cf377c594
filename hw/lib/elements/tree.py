"""Dot products by carry-save adders, for the C elements of a row side by side."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib.wiring import In, Out

from ....golden.contract.layer import WEIGHT_BITS
from ..adders import carry_save, spread
from ..base import Part
from .choices import DIGITS, TreeConfig, choices_layout
from .element import dot_bits

Bits = dict[int, list[Value]]
"""Exponents to vectors of bits that count so much; see :func:`..adders.carry_save`."""


class DotProducts(Part[TreeConfig]):
    """Sums of the products of L activations and the weights of each of C columns.

    What weights choose is added up as numbers without a sign, since inverting the top bit of a
    signed one adds a power of two; a constant takes all of these away again.
    """

    def __init__(self, config: TreeConfig):
        super().__init__(
            config,
            {
                "x": In(config.lanes * config.operand_bits),
                "choices": In(choices_layout(config)),
                "products": Out(config.columns * dot_bits(config.operand_bits, config.lanes)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        columns = self.config.columns
        width = dot_bits(self.config.operand_bits, self.config.lanes)
        bits: Bits = {k: [] for k in range(width)}
        pairs = self.config.tree == "pair_sums"
        constant = self._pairs(m, bits) if pairs else self._digits(m, bits)
        for k in range(width):
            if constant >> k & 1:
                bits[k].append(Const((1 << columns) - 1, columns))
        m.d.comb += self.products.eq(Cat(carry_save(m, bits, width, columns)))
        return m

    def _pairs(self, m: Module, bits: Bits) -> int:
        """Multiples of pairs for each bit of the weights; returns what to add besides.

        The top bit of a weight counts negatively: ``-v = ~v + 1``.
        """
        size = self.config.operand_bits
        lanes = [self._lane(lane) for lane in range(self.config.lanes)]
        sums = []
        for pair, (even, odd) in enumerate(zip(lanes[::2], lanes[1::2], strict=True)):
            sums.append(Signal(size + 1, name=f"pair_sum_{pair}"))
            m.d.comb += sums[-1].eq(even + odd)
        chosen = {"even": lanes[::2], "odd": lanes[1::2], "both": sums}
        for i in range(size + 1):
            vectors = {name: self._spread(m, terms, i, name) for name, terms in chosen.items()}
            for k in range(WEIGHT_BITS):
                term = Signal(len(sums) * self.config.columns, name=f"term_{k}_{i}")
                value = Const(0, len(term))
                for name, vector in vectors.items():
                    value |= vector & self.choices[f"{name}_{k}"]
                inverted = (i == size) != (k == WEIGHT_BITS - 1)
                m.d.comb += term.eq(~value if inverted else value)
                if i + k in bits:
                    bits[i + k].append(term)
        top = WEIGHT_BITS - 1
        return len(sums) * ((1 << top) - (((2 << top) - 1) << size))

    def _digits(self, m: Module, bits: Bits) -> int:
        """Multiples of activations for each Booth digit; returns what to add besides."""
        size, columns = self.config.operand_bits, self.config.columns
        lanes = [self._lane(lane) for lane in range(self.config.lanes)]
        below: Value = Const(0, len(lanes) * columns)
        for i in range(size + 1):
            vector = self._spread(m, lanes, min(i, size - 1), "x") if i < size else below
            for digit in range(DIGITS):
                one, two, negate = (
                    self.choices[f"{name}_{digit}"] for name in ("one", "two", "negate")
                )
                term = Signal(len(lanes) * columns, name=f"term_{digit}_{i}")
                value = ((vector & one) | (below & two)) ^ negate
                m.d.comb += term.eq(~value if i == size else value)
                bits[i + 2 * digit].append(term)
            below = vector
        for k in range(self.config.correction_bits):
            bits[k].append(self.choices.correction.word_select(k, columns))
        return -len(lanes) * sum(4**digit for digit in range(DIGITS)) << size

    def _lane(self, lane: int) -> Value:
        """Activation of a lane."""
        return self.x.word_select(lane, self.config.operand_bits).as_signed()

    def _spread(self, m: Module, terms: list[Value], i: int, name: str) -> Signal:
        """Bit i of each term, of its sign beyond its top, for all columns."""
        columns = self.config.columns
        vector = Signal(len(terms) * columns, name=f"{name}_{i}")
        m.d.comb += vector.eq(Cat(spread(term[min(i, len(term) - 1)], columns) for term in terms))
        return vector
