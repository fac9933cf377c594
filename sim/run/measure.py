"""One free-flowing native run of a design, compared with golden."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.events import Counts
from ...golden.contract.ports import Port
from ...golden.contract.schedule import Traffic
from ...golden.contract.tiling import Tiling
from ...tb.scoreboard import Mismatch, check_counts, check_values
from ..tools.progress import Progress
from ..tools.workers import Workers
from .native import Model, Run
from .verilator import Optimise

_SHORT = 50_000  # cycles that a simulator takes no longer for than a compiler to make it faster


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


def verdict(measured: Measured) -> str:
    """Cycles of the hardware, and whether values, events and cycles equal golden's."""
    wrong = len(measured.mismatches)
    return f"{measured.cycles:,}, {f'{wrong} mismatches' if wrong else 'equal'}"


def results(tiling: Tiling, port: Port, measured: Measured) -> NDArray[np.int64]:
    """Values that the hardware gave, as ``(tokens, outputs)``; zeros where beats are missing."""
    values = port.unpack(measured.run.seen.words[port.name])["value"].reshape(-1, tiling.columns)
    whole = np.zeros((len(tiling) * tiling.rows, tiling.columns), np.int64)
    whole[: len(values)] = values[: len(whole)]
    return tiling.join_result(whole.reshape(len(tiling), tiling.rows, tiling.columns))


def fp32_results(tiling: Tiling, port: Port, measured: Measured) -> NDArray[np.float32]:
    """The same where values are patterns of FP32 numbers."""
    return results(tiling, port, measured).astype(np.uint32).view(np.float32)


class Runner:
    """Runs designs in the native harness and compares them with golden.

    Parameters
    ----------
    workers
        Pool that the processes belong to.
    progress
        Called with what is under way.
    optimise
        How much the compiler does; None: ``quick`` for runs shorter than compiling for speed.
    """

    def __init__(
        self, workers: Workers, progress: Progress | None = None, optimise: Optimise | None = None
    ):
        self.workers = workers
        self.progress = progress or (lambda *_: None)
        self.optimise = optimise

    def measure(self, design: Design, config: Config, traffic: Traffic, golden: Counts) -> Measured:
        """Run ``traffic`` through the hardware; compare every output beat, event and the cycles."""
        outputs = [port.name for port in design.ports(config) if port.direction == "out"]
        expected = sum(len(traffic[name]) for name in outputs)
        self.progress(f"building {design.name}", 0, 0)
        by_length: Optimise = "quick" if golden.cycles < _SHORT else "fast"
        model = Model(design, config, optimise=self.optimise or by_length)
        stage = f"simulating {design.name}"
        self.progress(stage, 0, expected)
        run = model.run(
            traffic,
            workers=self.workers,
            progress=lambda done: self.progress(stage, done, expected),
        )
        found = check_values(model.ports, traffic, run.seen)
        if found:  # once more with cycles, to name the first
            run = model.run(traffic, workers=self.workers, trace=True)
            found = check_values(model.ports, traffic, run.seen)
        found += check_counts(design, config, golden, run.seen, free_flow=True)
        return Measured(run, golden, found)
