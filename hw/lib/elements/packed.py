"""Dot products by few wide multiplications: a word holds the operands of several lanes.

With z a power of two above every sum, ``(x0 + x1 z + x2 z^2) * (w2 + w1 z + w0 z^2)`` has
``x0 w0 + x1 w1 + x2 w2`` at z^2; what stands above it is cut off. Products of several words are
added up before that place is read.
"""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ....golden.contract.config import Config
from ....golden.contract.layer import WEIGHT_BITS
from ..base import Part
from ..emission import place
from .element import dot_bits

WORD_BITS = 64
"""Most bits of a word: those that a processor multiplies at once."""


class WordConfig(Config):
    """Parameters of words of operands."""

    operand_bits: int = Parameter(ge=1)
    """Bits of an operand."""
    lanes: int = Parameter(ge=1)
    """Operands (L)."""
    place_bits: int = Parameter(ge=1)
    """Bits of a place in a word."""
    descending: bool = False
    """Whether the first operand of a word stands at the highest place, not at the lowest."""

    @property
    def places(self) -> int:
        """Places of a word."""
        return min(self.lanes, WORD_BITS // self.place_bits)

    @property
    def words(self) -> int:
        """Words of all lanes; places that are left in the last are 0."""
        return -(-self.lanes // self.places)

    @property
    def word_bits(self) -> int:
        """Bits of a word."""
        return self.places * self.place_bits

    @property
    def vector_bits(self) -> int:
        """Bits of the words of all lanes."""
        return self.words * self.word_bits


class PackedOperands(Part[WordConfig]):
    """Packs signed operands into words.

    They are taken as numbers without a sign; those that are negative lack a power of two.
    """

    def __init__(self, config: WordConfig):
        ports = {
            "operands": In(config.lanes * config.operand_bits),
            "words": Out(config.vector_bits),
        }
        super().__init__(config, ports)

    @property
    def title(self) -> str:
        """With the order of the places."""
        return super().title + "_descending" * self.config.descending

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.config.word_bits
        for word in range(self.config.words):
            placed = Signal(bits, name=f"placed_{word}")
            signs = Signal(bits, name=f"signs_{word}")
            operands = self._word(word)
            m.d.comb += [
                placed.eq(Cat(self._placed(operand) for operand in operands)),
                signs.eq(Cat(self._placed(operand[-1]) for operand in operands)),
                self.words.word_select(word, bits).eq(
                    placed - (signs << self.config.operand_bits)[:bits]
                ),
            ]
        return m

    def _placed(self, value: Value) -> Value:
        """A value at the low end of a place."""
        return Cat(value, Const(0, self.config.place_bits - len(value)))

    def _word(self, word: int) -> list[Value]:
        """Operands of a word, the lowest place first; 0 where there is none left."""
        places, bits = self.config.places, self.config.operand_bits
        lanes = range(self.config.lanes)[word * places :][:places]
        found: list[Value] = [self.operands.word_select(lane, bits) for lane in lanes]
        found += [Const(0, bits)] * (places - len(found))
        return found[::-1] if self.config.descending else found


class PackedConfig(Config):
    """Parameters of dot products by wide multiplications."""

    operand_bits: int = Parameter(ge=1)
    """Bits of an activation, or of its half."""
    weight_bits: int = Parameter(default=WEIGHT_BITS, ge=2)
    """Bits of a weight."""
    lanes: int = Parameter(ge=1)
    """Products of a sum (L)."""
    columns: int = Parameter(ge=1)
    """Sums that share activations (C)."""

    @property
    def activations(self) -> WordConfig:
        """Words of activations; a place has as many bits as a sum."""
        bits = dot_bits(self.operand_bits, self.weight_bits, self.lanes)
        return WordConfig(operand_bits=self.operand_bits, lanes=self.lanes, place_bits=bits)

    @property
    def weights(self) -> WordConfig:
        """Words of the weights of a column."""
        return self.activations.replace(operand_bits=self.weight_bits, descending=True)


class PackedProducts(Part[PackedConfig]):
    """Sums of the products of L activations and the packed weights of each of C columns."""

    def __init__(self, config: PackedConfig):
        super().__init__(
            config,
            {
                "x": In(config.lanes * config.operand_bits),
                "words": In(config.columns * config.weights.vector_bits),
                "products": Out(config.columns * config.weights.place_bits),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config.weights
        x = PackedOperands(self.config.activations)
        place(m, platform, "packed_x", x, operands=self.x)
        for column in range(self.config.columns):
            w = self.words.word_select(column, config.vector_bits)
            total = self._total(m, x.words, w, column)
            highest = total[config.word_bits - config.place_bits :]
            m.d.comb += self.products.word_select(column, config.place_bits).eq(highest)
        return m

    def _total(self, m: Module, x: Value, w: Value, column: int) -> Value:
        """Sum of the products of all words, and of a half of 1 at the highest place.

        The half pays back what a negative sum below that place borrows from it.
        """
        bits = self.config.weights.word_bits
        total: Value = Const(1 << bits - self.config.weights.place_bits >> 1)
        for word in range(self.config.weights.words):
            product = Signal(bits, name=f"product_{column}_{word}")
            m.d.comb += product.eq(x.word_select(word, bits) * w.word_select(word, bits))
            added = Signal(bits, name=f"total_{column}_{word}")
            m.d.comb += added.eq(total + product)
            total = added
        return total


def pack_weights(m: Module, platform: object, config: PackedConfig, w: Value) -> Value:
    """Words of the weights of all columns, lanes innermost, once for all rows."""
    words = []
    for column in range(config.columns):
        packed = PackedOperands(config.weights)
        own = w.word_select(column, config.lanes * config.weight_bits)
        place(m, platform, f"packed_w_{column}", packed, operands=own)
        words.append(packed.words)
    return Cat(words)
