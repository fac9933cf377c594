"""Dot products by carry-save adders, for the C elements of a row side by side."""

from collections import defaultdict
from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import TypeVar

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from ....golden.contract.config import Config
from ..adders import carry_save, spread
from ..base import Part
from .choices import TreeConfig, choices_layout

C = TypeVar("C", bound=Config)

Bits = dict[int, list[Value]]
"""Exponents to vectors of bits that count so much; see :func:`..adders.carry_save`."""


class CarrySaveProducts(Part[C]):
    """Base of parts that add up what weights choose, as numbers without a sign.

    Inverting the top bit of a signed number adds a power of two; a constant takes all of these away
    again. A part's ``choices`` and ``products`` are as :class:`DotProducts` has them.

    Parameters
    ----------
    config
        Of the part.
    tree
        Of the sums.
    signature
        Members of the interface besides.
    """

    def __init__(self, config: C, tree: TreeConfig, signature: Mapping[str, object]):
        self.tree = tree
        ports = {
            "choices": In(choices_layout(tree)),
            "products": Out(tree.columns * tree.product_bits),
        }
        super().__init__(config, {**signature, **ports})

    def add_up(self, m: Module, bits: Bits, constant: int) -> None:
        """Sums of the bits and a constant, column after column."""
        columns, width = self.tree.columns, self.tree.product_bits
        rows = {k: list(bits.get(k, ())) for k in range(width)}
        for k, row in rows.items():
            if constant >> k & 1:
                row.append(Const((1 << columns) - 1, columns))
        m.d.comb += self.products.eq(Cat(carry_save(m, rows, width, columns)))

    def digits(self, m: Module, vectors: list[Value]) -> tuple[Bits, int]:
        """Multiples of activations for each Booth digit, and what to add besides.

        Parameters
        ----------
        vectors
            Each bit of the activations of all lanes, for all columns.
        """
        size, columns, lanes = len(vectors), self.tree.columns, self.tree.lanes
        tops = [size - 1 + self.tree.doubles(digit) for digit in range(self.tree.digits)]
        bits: Bits = defaultdict(list)
        below: Value = Const(0, lanes * columns)
        for i, vector in enumerate([*vectors, vectors[-1]]):
            for digit, top in enumerate(tops):
                if i > top:
                    continue
                term = Signal(lanes * columns, name=f"term_{digit}_{i}")
                value = self._multiple(digit, vector, below)
                m.d.comb += term.eq(~value if i == top else value)
                bits[i + 2 * digit].append(term)
            below = vector
        for k in range(self.tree.correction_bits):
            bits[k].append(self.choices.correction.word_select(k, columns))
        return bits, -lanes * sum(4**digit << top for digit, top in enumerate(tops))

    def _multiple(self, digit: int, vector: Value, below: Value) -> Value:
        """One bit of what a digit makes of activations, from their bit and the one below."""
        chosen = vector & self.choices[f"one_{digit}"]
        if self.tree.doubles(digit):
            chosen = chosen | (below & self.choices[f"two_{digit}"])
        return chosen ^ self.choices[f"negate_{digit}"]


class DotProducts(CarrySaveProducts[TreeConfig]):
    """Sums of the products of L activations and the weights of each of C columns."""

    def __init__(self, config: TreeConfig):
        super().__init__(config, config, {"x": In(config.lanes * config.operand_bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = self.config.operand_bits
        lanes = [self.x.word_select(i, size).as_signed() for i in range(self.config.lanes)]
        if self.config.tree == "pair_sums":
            bits, constant = self._pairs(m, lanes)
        else:
            bits, constant = self.digits(m, [self._spread(m, lanes, i, "x") for i in range(size)])
        self.add_up(m, bits, constant)
        return m

    def _pairs(self, m: Module, lanes: list[Value]) -> tuple[Bits, int]:
        """Multiples of pairs for each bit of the weights, and what to add besides.

        The top bit of a weight counts negatively: ``-v = ~v + 1``.
        """
        size, top = self.config.operand_bits, self.config.weight_bits - 1
        sums = []
        for pair, (even, odd) in enumerate(zip(lanes[::2], lanes[1::2], strict=True)):
            sums.append(Signal(signed(size + 1), name=f"pair_sum_{pair}"))
            m.d.comb += sums[-1].eq(even + odd)
        chosen = {"even": lanes[::2], "odd": lanes[1::2], "both": sums}
        bits: Bits = defaultdict(list)
        for i in range(size + 1):
            vectors = {name: self._spread(m, terms, i, name) for name, terms in chosen.items()}
            for k in range(top + 1):
                term = Signal(len(sums) * self.config.columns, name=f"term_{k}_{i}")
                value = reduce(
                    or_, (vector & self.choices[f"{name}_{k}"] for name, vector in vectors.items())
                )
                inverted = (i == size) != (k == top)
                m.d.comb += term.eq(~value if inverted else value)
                bits[i + k].append(term)
        return bits, len(sums) * ((1 << top) - (((2 << top) - 1) << size))

    def _spread(self, m: Module, terms: list[Value], i: int, name: str) -> Signal:
        """Bit i of each term, of its sign beyond its top, for all columns."""
        columns = self.config.columns
        vector = Signal(len(terms) * columns, name=f"{name}_{i}")
        m.d.comb += vector.eq(Cat(spread(term[min(i, len(term) - 1)], columns) for term in terms))
        return vector
