"""What is to be shown of the dequantizer: handshakes."""

from ..golden.dequantizer import DEQUANTIZER, DequantizerConfig
from .goals import shown

SMALL = DequantizerConfig(rows=2, columns=1, acc_bits=2, errors=True)

GOALS = tuple(shown(DEQUANTIZER, SMALL, target="test"))
