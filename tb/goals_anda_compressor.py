"""What is to be shown of Anda's compressor: handshakes."""

from ..golden.anda.compressor import COMPRESSOR, UNIT, CompressorConfig
from .goals import PROVE, Goal, proved_in_the_soak

SMALL = CompressorConfig(group=16, lanes=1, lanes_per_beat=1, beat=16)

GOALS = (
    *proved_in_the_soak(COMPRESSOR, SMALL, depth=20),
    Goal(COMPRESSOR, UNIT.presets["tiny"], PROVE),
)
