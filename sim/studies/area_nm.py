"""Areas of the N:M array of one lane: what blocks and the registers between elements cost."""

from .area import Array

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
