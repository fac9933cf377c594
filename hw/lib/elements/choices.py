"""What weights choose, decoded once a column for all rows of an array.

A vector has a bit for each pair or lane and column, columns innermost: bit ``i`` is of column
``i % C``.
"""

from typing import Literal

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ....golden.contract.config import Config
from ....golden.contract.layer import WEIGHT_BITS
from ..adders import carry_save
from ..base import Part
from .element import dot_bits


class TreeConfig(Config):
    """Parameters of dot products by carry-save adders."""

    operand_bits: int = Parameter(ge=1)
    """Bits of an activation, or of its half."""
    weight_bits: int = Parameter(default=WEIGHT_BITS, ge=2)
    """Bits of a weight."""
    lanes: int = Parameter(ge=1)
    """Products of a sum (L)."""
    columns: int = Parameter(ge=1)
    """Sums that share activations (C)."""
    tree: Literal["carry_save", "pair_sums"]
    """What is added up; see :data:`nibbleforge.golden.contract.elements.Tree`."""

    @property
    def product_bits(self) -> int:
        """Bits of a sum."""
        return dot_bits(self.operand_bits, self.weight_bits, self.lanes)

    @property
    def digits(self) -> int:
        """Booth digits of a weight."""
        return -(-self.weight_bits // 2)

    def doubles(self, digit: int) -> bool:
        """Whether a digit is in -2..2; one of a lone top bit is in -1..1."""
        return 2 * digit + 1 < self.weight_bits

    @property
    def correction_bits(self) -> int:
        """Bits of the sum of what negative Booth digits still lack."""
        return (self.lanes * sum(4**digit for digit in range(self.digits))).bit_length()


def choices_layout(config: TreeConfig) -> data.StructLayout:
    """What the weights of all columns choose."""
    if config.tree == "pair_sums":
        pairs = config.lanes // 2 * config.columns
        bits = range(config.weight_bits)
        names = [f"{name}_{bit}" for bit in bits for name in ("even", "odd", "both")]
        return data.StructLayout(dict.fromkeys(names, pairs))
    lanes = config.lanes * config.columns
    names = [
        f"{name}_{digit}"
        for digit in range(config.digits)
        for name in ("one", "two", "negate")
        if name != "two" or config.doubles(digit)
    ]
    correction = config.correction_bits * config.columns
    return data.StructLayout({**dict.fromkeys(names, lanes), "correction": correction})


class WeightChoices(Part[TreeConfig]):
    """Decodes the weights of all columns.

    With ``pair_sums``, bit i of a pair's two weights chooses the activation of the ``even`` lane,
    of the ``odd`` one, or the sum of ``both``. With ``carry_save``, each Booth digit is 0, or
    ``one`` or ``two`` activations, perhaps to ``negate``; what inverting lacks to negating is the
    ``correction`` of a column, which has bit slice after bit slice.
    """

    def __init__(self, config: TreeConfig):
        bits = config.columns * config.lanes * config.weight_bits
        super().__init__(config, {"w": In(bits), "choices": Out(choices_layout(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        slices = [self._slice(m, bit) for bit in range(self.config.weight_bits)]
        if self.config.tree == "pair_sums":
            self._pairs(m, slices)
        else:
            self._digits(m, slices)
        return m

    def _slice(self, m: Module, bit: int) -> Signal:
        """One bit of all weights, lane after lane, columns innermost."""
        lanes, columns = self.config.lanes, self.config.columns
        found = Signal(lanes * columns, name=f"slice_{bit}")
        m.d.comb += found.eq(
            Cat(
                self.w[(column * lanes + lane) * self.config.weight_bits + bit]
                for lane in range(lanes)
                for column in range(columns)
            )
        )
        return found

    def _pairs(self, m: Module, slices: list[Signal]) -> None:
        columns = self.config.columns
        for bit, found in enumerate(slices):
            even, odd = (
                Cat(found.word_select(lane, columns) for lane in range(first, self.config.lanes, 2))
                for first in (0, 1)
            )
            m.d.comb += [
                self.choices[f"even_{bit}"].eq(even & ~odd),
                self.choices[f"odd_{bit}"].eq(~even & odd),
                self.choices[f"both_{bit}"].eq(even & odd),
            ]

    def _digits(self, m: Module, slices: list[Signal]) -> None:
        """Digit i is ``-2 * w[2i+1] + w[2i] + w[2i-1]``; a lone top bit is its own sign."""
        negative: dict[int, list[Value]] = {}
        for digit in range(self.config.digits):
            low, high = slices[2 * digit], slices[2 * digit : 2 * digit + 2][-1]
            carry: Value = slices[2 * digit - 1] if digit else Const(0, len(low))
            negate = self.choices[f"negate_{digit}"]
            m.d.comb += self.choices[f"one_{digit}"].eq(low ^ carry)
            if self.config.doubles(digit):
                m.d.comb += self.choices[f"two_{digit}"].eq((high ^ low) & ~(low ^ carry))
            m.d.comb += negate.eq(high & ~(low & carry))
            negative[2 * digit] = [negate]
        columns, width = self.config.columns, self.config.correction_bits
        sums = carry_save(m, negative, width, columns)
        m.d.comb += self.choices.correction.eq(
            Cat(total[k] for k in range(width) for total in sums)
        )
