"""The main job on the embedded sample: real activations through both harnesses."""

import re
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..golden.bitmap import BitmapConfig
from ..golden.config import Config
from ..golden.dense import DenseConfig
from ..golden.design import Design
from ..golden.layer import Layer
from ..golden.quantise import take_activations, take_weights
from ..golden.sparqle_config import SparqleConfig
from ..golden.units import UNITS
from ..tb.job import Job
from . import cocotb
from .bitmap import format_of, high_halves
from .measure import Progress, Runner
from .simulate import Simulation, Tensors
from .simulators import SIMULATORS
from .tensors import Capture, sample_path
from .workers import Workers

PRESET = "paper"
CORNER = 32  # tokens and outputs that the cocotb harness takes


@dataclass
class LayerResult:
    """What the demo found for one layer of the sample.

    Attributes
    ----------
    layer
        Name of the layer.
    simulations
        Unit name to its native run over the whole layer.
    corners
        Design, as ``unit/design``, to the verdict of its cocotb run on the first tokens and
        outputs: empty, or why it failed.
    """

    layer: str
    simulations: dict[str, Simulation] = field(default_factory=dict)
    corners: dict[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        """Why the layer is not equal to golden; empty when it is, in both harnesses."""
        native = [str(found) for run in self.simulations.values() for found in run.mismatches]
        return native + [f"{design}: {text}" for design, text in self.corners.items() if text]


def run(
    path: Path | None = None, jobs: int = 2, progress: Progress | None = None
) -> list[LayerResult]:
    """Run every layer of a capture on the baselines and the bitmap codec.

    The native harness takes all tokens and outputs, the cocotb harness the first 32 of each, every
    port and event compared in every cycle.

    Parameters
    ----------
    path
        Capture; by default the embedded sample.
    jobs
        Simulations at once.
    progress
        Called with what is under way.
    """
    capture = Capture.open(path or sample_path())
    results = [LayerResult(layer) for layer in capture.layers]
    with Workers(jobs) as workers, tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder:
        tasks = [
            *_corner_tasks(capture, results, Path(folder), workers),
            *(task for result in results for task in _native_tasks(capture, result, workers)),
        ]
        running = [workers.start(task) for task in tasks]
        for done, finished in enumerate(as_completed(running), 1):
            finished.result()
            if progress:
                progress("simulating the sample", done, len(tasks))
    return results


def _native_tasks(
    capture: Capture, result: LayerResult, workers: Workers
) -> Iterator[Callable[[], None]]:
    """Whole layer on every unit."""
    x, w = capture.activations(result.layer), capture.weights(result.layer)

    def native(name: str) -> None:
        unit = UNITS[name]
        tensors = Tensors(x, None if name == "bitmap" else w)
        simulate = SIMULATORS[name]
        result.simulations[name] = simulate(
            name, unit.presets[PRESET], unit.settings(), tensors, Runner(workers)
        )

    for name in SIMULATORS:
        yield partial(native, name)


def _corner_tasks(
    capture: Capture, results: list[LayerResult], folder: Path, workers: Workers
) -> Iterator[Callable[[], None]]:
    """First tokens and outputs of all layers in one cocotb process per design."""

    def corner(name: str, design: Design, config: Config) -> None:
        files = [folder / f"{name}-{design.name}-{i}.npz" for i in range(len(results))]
        for file, result in zip(files, results, strict=True):
            x, w = capture.activations(result.layer), capture.weights(result.layer)
            operands = _operands(config, x[:CORNER], w[:CORNER])
            np.savez(file, **{item.name: getattr(operands, item.name) for item in fields(operands)})
        seeds = list(range(len(results)))
        job = Job.of(name, design, config, seeds, operands=[str(file) for file in files])
        outcome = cocotb.run(cocotb.build(design, config), job, workers, tests="free_flow")
        for seed, result in enumerate(results):
            result.corners[f"{name}/{design.name}"] = _verdict(outcome, seed)

    for name in SIMULATORS:
        unit = UNITS[name]
        config = unit.presets[PRESET]
        for design in unit.designs(config):
            yield partial(corner, name, design, config)


def _verdict(outcome: cocotb.Outcome, seed: int) -> str:
    """Why the run of a seed failed; empty if it passed."""
    mine = [verdict for verdict in outcome.verdicts if re.search(rf"seed={seed}$", verdict.test)]
    return mine[0].message if mine else f"no verdict: {outcome.log[-500:]}"


def _operands(config: Config, x: NDArray, w: NDArray) -> Any:
    """Operands of a unit, quantised as its simulation does."""
    if isinstance(config, BitmapConfig):
        form = format_of(config)
        return high_halves(form, take_activations(x, form.limit).q)
    if isinstance(config, DenseConfig | SparqleConfig):
        return Layer(take_activations(x, config.activation_range[1]).q, take_weights(w).q)
    raise TypeError(f"no operands for {type(config).__name__}")
