"""One free-flowing native run of a design, compared with golden."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..golden.config import Config
from ..golden.design import Design
from ..golden.events import Counts
from ..golden.schedule import Traffic
from ..tb.scoreboard import Mismatch, check_counts, check_values
from .native import Model, Run

Progress = Callable[[str, int, int], None]
"""Called with what is under way, how much is done, and how much there is."""


@dataclass(frozen=True)
class Measured:
    """A run and what golden says of it.

    Attributes
    ----------
    run
        The native run.
    golden
        Counts that the law predicts.
    mismatches
        Differences; empty when RTL and golden agree.
    """

    run: Run
    golden: Counts
    mismatches: list[Mismatch]

    @property
    def cycles(self) -> int:
        """Cycles the hardware took."""
        return self.run.seen.span

    def summary(self) -> dict[str, Any]:
        """The fields of ``counts.json`` that every design has."""
        return {
            "cycles": self.cycles,
            "ideal_cycles": self.golden.ideal_cycles,
            "golden_cycles": self.golden.cycles,
            "events": self.run.seen.totals,
            "mismatches": len(self.mismatches),
            "sim": {
                "wall_s": round(self.run.seconds, 6),
                "cycles_per_s": round(self.run.cycles_per_second),
            },
        }


def measure(
    design: Design, config: Config, traffic: Traffic, golden: Counts, progress: Progress | None = None
) -> Measured:
    """Run ``traffic`` through the hardware and compare every output beat, event and the cycles."""
    expected = sum(len(traffic[port.name]) for port in design.ports(config) if port.direction == "out")
    report = progress or (lambda *_: None)
    report(f"building {design.name}", 0, 0)
    model = Model(design, config)
    report(f"simulating {design.name}", 0, expected)
    run = model.run(traffic, progress=lambda done: report(f"simulating {design.name}", done, expected))
    report(f"simulating {design.name}", expected, expected)
    found = check_values(model.ports, traffic, run.seen)
    if found:  # once more with cycles, to name the first
        run = model.run(traffic, trace=True)
        found = check_values(model.ports, traffic, run.seen)
    found += check_counts(design, config, golden, run.seen, free_flow=True)
    return Measured(run, golden, found)
