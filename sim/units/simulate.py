"""Simulation of a unit on a user's tensors: RTL against golden, results and counts.

A unit declares ``prepare(config, settings, tensors)``, which turns tensors into a
:class:`Prepared`: the operands of its designs, and what becomes of what the hardware gives.
Everything else is the same for all units and stands here.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden.arithmetic.quantise import Int8Policy, QuantisedWeights, check_matrix
from ...golden.contract.config import Config
from ...golden.contract.design import Design, Unit
from ...golden.contract.errors import UserError
from ...golden.contract.events import Counts
from ...golden.contract.reference import resolve
from ...golden.reglu.predictor import Predictor
from ...golden.units import UNITS
from ...tb.scoreboard import Mismatch
from ..run.measure import Measured, Runner
from ..tensors.ffns import FfnWeights
from ..tensors.files import Capture
from ..tools.toolchain import versions


@dataclass(frozen=True)
class Tensors:
    """What the user gives.

    Attributes
    ----------
    activations
        ``(tokens, in_features)``, floats or int8 taken as quantised.
    weights
        ``(out_features, in_features)``, floats or int8 holding INT4; None for units without.
    int8_policy
        What to do with int8 activations beyond the range of the recoding.
    blocks
        The same weights as the model's file holds them, where it holds them quantised.
    ffn, predictor
        What the unit ``reglu`` takes in place of weights, the predictor if it has one.
    """

    activations: NDArray
    weights: NDArray | None = None
    int8_policy: Int8Policy = "error"
    blocks: QuantisedWeights | None = None
    ffn: FfnWeights | None = None
    predictor: Predictor | None = None

    def matrices(self) -> tuple[NDArray, NDArray]:
        """Activations and weights of a linear layer, checked."""
        if self.weights is None:
            raise UserError("the layer has no weights.")
        activations = check_matrix("activations", self.activations)
        return activations, check_matrix("weights", self.weights)


def of_capture(
    capture: Capture, layer: str, with_weights: bool, int8_policy: Int8Policy = "error"
) -> Tensors:
    """Operands of a captured layer."""
    x = capture.activations(layer)
    if not with_weights:
        return Tensors(x, None, int8_policy)
    return Tensors(x, capture.weights(layer), int8_policy, capture.quantised_weights(layer))


# --- what a unit declares -------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A design with operands."""

    design: Design
    config: Config
    operands: Any

    @property
    def golden(self) -> Counts:
        """Counts by the law."""
        return self.design.cycles(self.config, self.design.workload(self.config, self.operands))

    def measure(self, runner: Runner) -> Measured:
        """Run it in the native harness and compare."""
        traffic = self.design.traffic(self.config, self.operands)
        return runner.measure(self.design, self.config, traffic, self.golden)


@dataclass(frozen=True)
class Finished:
    """What becomes of what the hardware gave.

    Attributes
    ----------
    arrays
        File stem to array: results, and the operands that the hardware used.
    figures
        Fields of ``counts.json`` that the unit adds or knows.
    """

    arrays: dict[str, NDArray]
    figures: dict[str, Any]


class Prepared(ABC):
    """A user's tensors as operands of a unit.

    Attributes
    ----------
    config
        Configuration that runs: int8 operands may need another recoding than was given.
    """

    config: Any

    @property
    @abstractmethod
    def shape(self) -> Mapping[str, int | None]:
        """Extent of the layer, by name."""

    @property
    @abstractmethod
    def runs(self) -> tuple[Run, ...]:
        """What is run; the first one's cycles are the unit's."""

    @abstractmethod
    def finish(self, *measured: Measured) -> Finished:
        """Results and figures of the runs, in their order."""


Prepare = Callable[[Any, Any, Tensors], Prepared]
"""A unit's part of a simulation: ``prepare(config, settings, tensors)``."""


def prepare(owner: Unit, config: Config, settings: Config, tensors: Tensors) -> Prepared:
    """A user's tensors as operands of a unit.

    Raises
    ------
    UserError
        The unit takes no tensors, or others than these.
    """
    if not owner.simulation:
        known = ", ".join(unit.name for unit in UNITS.values() if unit.simulation)
        raise UserError(f"{owner.name} has no simulation of tensors; {known} have one.")
    if owner.takes == "layer" and tensors.weights is None:
        raise UserError(f"{owner.name} needs weights.")
    if owner.takes == "activations" and tensors.weights is not None:
        raise UserError(f"{owner.name} takes no weights.")
    if owner.takes == "ffn" and tensors.ffn is None:
        raise UserError(f"{owner.name} needs weights: an FFN with arrays gate, up and down.")
    declared: Prepare = resolve(owner.simulation)
    return declared(config, settings, tensors)


# --- the simulation -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Simulation:
    """Results of a simulation.

    Attributes
    ----------
    counts
        Content of ``counts.json``.
    arrays
        File stem to array: results and the operands that the hardware used.
    mismatches
        Differences between RTL and golden; empty when they agree.
    """

    counts: dict[str, Any]
    arrays: dict[str, NDArray]
    mismatches: list[Mismatch]


def simulate(
    owner: Unit, config: Config, settings: Config, tensors: Tensors, runner: Runner
) -> Simulation:
    """Prepare a user's tensors, run the RTL over all of them, compare, make results of it."""
    prepared = prepare(owner, config, settings, tensors)
    runs = prepared.runs
    measured = [run.measure(runner) for run in runs]
    finished = prepared.finish(*measured)
    mismatches = [found for each in measured for found in each.mismatches]
    counts = {
        "unit": owner.name,
        "config": prepared.config.model_dump(mode="json"),
        "config_hash": prepared.config.config_hash,
        "runtime": settings.model_dump(mode="json"),
        "shape": dict(prepared.shape),
        **measured[0].summary(),
        "mismatches": len(mismatches),
        **dict.fromkeys(_FIGURES),
        "baselines": [],
        **finished.figures,
        "versions": versions(),
    }
    if len(measured) > 1:
        counts["designs"] = {
            run.design.name: each.summary() for run, each in zip(runs, measured, strict=True)
        }
    return Simulation(counts, finished.arrays, mismatches)


_FIGURES = ("bits_per_activation", "bits_per_activation_padded", "bits_per_weight", "sqnr_db")
"""Fields of ``counts.json`` that are None where they do not apply."""


# --- figures that units share ---------------------------------------------------------------------


def times(a: NDArray, b: NDArray) -> NDArray[np.float32]:
    """Product as float32; what is beyond its range is infinite."""
    with np.errstate(over="ignore"):
        return (a * b).astype(np.float32)


def layer_sqnr_db(activations: NDArray, weights: NDArray, y: NDArray) -> float | None:
    """:func:`sqnr_db` of ``activations @ weights.T`` as the hardware gave it."""
    return sqnr_db(activations.astype(np.float64) @ weights.astype(np.float64).T, y)


def sqnr_db(exact: NDArray, got: NDArray) -> float | None:
    """Signal-to-quantisation-noise ratio in dB; None where it is infinite or undefined.

    Parameters
    ----------
    exact
        Finite.
    got
        The same shape; an infinite value leaves the ratio undefined.
    """
    exact = exact.astype(np.float64)
    noise = float(np.square(got - exact).sum())
    signal = float(np.square(exact).sum())
    if not (noise and signal and math.isfinite(noise)):
        return None
    return 10 * (math.log10(signal) - math.log10(noise))
