"""Simulation of a unit on a user's tensors: RTL against golden, results and counts."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden.arithmetic.quantise import Int8Policy, QuantisedWeights
from ...golden.contract.config import Config
from ...golden.reglu.predictor import Predictor
from ...tb.scoreboard import Mismatch
from ..run.measure import Runner
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


def of_capture(
    capture: Capture, layer: str, with_weights: bool, int8_policy: Int8Policy = "error"
) -> Tensors:
    """Operands of a captured layer."""
    x = capture.activations(layer)
    if not with_weights:
        return Tensors(x, None, int8_policy)
    return Tensors(x, capture.weights(layer), int8_policy, capture.quantised_weights(layer))


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


Simulator = Callable[[str, Any, Any, Tensors, Runner], Simulation]
"""A unit's simulation: ``simulate(unit_name, config, settings, tensors, runner)``."""


def counts_of(
    unit_name: str,
    config: Config,
    settings: Config,
    shape: Mapping[str, int | None],
    measured: Mapping[str, Any],
    **figures: Any,
) -> dict[str, Any]:
    """``counts.json``: every field of the contract; what does not apply is None."""
    return {
        "unit": unit_name,
        "config": config.model_dump(mode="json"),
        "config_hash": config.config_hash,
        "runtime": settings.model_dump(mode="json"),
        "shape": dict(shape),
        **measured,
        "baselines": figures.pop("baselines", []),
        "bits_per_activation": figures.pop("bits_per_activation", None),
        "bits_per_activation_padded": figures.pop("bits_per_activation_padded", None),
        "bits_per_weight": figures.pop("bits_per_weight", None),
        "sqnr_db": figures.pop("sqnr_db", None),
        **figures,
        "versions": versions(),
    }


def times(a: NDArray, b: NDArray) -> NDArray[np.float32]:
    """Product as float32; what is beyond its range is infinite."""
    with np.errstate(over="ignore"):
        return (a * b).astype(np.float32)


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
