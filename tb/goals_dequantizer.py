"""What is to be shown of the dequantizer: handshakes."""

from ..golden.dequantizer import DEQUANTIZER, DequantizerConfig
from .goals import Goal, bounded, shown

SMALL = DequantizerConfig(rows=2, columns=1, acc_bits=2, errors=True)

GOALS = (
    Goal(DEQUANTIZER, SMALL, bounded(10), "test"),
    *shown(DEQUANTIZER, SMALL, target="deep"),
)
