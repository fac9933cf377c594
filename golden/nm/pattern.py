"""Patterns of N:M sparsity: how many weights of a block are stored, and in how many bits.

Source of the layout: :mod:`.format`.
"""

import re
from dataclasses import dataclass
from typing import Literal, Self, get_args

from ..arithmetic.quantise import FP16_BITS, INT4_BITS
from ..contract.errors import UserError

Encoding = Literal["smaller", "index", "bitmap"]
Metadata = Literal["none", "index", "bitmap"]

BLOCKS = (4, 8, 16)
GROUPS = (32, 64, 128)


@dataclass(frozen=True)
class Pattern:
    """``n`` of every ``m`` weights, and how the slots say where they stand.

    Attributes
    ----------
    n
        Slots of a block, 1..``m``; ``n = m`` is dense.
    m
        Weights of a block: 4, 8 or 16.
    encoding
        ``index`` or ``bitmap``; by default whichever is smaller, on a tie the index.

    Raises
    ------
    UserError
        If a value is not as above.
    """

    n: int
    m: int
    encoding: Encoding = "smaller"

    def __post_init__(self) -> None:
        if self.m not in BLOCKS:
            raise UserError(f"M must be one of {', '.join(map(str, BLOCKS))}, got {self.m}.")
        if not 1 <= self.n <= self.m:
            raise UserError(f"N must be in 1..{self.m}, got {self.n}.")
        if self.encoding not in get_args(Encoding):
            raise UserError(
                f"the encoding must be one of {', '.join(get_args(Encoding))},"
                f" got {self.encoding!r}."
            )

    @classmethod
    def parse(cls, text: str, encoding: Encoding = "smaller") -> Self:
        """Take a pattern as it is written, such as ``2:4``."""
        numbers = re.fullmatch(r"([0-9]{1,3}):([0-9]{1,3})", text)
        if numbers is None:
            raise UserError(f"a pattern must be written N:M, such as 2:4, got {text!r}.")
        return cls(int(numbers[1]), int(numbers[2]), encoding)

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    @property
    def index_bits(self) -> int:
        """Bits that tell a place in a block: log2(m)."""
        return self.m.bit_length() - 1

    @property
    def metadata(self) -> Metadata:
        """What a block stores beside its values."""
        if self.n == self.m:
            return "none"
        if self.encoding != "smaller":
            return self.encoding
        return "index" if self.n * self.index_bits <= self.m else "bitmap"

    @property
    def block_bits(self) -> int:
        """Bits of a block."""
        metadata = {"none": 0, "index": self.n * self.index_bits, "bitmap": self.m}
        return INT4_BITS * self.n + metadata[self.metadata]

    def bits_per_weight(self, group: int = 128) -> float:
        """Bits per weight of the dense matrix, scales included, padding left out.

        Parameters
        ----------
        group
            Input features that share a scale: 32, 64 or 128.
        """
        check_group(group)
        return self.block_bits / self.m + FP16_BITS / group

    def blocks(self, in_features: int) -> int:
        """Blocks of a row; the last one may be short."""
        return -(-in_features // self.m)

    def row_bytes(self, in_features: int, beat_bits: int) -> int:
        """Bytes of a packed row: whole beats."""
        check_beat(beat_bits)
        return -(-self.blocks(in_features) * self.block_bits // beat_bits) * beat_bits // 8


def check_group(group: int) -> None:
    """Raise :class:`UserError` unless scales can be shared by this many input features."""
    if group not in GROUPS:
        known = ", ".join(map(str, GROUPS))
        raise UserError(f"the weight group must be one of {known}, got {group}.")


def check_beat(beat_bits: int) -> None:
    """Raise :class:`UserError` unless a beat is whole bytes."""
    if beat_bits < 8 or beat_bits % 8:
        raise UserError(f"beat_bits must be a positive multiple of 8, got {beat_bits}.")
