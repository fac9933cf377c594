"""The demo of two minutes: one layer through each system and its rivals, on small arrays.

Arrays of 8 x 8 compile in a quarter of the time of larger ones, and gain what those gain.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..golden.fp16 import OPERAND_BITS
from ..golden.reglu.config import OPERAND_BITS as FFN_BITS
from . import demo, demo_ffn
from .demo import Case, LayerResult, Scope, perform
from .demo_ffn import FfnScope
from .tools.progress import Progress
from .tools.workers import Workers

EXTENT = 8
"""Rows and columns of the arrays."""

UNITS_SHOWN = ("anda", "sparqle", "nm", "dense", "dense2k")  # those that compile longest first
SCOPE = Scope(
    runs={name: Case(name, extent=EXTENT) for name in UNITS_SHOWN},
    layer="mlp.gate_proj",
    tokens=64,
    corner=2 * EXTENT,
)
"""A linear layer whose speed-up on nibbles is near the mean of the sample's."""

FFN_SCOPE = FfnScope(numbers=(1,))
"""The FFN whose speed-up is nearest to the mean of the sample's."""


@dataclass(frozen=True)
class Row:
    """A line of the demo's table.

    Attributes
    ----------
    layer, system
        What ran on what.
    idea
        How the system saves work, in a few words.
    cycles
        Of the RTL, or of golden where a rival is only counted.
    rival
        The dense system that the speed-up is over; empty for dense ones.
    speedup
        Cycles of the rival over those of the system.
    bits_per_activation
        Bits that an activation takes, in the mean.
    verdict
        Whether every beat, event and cycle equals golden: "yes", "NO" or "counted".
    """

    layer: str
    system: str
    idea: str
    cycles: int
    rival: str = ""
    speedup: float | None = None
    bits_per_activation: float | None = None
    verdict: str = "counted"


@dataclass(frozen=True)
class _System:
    """A system and the dense rival with as many multipliers of the same kind.

    Attributes
    ----------
    bits
        Bits of an activation, of a rival that is only counted.
    """

    name: str
    idea: str
    rival: str = ""
    bits: float | None = None


_SYSTEMS = (
    _System("dense", "4-bit multipliers"),
    _System("sparqle", "skips zero halves", "dense"),
    _System("dense2k", "8-bit multipliers"),
    _System("nm", "2 of 4 weights", "dense2k"),
    _System("fp16", "FP16 multipliers", bits=float(OPERAND_BITS)),
    _System("anda", "bit by bit", "fp16"),
)
_SYSTEMS_OF_FFN = (
    _System("dense FFN", "every neuron", bits=float(FFN_BITS)),
    _System("reglu", "skips neurons", "dense FFN"),
)


def run(jobs: int = 2, progress: Progress | None = None) -> tuple[LayerResult, LayerResult]:
    """Run a linear layer and an FFN of the embedded sample through both harnesses.

    Parameters
    ----------
    jobs
        Simulations at once.
    progress
        Called with what is under way.

    Returns
    -------
    Results of the linear layer and of the FFN.
    """
    with Workers(jobs) as workers, tempfile.TemporaryDirectory(prefix="nibbleforge-") as name:
        folder = Path(name)
        layers, work = demo.tasks(None, SCOPE, folder, workers)
        ffns, more = demo_ffn.tasks(FFN_SCOPE, folder, workers)
        perform([*work, *more], workers, progress)
    return layers[0], ffns[0]


def rows(layer: LayerResult, ffn: LayerResult) -> list[Row]:
    """The lines of the table, each rival before the system that it is compared with."""
    name = layer.layer.rpartition(".")[2]
    linear = [_row(name, system, layer) for system in _SYSTEMS]
    return [*linear, *(_row("FFN", system, ffn) for system in _SYSTEMS_OF_FFN)]


def _row(layer: str, system: _System, result: LayerResult) -> Row:
    simulation = result.simulations.get(system.name)
    if simulation is None:
        cycles = _counted(system.name, result)
        return Row(layer, system.name, system.idea, cycles, bits_per_activation=system.bits)
    counts = simulation.counts
    return Row(
        layer,
        system.name,
        system.idea,
        counts["cycles"],
        system.rival,
        _baseline(system.rival, counts)["speedup"] if system.rival else None,
        counts["bits_per_activation"],
        "NO" if result.failures_of(system.name) else "yes",
    )


def _counted(name: str, result: LayerResult) -> int:
    """Cycles of a rival that does not run, by the system that is compared with it."""
    baselines = (row for run in result.simulations.values() for row in run.counts["baselines"])
    return next(int(row["cycles"]) for row in baselines if row["unit"] == name)


def _baseline(name: str, counts: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(row for row in counts["baselines"] if row["unit"] == name)
