"""What is to be shown of Anda's compressor: handshakes."""

from ..golden.anda.compressor import COMPRESSOR, UNIT, CompressorConfig
from .goals import PROVE, Goal, shown

SMALL = CompressorConfig(group=16, lanes=1, lanes_per_beat=1, beat=16)

GOALS = (
    *shown(COMPRESSOR, SMALL),
    Goal(COMPRESSOR, UNIT.presets["tiny"], PROVE),
)
