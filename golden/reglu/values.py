"""Neuron-skipping ReGLU FFN: operands and results.

Values are those of :mod:`.ffn` and :mod:`.predictor`, arXiv 2603.14110.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..contract.errors import UserError
from ..contract.layer import Chosen, check_integer
from ..contract.tiling import Tiling
from .config import RegluConfig
from .ffn import IntegerFfn, run
from .format import MULT_BITS, SHIFTS, Factor, FixedPoint
from .predictor import scores


@dataclass(frozen=True)
class FfnRun:
    """Operands of tokens through one FFN.

    Attributes
    ----------
    x
        ``(tokens, d)``, int8.
    gate, up, down
        ``(D, d)``, int8; down transposed.
    gate_mult, gate_shift, up_mult, up_shift
        ``(D,)``: factors from g to g16 and from u to u16, uint16 and uint8.
    h_mult, h_shift
        Factor from relu(g16) * u16 to h.
    a, b
        The predictor, ``(r, d)`` and ``(D, r)``, int8; r = 0 without.
    z_mult, z_shift
        ``(r,)``: factors from z to z8.
    thresholds
        ``(D,)``, int32.
    latency
        Cycles from a request to its first beat, at least 1, ``(n,)``: of n requests, then again.
    """

    x: NDArray[np.int8]
    gate: NDArray[np.int8]
    up: NDArray[np.int8]
    down: NDArray[np.int8]
    gate_mult: NDArray[np.uint16]
    gate_shift: NDArray[np.uint8]
    up_mult: NDArray[np.uint16]
    up_shift: NDArray[np.uint8]
    h_mult: int
    h_shift: int
    a: NDArray[np.int8]
    b: NDArray[np.int8]
    z_mult: NDArray[np.uint16]
    z_shift: NDArray[np.uint8]
    thresholds: NDArray[np.int32]
    latency: NDArray[np.integer]

    @property
    def shape(self) -> tuple[int, int, int]:
        """d, D and r."""
        return self.x.shape[1], len(self.gate), len(self.a)

    @property
    def ffn(self) -> IntegerFfn:
        """The FFN, every scale 1."""
        d, D, _ = self.shape
        one = np.float32(1)
        return IntegerFfn(
            self.gate,
            self.up,
            self.down,
            FixedPoint(self.gate_mult, self.gate_shift),
            FixedPoint(self.up_mult, self.up_shift),
            Factor(self.h_mult, self.h_shift),
            x_scale=one,
            h_scale=one,
            gate_scale=np.ones(D, np.float32),
            up_scale=np.ones(D, np.float32),
            down_scale=np.ones(d, np.float32),
        )

    def tiling(self, config: RegluConfig) -> Tiling:
        """A tile a token, with all outputs."""
        tokens, d = self.x.shape
        return Tiling(tokens, d, 1, -(-d // config.lanes) * config.lanes)

    def part(self, tokens: Chosen, outputs: Chosen) -> Self:
        """The operands of some tokens alone; outputs come as a whole."""
        return replace(self, x=self.x[tokens])

    def halves(self, config: RegluConfig) -> None:
        """None: what lies between the matrices is rounded."""


def check(config: RegluConfig, operands: FfnRun) -> None:
    """Raise :class:`UserError` unless the unit takes the operands."""
    if operands.x.ndim != 2 or not operands.x.size:
        raise UserError(f"x must be a matrix and not empty, got shape {operands.x.shape}.")
    if operands.gate.ndim != 2 or operands.a.ndim != 2:
        raise UserError("gate and a must be matrices.")
    d, D, rank = operands.shape
    for name, shape, dtype in _layout(len(operands.x), d, D, rank):
        found = getattr(operands, name)
        if found.shape != shape or found.dtype != dtype:
            raise UserError(
                f"{name} must be {np.dtype(dtype)} {shape}, got {found.dtype} {found.shape}."
            )
    check_shape(config, d, D, rank)
    for name in ("h_mult", "h_shift"):
        check_integer(name, getattr(operands, name))
    for name in ("gate_shift", "up_shift", "h_shift", "z_shift"):
        _check_range(name, np.asarray(getattr(operands, name)), *SHIFTS)
    _check_range("h_mult", np.asarray(operands.h_mult), 0, (1 << MULT_BITS) - 1)
    if operands.latency.ndim != 1 or not operands.latency.size:
        raise UserError(f"latency must be a vector, got shape {operands.latency.shape}.")
    _check_range("latency", operands.latency, 1, None)


def check_shape(config: RegluConfig, d: int, D: int, rank: int) -> None:
    """Raise :class:`UserError` unless the unit is large enough."""
    limits = [("features", d, config.max_features), ("neurons", D, config.max_neurons)]
    if config.predictor:
        limits.append(("the rank", rank, config.max_rank))
    elif rank:
        raise UserError(f"a unit without predictor takes rank 0, got {rank}.")
    for name, found, most in limits:
        if not 1 <= found <= most:
            raise UserError(f"{name} must be in 1..{most}, got {found}.")


def _layout(tokens: int, d: int, D: int, rank: int) -> list[tuple[str, tuple[int, ...], type]]:
    """Names, shapes and types of the arrays."""
    return [
        ("x", (tokens, d), np.int8),
        ("gate", (D, d), np.int8),
        ("up", (D, d), np.int8),
        ("down", (D, d), np.int8),
        ("gate_mult", (D,), np.uint16),
        ("gate_shift", (D,), np.uint8),
        ("up_mult", (D,), np.uint16),
        ("up_shift", (D,), np.uint8),
        ("a", (rank, d), np.int8),
        ("b", (D, rank), np.int8),
        ("z_mult", (rank,), np.uint16),
        ("z_shift", (rank,), np.uint8),
        ("thresholds", (D,), np.int32),
    ]


def _check_range(name: str, values: NDArray, least: int, most: int | None) -> None:
    """Refuse integers that are not within a range."""
    low, high = (int(values.min()), int(values.max())) if values.size else (least, least)
    if low < least or (most is not None and high > most):
        wanted = f"at least {least}" if most is None else f"in {least}..{most}"
        raise UserError(f"{name} must be {wanted}, got {low}..{high}.")


# --- values -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Neurons:
    """What becomes of the neurons of a token, bool ``(D,)`` each.

    Attributes
    ----------
    predicted
        Gate row is needed.
    positive
        Predicted ones that survive the gate: up row is needed.
    adding
        Those of them that survive the up: down row is needed.
    """

    predicted: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    adding: NDArray[np.bool_]


class Outcome(NamedTuple):
    """Results of a run.

    Attributes
    ----------
    y
        ``(tokens, d)``, int32.
    neurons
        What became of them, bool ``(tokens, D)`` each.
    """

    y: NDArray[np.int32]
    neurons: Neurons


def compute(config: RegluConfig, operands: FfnRun) -> Outcome:
    """The integer FFN on the neurons that are predicted."""
    check(config, operands)
    predicted = predict(config, operands)
    found = run(operands.ffn, operands.x, predicted, config.double_relu)
    return Outcome(found.y, Neurons(predicted, found.gate_survivors, found.survivors))


def predict(config: RegluConfig, operands: FfnRun) -> NDArray[np.bool_]:
    """Neurons whose gate is computed, ``(tokens, D)``."""
    if not config.predictor:
        return np.ones((len(operands.x), len(operands.gate)), np.bool_)
    to_z8 = FixedPoint(operands.z_mult, operands.z_shift)
    return scores(operands.x, operands.a, operands.b, to_z8) > operands.thresholds
