"""What is to be shown of the toy unit: handshakes."""

from nibbleforge.tb.goals import shown

from .golden import MAXIMUM, SUM, ToyConfig

SMALL = ToyConfig(bits=2, longest=2)

SUM_GOALS = tuple(shown(SUM, SMALL))
MAXIMUM_GOALS = tuple(shown(MAXIMUM, SMALL))
