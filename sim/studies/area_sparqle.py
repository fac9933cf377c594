"""Areas of the hybrid array beside both dense arrays, and what it gains for them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...golden.sparqle.config import SparqleConfig
from ..tensors.files import Capture
from .area import Array, Found
from .balance import Variant, balance

SQUARE = (
    Array("dense, 16 x 16", "dense"),
    Array("dense2k, 16 x 16", "dense2k"),
    Array("sparqle, 16 x 16", "sparqle"),
    Array("sparqle, chunk = 16, 16 x 16", "sparqle", values={"chunk": 16}),
    Array("sparqle, sharing = 4, 16 x 16", "sparqle", values={"sharing": 4}),
    Array("sparqle, sharing = 16, 16 x 16", "sparqle", values={"sharing": 16}),
    Array("sparqle, banks of registers, 16 x 16", "sparqle", memories="registers"),
)
VECTOR = (
    Array("dense, 1 x 256", "dense", "vector"),
    Array("dense2k, 1 x 256", "dense2k", "vector"),
    Array("sparqle, 1 x 256", "sparqle", "vector"),
)
EXTENTS = (SQUARE, VECTOR)
"""Arrays of like extent: ``dense``, ``dense2k``, then hybrid ones."""
GROUP_SCALES = (
    Array("sparqle with dequantizer, 16 x 16", "sparqle", "q4_1"),
    Array("dense with dequantizer, 16 x 16", "dense", "q4_0"),
    Array("dense2k with dequantizer, 16 x 16", "dense2k", "q4_0"),
)


@dataclass(frozen=True)
class Throughput:
    """An array's speed against its rivals of the same extent.

    Attributes
    ----------
    found
        The array's area.
    dense, dense2k
        The rivals' areas.
    over_dense2k
        Speed in cycles over ``dense2k``; ``dense`` has half of it.
    """

    found: Found
    dense: Found
    dense2k: Found
    over_dense2k: float

    def per_area(self, rival: Found, speed: float, *, memories: bool = True) -> float:
        """Throughput per area over a rival's at equal clock."""
        own = self.found.area - (0.0 if memories else self.found.memories)
        return speed * rival.area / own

    def break_even(self, rival: Found, speed: float) -> float | None:
        """Price of a memory bit at which throughput per area is the rival's; None without one."""
        logic = self.found.area - self.found.memories
        left = speed * rival.area - logic
        return left / self.found.bits if self.found.bits and left > 0 else None

    def row(self) -> list[object]:
        """As a table shows it."""
        twice = 2 * self.over_dense2k
        return [
            self.found.array.name,
            self.over_dense2k,
            f"{self.per_area(self.dense2k, self.over_dense2k):.2f}",
            f"{self.per_area(self.dense, twice):.2f}",
            f"{self.per_area(self.dense2k, self.over_dense2k, memories=False):.2f}",
            _price(self.break_even(self.dense2k, self.over_dense2k)),
            _price(self.break_even(self.dense, twice)),
        ]


def _price(price: float | None) -> str:
    return "none" if price is None else f"{price:.1f}"


def element_row(found: Found, rival: Found) -> list[object]:
    """One processing element beside the rival's; the share of decoders, memories left out."""
    element, other = (each.each("multiply_accumulate") for each in (found, rival))
    decoders = found.modules("list_decoder") / (found.area - found.memories)
    return [found.array.name, round(element), f"{element / other:.2f}", f"{decoders:.2f}"]


def throughputs(found: Sequence[Found], capture: Capture, tokens: int) -> Iterator[Throughput]:
    """Speed per area of arrays of one extent, as above, on the layers of a capture."""
    dense, dense2k, *hybrids = found
    yield Throughput(dense, dense, dense2k, 0.5)
    yield Throughput(dense2k, dense, dense2k, 1.0)
    for each in hybrids:
        (speed,) = balance(capture, [Variant(each.config_as(SparqleConfig), tokens)])
        yield Throughput(each, dense, dense2k, speed.over_dense2k)
