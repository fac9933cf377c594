"""The neuron-skipping FFN on the FFNs of the embedded ReGLU language model."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..golden.reglu import unit as reglu
from ..golden.reglu.config import RegluConfig, RegluSettings
from ..golden.reglu.predictor import Predictor
from ..tb.job import Job
from .demo import LayerResult, compare_in_cocotb, perform
from .llm.reglu_ablation import svd
from .llm.reglu_perplexity import Prepared
from .run.measure import Runner
from .tensors.ffns import FfnSample, FfnWeights, sample_path
from .tools.progress import Progress
from .tools.workers import Workers
from .units.simulate import Tensors, prepare, simulate

RANK, SHARE = 32, 0.7
"""Of the predictor: its rank, and the share of the natural sparsity that it is to reach."""

TOKENS, CORNER = 64, 2
"""Held-out tokens that the native harness takes, and the cocotb harness."""


@dataclass(frozen=True)
class FfnScope:
    """How much of the sample runs, and on what.

    Attributes
    ----------
    config
        The unit.
    numbers
        Layers whose FFNs run; empty: all.
    """

    config: RegluConfig = field(default_factory=RegluConfig)
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Layer:
    """An FFN, its held-out inputs and its predictor."""

    weights: FfnWeights
    x: NDArray[np.float32]
    predictor: Predictor


def layer(sample: FfnSample, number: int) -> Layer:
    """An FFN of the sample, its predictor built on the text that the model was trained on."""
    found = sample.layer(number)
    return Layer(found.weights, found.x_held_out, svd(Prepared.of(found), RANK, SHARE))


def run(
    jobs: int = 2,
    progress: Progress | None = None,
    *,
    scope: FfnScope | None = None,
    tests: str = "free_flow",
) -> list[LayerResult]:
    """Run held-out tokens of FFNs through both harnesses.

    Parameters
    ----------
    jobs, progress, tests
        As in :func:`.demo.run`.
    scope
        What runs; by default all FFNs.
    """
    with Workers(jobs) as workers, tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder:
        results, work = tasks(scope or FfnScope(), Path(folder), workers, tests)
        perform(work, workers, progress)
    return results


def tasks(
    scope: FfnScope, folder: Path, workers: Workers, tests: str = "free_flow"
) -> tuple[list[LayerResult], list[Callable[[], None]]]:
    """Results to come, and the work that fills them in; `folder` is for operands."""
    sample = FfnSample.open(sample_path())
    numbers = scope.numbers or tuple(range(sample.layers))
    chosen = [layer(sample, number) for number in numbers]
    results = [LayerResult(f"layers.{number}") for number in numbers]
    whole = [
        partial(_native, result, ffn, scope, workers)
        for result, ffn in zip(results, chosen, strict=True)
    ]
    return results, [
        partial(_corners, results, chosen, scope.config, folder, workers, tests),
        *whole,
    ]


def _native(result: LayerResult, layer: Layer, scope: FfnScope, workers: Workers) -> None:
    """Some tokens of a layer."""
    tensors = Tensors(layer.x[:TOKENS], ffn=layer.weights, predictor=layer.predictor)
    runner = Runner(workers)
    found = simulate(reglu.UNIT, scope.config, RegluSettings(), tensors, runner)
    result.simulations[reglu.UNIT.name] = found


def _corners(
    results: list[LayerResult],
    chosen: list[Layer],
    config: RegluConfig,
    folder: Path,
    workers: Workers,
    tests: str,
) -> None:
    """The first tokens of all layers."""
    name, operands = reglu.UNIT.name, []
    for layer in chosen:
        tensors = Tensors(layer.x[:CORNER], ffn=layer.weights, predictor=layer.predictor)
        prepared = prepare(reglu.UNIT, config, RegluSettings(), tensors)
        operands.append(prepared.runs[0].operands)
    job = Job.of(name, reglu.REGLU_FFN, config, list(range(len(results))))
    compare_in_cocotb(results, name, job, operands, folder, workers, tests)
