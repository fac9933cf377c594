"""What is to be shown of the N:M array: handshakes."""

from ..golden.nm.config import NMConfig
from ..golden.nm.unit import ARRAY, UNIT
from .goals import PROVE, Goal, shown

GOALS = (
    *shown(ARRAY, NMConfig(rows=2, columns=2, span=1, max_k=8), target="test"),
    Goal(ARRAY, UNIT.presets["tiny"], PROVE),
)
