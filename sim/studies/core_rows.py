"""How fast a core runs an FFN whose rows come from memory, by its golden schedule."""

from dataclasses import dataclass, replace

import numpy as np

from ...golden.soc.unit import CoreRun
from .core import core_of
from .reglu_speed import operands_of


@dataclass(frozen=True)
class RowsUsage:
    """A token of an FFN.

    Attributes
    ----------
    latency
        Cycles from a burst to its first beat, and of the unit alone from a request to its first.
    alone, cycles
        Of the unit alone, and of the core from its first pass to the final word.
    bursts, beats
        That memory gave.
    """

    latency: int
    alone: int
    cycles: int
    bursts: int
    beats: int

    @property
    def share(self) -> float:
        """Speed as a share of that of the unit alone."""
        return self.alone / self.cycles


def rows_usage(
    preset: str,
    shape: tuple[int, int, int],
    natural: float,
    dropped: float,
    latency: int,
    tokens: int,
) -> RowsUsage:
    """Run a random FFN of this shape, (d, D, r), through both golden schedules.

    ``natural``: share of neurons that add nothing; ``dropped``: share of them that is not computed.
    """
    design, config = core_of("reglu", preset)
    assert design.inner is not None
    one = operands_of(shape, natural, dropped, latency)
    operands = replace(one, x=np.repeat(one.x, tokens, axis=0))
    found = design.schedule(config, CoreRun(operands, latency=np.array([latency])))
    counts = found.counts().events
    begun = int(found.events["core_passes"].cycles[0])
    return RowsUsage(
        latency,
        design.inner.schedule(config.unit, operands).counts().cycles,
        int(found.cycles["m_axis"][-1]) - begun + 1,
        counts["core_bursts"],
        counts["core_memory_beats"],
    )
