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

from ..golden.anda_compressor import CompressorConfig
from ..golden.anda_config import AndaConfig, AndaSettings, MantissaSettings
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
from .anda import layer_of
from .anda_compressor import groups_of
from .bitmap import format_of, high_halves
from .grouped import grouped_layer, take_groups
from .measure import Progress, Runner
from .simulate import Simulation, of_capture
from .simulators import SIMULATORS, WITHOUT_WEIGHTS
from .tensors import Capture, sample_path
from .workers import Workers

RUNS = {
    **{name: (name, "paper") for name in SIMULATORS if name not in ("fp16", "figna")},
    "sparqle q4_1": ("sparqle", "q4_1"),
}
"""What runs, by the name it is shown under: unit and preset. Rivals of Anda are counted only."""

CORNER = 32  # tokens and outputs that the cocotb harness takes


@dataclass
class LayerResult:
    """What the demo found for one layer of the sample.

    Attributes
    ----------
    layer
        Name of the layer.
    simulations
        Name in :data:`RUNS` to its native run over the whole layer.
    corners
        Design, as ``name/design``, to the verdict of its cocotb run on the first tokens and
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
    """Run every layer of a capture on all units that take tensors.

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

    def native(shown: str, name: str, preset: str) -> None:
        unit = UNITS[name]
        tensors = of_capture(capture, result.layer, with_weights=name not in WITHOUT_WEIGHTS)
        result.simulations[shown] = SIMULATORS[name](
            name, unit.presets[preset], unit.settings(), tensors, Runner(workers)
        )

    for shown, (name, preset) in RUNS.items():
        yield partial(native, shown, name, preset)


def _corner_tasks(
    capture: Capture, results: list[LayerResult], folder: Path, workers: Workers
) -> Iterator[Callable[[], None]]:
    """First tokens and outputs of all layers in one cocotb process per design."""

    def corner(shown: str, name: str, design: Design, config: Config) -> None:
        files = [folder / f"{shown}-{design.name}-{i}.npz" for i in range(len(results))]
        for file, result in zip(files, results, strict=True):
            operands = _operands(config, capture, result.layer)
            np.savez(file, **{item.name: getattr(operands, item.name) for item in fields(operands)})
        seeds = list(range(len(results)))
        job = Job.of(name, design, config, seeds, operands=[str(file) for file in files])
        outcome = cocotb.run(cocotb.build(design, config), job, workers, tests="free_flow")
        for seed, result in enumerate(results):
            result.corners[f"{shown}/{design.name}"] = _verdict(outcome, seed)

    for shown, (name, preset) in RUNS.items():
        config = UNITS[name].presets[preset]
        for design in UNITS[name].designs(config):
            yield partial(corner, shown, name, design, config)


def _verdict(outcome: cocotb.Outcome, seed: int) -> str:
    """Why the run of a seed failed; empty if it passed."""
    mine = [verdict for verdict in outcome.verdicts if re.search(rf"seed={seed}$", verdict.test)]
    return mine[0].message if mine else f"no verdict: {outcome.log[-500:]}"


def _operands(config: Config, capture: Capture, layer: str) -> Any:
    """First tokens and outputs of a layer, quantised as the unit's simulation does."""
    x, w = capture.activations(layer)[:CORNER], capture.weights(layer)[:CORNER]
    if isinstance(config, CompressorConfig):
        return groups_of(config, MantissaSettings(), x)
    if isinstance(config, AndaConfig):
        settings = AndaSettings()
        weights = take_weights(w, "group", settings.weight_group, not config.asymmetric)
        return layer_of(config, settings, x, weights)
    if isinstance(config, BitmapConfig):
        form = format_of(config)
        return high_halves(form, take_activations(x, form.limit).q)
    if isinstance(config, DenseConfig | SparqleConfig):
        q = take_activations(x, config.activation_range[1]).q
        if config.dequant == "group":
            return grouped_layer(config, q, take_groups(config, w, None))
        return Layer(q, take_weights(w).q)
    raise TypeError(f"no operands for {type(config).__name__}")
