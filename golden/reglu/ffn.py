"""The integer ReGLU FFN: ``y = W_down (relu(W_gate x) * (W_up x))`` in INT8, neuron by neuron.

A neuron is a row of gate and up and a column of down. One that is not predicted, or whose gate is
not positive, adds nothing to y and is skipped. "Double ReLU", ``W_down (relu(W_gate x) *
relu(W_up x))``, also skips neurons whose up is not positive. Source of the FFN: arXiv 2603.14110;
widths and roundings are our definition:

    g, u = W_gate x, W_up x                  INT32; the tests g <= 0 and u <= 0 are made here
    g16, u16 = multiply-shifts of g and u    16 bits, saturating, a factor per row
    h = multiply-shift of relu(g16) * u16    clipped to +-127, one factor
    y += h * W_down^T[i, :]                  INT32

The scales of x, g16, u16 and h are static: one number each, found on calibration inputs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arithmetic.quantise import check_matrix
from ..contract.errors import UserError
from .format import Factor, FixedPoint, between, exact_product, multiply_shift

INT8_LIMIT, INT16_LIMIT = 127, 32767
FLOAT32_MAX = float(np.finfo(np.float32).max)
MAX_FEATURES = 1 << 17
"""Of d and D: INT8 products of so many features still fit INT32."""

TOKENS_AT_ONCE = 1024


# --- the FFN ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class IntegerFfn:
    """Weights and factors of an FFN of D neurons over d features.

    Attributes
    ----------
    gate_q, up_q
        ``(D, d)``, int8 in +-127.
    down_q
        Transposed: ``(D, d)``, int8 in +-127.
    to_g16, to_u16
        Factors ``(D,)`` from g to g16 and from u to u16.
    to_h
        The factor from relu(g16) * u16 to h.
    x_scale, h_scale
        What 1 of x and of h stands for.
    gate_scale, up_scale
        ``(D,)``, float32: what 1 of a row of ``gate_q``, ``up_q`` stands for.
    down_scale
        ``(d,)``, float32: what 1 of a column of ``down_q`` stands for.
    """

    gate_q: NDArray[np.int8]
    up_q: NDArray[np.int8]
    down_q: NDArray[np.int8]
    to_g16: FixedPoint
    to_u16: FixedPoint
    to_h: Factor
    x_scale: np.float32
    h_scale: np.float32
    gate_scale: NDArray[np.float32]
    up_scale: NDArray[np.float32]
    down_scale: NDArray[np.float32]

    @property
    def features(self) -> int:
        """Features of x and y, d."""
        return self.gate_q.shape[1]

    @property
    def neurons(self) -> int:
        """Neurons, D."""
        return self.gate_q.shape[0]

    def take(self, x: ArrayLike) -> NDArray[np.int8]:
        """Quantise inputs: ``clip(rint(x / x_scale), -127, 127)`` in fp32; scale 0 gives 0.

        Parameters
        ----------
        x
            ``(tokens, d)``, floating point, finite; or int8, which counts as scaled by 1, and stays
            as it is, -128 included, if that is the FFN's scale.

        Raises
        ------
        UserError
            If ``x`` is not such a matrix.
        """
        floats = check_tokens("activations", x, self.features)
        if np.asarray(x).dtype == np.int8 and self.x_scale == 1:
            return floats.astype(np.int8)
        return _nearest(floats, self.x_scale)

    def dequantise(self, y: NDArray[np.int32]) -> NDArray[np.float32]:
        """What outputs ``(tokens, d)`` stand for."""
        return y * (self.h_scale * self.down_scale)


def quantise_ffn(
    w_gate: ArrayLike,
    w_up: ArrayLike,
    w_down: ArrayLike,
    x_calibration: ArrayLike,
    x_scale: float | None = None,
) -> IntegerFfn:
    """Quantise an FFN; every weight row has a scale of its own, absmax / 127, in fp32.

    x, g16, u16 and h just reach their limits on the calibration inputs, the last three where the
    gate is positive; beyond these they saturate.

    Parameters
    ----------
    w_gate, w_up
        ``(D, d)`` as in ``torch.nn.Linear``, finite.
    w_down
        ``(d, D)``, finite.
    x_calibration
        ``(tokens, d)``, finite.
    x_scale
        What 1 of x stands for, if that is settled.

    Returns
    -------
    IntegerFfn

    Raises
    ------
    UserError
        If shapes do not agree, a value is not finite or so large that float32 may overflow, or d
        or D exceeds :data:`MAX_FEATURES`.
    """
    gate, up, down = check_ffn(w_gate, w_up, w_down)
    x = check_tokens("activations", x_calibration, gate.shape[1])
    (gate_q, gate_scale), (up_q, up_scale), (down_q, down_scale) = map(_by_row, (gate, up, down))
    found = np.abs(x).max() / np.float32(INT8_LIMIT)
    scale = found if x_scale is None else np.float32(x_scale)
    _check_magnitudes(gate, up, down, x)
    ranges = _ranges(gate, up, x)
    g16_scale, u16_scale = ranges.gate / INT16_LIMIT, ranges.up / INT16_LIMIT
    h_scale = np.float32(ranges.h / INT8_LIMIT)
    return IntegerFfn(
        gate_q=gate_q,
        up_q=up_q,
        down_q=np.ascontiguousarray(down_q.T),
        to_g16=between(np.float64(scale) * gate_scale, g16_scale),
        to_u16=between(np.float64(scale) * up_scale, u16_scale),
        to_h=Factor.of(between(g16_scale * u16_scale, float(h_scale))),
        x_scale=scale,
        h_scale=h_scale,
        gate_scale=gate_scale,
        up_scale=up_scale,
        down_scale=down_scale,
    )


class Result(NamedTuple):
    """What an FFN computes, and what became of its neurons.

    Attributes
    ----------
    y
        ``(tokens, d)``, int32.
    gate_survivors
        ``(tokens, D)``, bool: predicted neurons whose gate is positive; their up row is needed.
    survivors
        Those of them that add to y; fewer only with double ReLU. Their down row is needed.
    false_positives
        Predicted neurons whose gate is not positive.
    false_negatives
        Neurons not predicted that would have survived.
    """

    y: NDArray[np.int32]
    gate_survivors: NDArray[np.bool_]
    survivors: NDArray[np.bool_]
    false_positives: NDArray[np.bool_]
    false_negatives: NDArray[np.bool_]


def run(
    ffn: IntegerFfn,
    x_q: NDArray[np.int8],
    mask: NDArray[np.bool_] | None = None,
    double_relu: bool = False,
) -> Result:
    """Compute the FFN, bit by bit.

    Parameters
    ----------
    ffn
        The FFN.
    x_q
        ``(tokens, d)``, int8.
    mask
        ``(tokens, D)``, bool: neurons predicted active; None for all.
    double_relu
        Whether a neuron also ends where up is not positive.

    Raises
    ------
    UserError
        If ``x_q`` or ``mask`` is not as above.
    """
    check_inputs(x_q, ffn.features)
    predicted = np.ones((len(x_q), ffn.neurons), np.bool_) if mask is None else mask
    if predicted.shape != (len(x_q), ffn.neurons) or predicted.dtype != np.bool_:
        raise UserError(
            f"the mask must be bool of shape {(len(x_q), ffn.neurons)},"
            f" got {predicted.dtype} {predicted.shape}."
        )
    g, u = exact_product(x_q, ffn.gate_q), exact_product(x_q, ffn.up_q)
    positive = g > 0
    active = positive & (u > 0) if double_relu else positive
    survivors = predicted & active
    h = np.where(survivors, _down_input(ffn, g, u), 0)
    return Result(
        y=exact_product(h, ffn.down_q.T),
        gate_survivors=predicted & positive,
        survivors=survivors,
        false_positives=predicted & ~positive,
        false_negatives=active & ~predicted,
    )


def _down_input(
    ffn: IntegerFfn, g: NDArray[np.int32], u: NDArray[np.int32]
) -> NDArray[np.signedinteger]:
    """What every neuron would hand to down, h."""
    g16 = multiply_shift(g, *ffn.to_g16, bits=16)
    u16 = multiply_shift(u, *ffn.to_u16, bits=16)
    h = multiply_shift(np.maximum(g16, 0) * u16, *ffn.to_h, bits=8)
    return np.maximum(h, -INT8_LIMIT)


# --- in floating point ------------------------------------------------------------------------


def reference(
    w_gate: NDArray, w_up: NDArray, w_down: NDArray, x: NDArray, double_relu: bool = False
) -> NDArray[np.float64]:
    """The FFN in float64, ``(tokens, d)``."""
    gate, up, down, x64 = (array.astype(np.float64) for array in (w_gate, w_up, w_down, x))
    return down_inputs(gate, up, x64, double_relu) @ down.T


def down_inputs(gate: NDArray, up: NDArray, x: NDArray, double_relu: bool = False) -> NDArray:
    """``relu(W_gate x) * W_up x``, or ``relu(W_gate x) * relu(W_up x)``: ``(tokens, D)``."""
    u = x @ up.T
    return np.maximum(x @ gate.T, 0) * (np.maximum(u, 0) if double_relu else u)


def check_ffn(
    w_gate: ArrayLike, w_up: ArrayLike, w_down: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The weights as float32, once they are known to fit together."""
    gate = check_matrix("gate", w_gate).astype(np.float32, copy=False)
    up = check_matrix("up", w_up).astype(np.float32, copy=False)
    down = check_matrix("down", w_down).astype(np.float32, copy=False)
    if not gate.shape == up.shape == down.T.shape:
        raise UserError(
            "gate and up must be (D, d) and down (d, D),"
            f" got {gate.shape}, {up.shape} and {down.shape}."
        )
    if max(gate.shape) > MAX_FEATURES:
        raise UserError(f"d and D must be at most {MAX_FEATURES}, got {max(gate.shape)}.")
    return gate, up, down


def check_inputs(x_q: NDArray[np.int8], features: int) -> None:
    """Raise :class:`UserError` unless inputs are int8 ``(tokens, features)``."""
    if x_q.ndim != 2 or x_q.shape[1] != features or x_q.dtype != np.int8:
        raise UserError(f"x_q must be int8 (tokens, {features}), got {x_q.dtype} {x_q.shape}.")


# --- scales -----------------------------------------------------------------------------------


def _check_magnitudes(
    gate: NDArray[np.float32],
    up: NDArray[np.float32],
    down: NDArray[np.float32],
    x: NDArray[np.float32],
) -> None:
    """Refuse numbers so large that a product, a sum or a squared norm might overflow float32."""
    g, u, w, most = (max(float(m.max()), -float(m.min())) for m in (gate, up, down, x))
    D, d = gate.shape
    gates, ups = d * g * most, d * u * most
    largest = max(gates, ups, gates * ups, D * gates * ups * w, d * w * w)
    if largest > FLOAT32_MAX:
        raise UserError(
            f"the FFN's values must fit float32, but with inputs up to {most:.3g} and weights up to"
            f" {g:.3g} of gate, {u:.3g} of up and {w:.3g} of down they may reach {largest:.3g}."
        )


class _Ranges(NamedTuple):
    """Largest relu(gate), and largest |up| and |relu(gate) * up| of neurons that it lets pass."""

    gate: float
    up: float
    h: float


def _ranges(gate: NDArray[np.float32], up: NDArray[np.float32], x: NDArray[np.float32]) -> _Ranges:
    """Measure them on inputs."""
    found = np.zeros(3)
    for part in parts(x):
        g, u = np.maximum(part @ gate.T, 0), np.abs(part @ up.T)
        u[g == 0] = 0
        found = np.maximum(found, [g.max(), u.max(), (g * u).max()])
    return _Ranges(*map(float, found))


def parts(x: NDArray, tokens: int = TOKENS_AT_ONCE) -> Iterator[NDArray]:
    """Some tokens at a time: all intermediate values of 20,000 would take gigabytes."""
    for first in range(0, len(x), tokens):
        yield x[first : first + tokens]


def _by_row(w: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """INT8 in +-127, and the scale of every row."""
    scale = np.abs(w).max(axis=1) / np.float32(INT8_LIMIT)
    return _nearest(w, scale[:, None]), scale


def _nearest(values: NDArray[np.float32], scale: NDArray | np.float32) -> NDArray[np.int8]:
    """``clip(rint(values / scale), -127, 127)`` in fp32; scale 0 gives 0."""
    q = np.rint(values / np.where(scale > 0, scale, np.float32(np.inf)))
    return np.clip(q, -INT8_LIMIT, INT8_LIMIT).astype(np.int8)


def check_tokens(name: str, x: ArrayLike, features: int) -> NDArray[np.float32]:
    """Inputs as float32, once they are known to be ``(tokens, features)`` and finite."""
    floats = check_matrix(name, x).astype(np.float32, copy=False)
    if floats.shape[1] != features:
        raise UserError(f"{name} must have {features} in_features, got {floats.shape[1]}.")
    return floats
