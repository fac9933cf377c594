"""Areas of the N:M array beside the dense array of the same multipliers."""

from ...golden.nm.config import NMConfig
from .area import Array, Found

RIVAL = Array("dense2k", "dense2k")
ARRAYS = tuple(
    Array(name, "nm", "channel", {"m": m, "span": span}, runs=5 if span == 4 else 3)
    for name, m, span in (
        ("m = 4, span = 4 (preset)", 4, 4),
        ("m = 8, span = 4", 8, 4),
        ("m = 16, span = 4", 16, 4),
        ("m = 4, span = 1: textbook", 4, 1),
        ("m = 4, span = 8", 4, 8),
        ("m = 4, span = 16: broadcast", 4, 16),
        ("m = 16, span = 1", 16, 1),
        ("m = 16, span = 16", 16, 16),
    )
)
KEPT = (2, 4, 8)
"""One weight of so many is kept."""


def row(found: Found, rival: Found) -> list[object]:
    """Area and throughput per area over the rival's: at equal clock, and with both paths."""
    ratio = found.area / rival.area
    paths = rival.path / found.path if rival.path and found.path else None
    cells = []
    for kept in KEPT:
        speed = kept / ratio
        cells.append(f"{speed:.2f}" + ("" if paths is None else f" ({speed * paths:.2f})"))
    m = found.config_as(NMConfig).m
    path = "-" if found.path is None else f"{found.path:.2f}"
    shown = [cell if kept < 2 * m else "" for kept, cell in zip(KEPT, cells, strict=True)]
    return [found.array.name, found.spread, f"{ratio:.2f}", path, *shown]
