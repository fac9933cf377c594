"""Predictors of active neurons of a ReGLU FFN, without training.

:class:`Predictor` approximates the gate by two thin matrices, ``W_gate x ~ B (A x)``: the
projection of the gate onto its r strongest directions over calibration inputs X1. It is arXiv
2603.14110's, which whitens with a Cholesky factor of X1^T X1; that succeeds or fails by rounding
luck when X1 is rank-deficient. The same product without it:

    U, S = svd(W_gate X1^T);  A = diag(1 / S) U^T W_gate  (r x d);  B = U diag(S)  (D x r)

In integers (our definition): A and B are INT8 in +-127 per row, ``z = A x`` INT32, z8 its
multiply-shift, clipped to -128..127, ``p = B z8`` INT32; neuron i is active iff ``p_i > T_i``.

:class:`SignPredictor` counts how many of a neuron's products are negative, by sign bits alone, as
SparseInfer does, arXiv 2411.12692.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field as Number

from ..arithmetic.quantise import check_matrix
from ..contract.config import Config
from ..contract.errors import UserError
from .ffn import (
    FLOAT32_MAX,
    INT8_LIMIT,
    IntegerFfn,
    check_ffn,
    check_inputs,
    check_tokens,
    down_inputs,
    parts,
)
from .format import FixedPoint, between, exact_product, multiply_shift
from .thresholds import Thresholds, calibrate

RANK_TOLERANCE = 1e-10
"""Singular values at most this times the largest count as 0."""

UNIT = 256
"""What a conservativeness of 1 is in hardware: 8 binary places."""


class PredictsNeurons(Protocol):
    """What all predictors can do."""

    def predict(self, x_q: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Which neurons are active: ``(tokens, d)`` int8 to ``(tokens, D)`` bool."""

    def estimate(self, x_q: NDArray[np.int8]) -> NDArray[np.floating]:
        """What the prediction rests on, ``(tokens, D)``: the larger, the likelier active."""


# --- singular value decomposition ---------------------------------------------------------------


class Factors(NamedTuple):
    """``W_gate x ~ b (a x)``.

    Attributes
    ----------
    a
        ``(rank, d)``, float64; ``a x`` has unit norm, row by row, over X1.
    b
        ``(D, rank)``, float64; columns are orthogonal, the longest first.
    """

    a: NDArray[np.float64]
    b: NDArray[np.float64]


def factors(w_gate: ArrayLike, x1: ArrayLike, rank: int) -> Factors:
    """Construct A and B in float64.

    X1 enters through the triangle of its QR decomposition, a part at a time: ``W triangle^T`` and
    ``W X1^T`` have the same U and S, to some 1e-15 of S[0]; by way of the gram matrix, 1e-8 would
    be lost. Of each column of U the element of largest magnitude is positive.

    Parameters
    ----------
    w_gate
        ``(D, d)``, finite.
    x1
        ``(tokens, d)``, finite.
    rank
        At least 1, and at most what W_gate and X1 support.

    Raises
    ------
    UserError
        If something is not as above; the sentence names the possible rank.
    """
    w = check_matrix("gate", w_gate).astype(np.float64)
    x = check_tokens("x1", x1, w.shape[1])
    u, s, _ = np.linalg.svd(w @ _triangle(x).T, full_matrices=False)
    possible = int((s > RANK_TOLERANCE * s[0]).sum())
    if not possible:
        raise UserError(
            f"all gates are 0 on these {len(x)} calibration tokens: no rank is possible."
        )
    if not 1 <= rank <= possible:
        raise UserError(
            f"the rank must be in 1..{possible}, which is what these {len(x)} calibration tokens"
            f" and the gate support, got {rank}."
        )
    u, s = u[:, :rank], s[:rank]
    u = u * np.where(u[np.abs(u).argmax(axis=0), np.arange(rank)] < 0, -1, 1)
    alive = np.abs(w).max(axis=1, keepdims=True) > 0  # else b would be rounding errors
    b = np.where(alive, u * s, 0)
    return Factors((u.T @ w) / s[:, None], b)


def _triangle(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Triangle of the QR decomposition, ``(at most d, d)``."""
    rows = np.empty((0, x.shape[1]))
    for part in parts(x, max(1024, 2 * x.shape[1])):
        rows = np.asarray(np.linalg.qr(np.concatenate([rows, part.astype(np.float64)]), mode="r"))
    return rows


def scores(
    x_q: NDArray[np.int8], a_q: NDArray[np.int8], b_q: NDArray[np.int8], to_z8: FixedPoint
) -> NDArray[np.int32]:
    """p, ``(tokens, D)``, of inputs ``(tokens, d)``; arrays as in :class:`Predictor`."""
    return exact_product(_hidden(x_q, a_q, to_z8), b_q)


def _hidden(x_q: NDArray[np.int8], a_q: NDArray[np.int8], to_z8: FixedPoint) -> NDArray[np.int8]:
    """z8, ``(tokens, rank)``."""
    return multiply_shift(exact_product(x_q, a_q), *to_z8, bits=8).astype(np.int8)


class PredictorInfo(Config):
    """What a predictor is and how it was calibrated."""

    format: Literal["nibbleforge-predictor-1"] = "nibbleforge-predictor-1"
    """Of the file."""
    features: Annotated[int, Number(ge=1)]
    """Features, d."""
    neurons: Annotated[int, Number(ge=1)]
    """Neurons, D."""
    rank: Annotated[int, Number(ge=1)]
    """Rank, r."""
    x_scale: Annotated[float, Number(ge=0, le=FLOAT32_MAX)]
    """What 1 of x_q stands for."""
    z_scale: Annotated[float, Number(ge=0, allow_inf_nan=False)]
    """What 1 of z8 stands for."""
    natural_sparsity: Annotated[float, Number(ge=0, le=1)] | None = None
    """Share of neurons of X2 that add nothing; None without thresholds."""
    target: Annotated[float, Number(ge=0, le=1)] | None = None
    """Share of neurons of X2 to drop."""
    reached: Annotated[float, Number(ge=0, le=1)] | None = None
    """Share of neurons of X2 that are dropped."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """The integer predictor.

    Attributes
    ----------
    a_q
        ``(rank, d)``, int8 in +-127.
    b_q
        ``(D, rank)``, int8 in +-127.
    to_z8
        Factors ``(rank,)`` from z to z8.
    b_scale
        ``(D,)``, float64: what 1 of a row of ``b_q`` stands for; not needed to predict.
    info
        Shapes, scales, calibration.
    thresholds
        ``(D,)``, int32; None before calibration.
    """

    a_q: NDArray[np.int8]
    b_q: NDArray[np.int8]
    to_z8: FixedPoint
    b_scale: NDArray[np.float64]
    info: PredictorInfo
    thresholds: NDArray[np.int32] | None = None

    def hidden(self, x_q: NDArray[np.int8]) -> NDArray[np.int8]:
        """z8, ``(tokens, rank)``, of inputs ``(tokens, d)`` int8."""
        check_inputs(x_q, self.info.features)
        return _hidden(x_q, self.a_q, self.to_z8)

    def scores(self, x_q: NDArray[np.int8]) -> NDArray[np.int32]:
        """p, ``(tokens, D)``, of inputs ``(tokens, d)`` int8."""
        check_inputs(x_q, self.info.features)
        return scores(x_q, self.a_q, self.b_q, self.to_z8)

    def estimate(self, x_q: NDArray[np.int8]) -> NDArray[np.float64]:
        """What p stands for: the approximated gate, ``(tokens, D)``."""
        return self.scores(x_q) * (self.b_scale * self.info.z_scale)

    def predict(self, x_q: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Which neurons are active, ``(tokens, D)``.

        Raises
        ------
        UserError
            If ``x_q`` is not int8 ``(tokens, d)``, or there are no thresholds.
        """
        if self.thresholds is None:
            raise UserError("the predictor has no thresholds: calibrate it first.")
        return self.scores(x_q) > self.thresholds

    def calibrated(
        self, x2_q: NDArray[np.int8], importance: NDArray, share: float
    ) -> tuple["Predictor", Thresholds]:
        """The predictor with thresholds that drop a share of the natural sparsity.

        Parameters
        ----------
        x2_q
            ``(tokens, d)``, int8: inputs not used to construct the predictor.
        importance
            ``(tokens, D)``: what dropping a neuron costs, 0 where it adds nothing.
        share
            Neurons to drop, 0..1, relative to those that add nothing.

        Raises
        ------
        UserError
            If something is not as above.
        """
        if not 0 <= share <= 1:
            raise UserError(f"the share of the natural sparsity must be in 0..1, got {share}.")
        p = np.concatenate([self.scores(part) for part in parts(x2_q)])
        natural = float((importance == 0).mean())
        found = calibrate(p, importance, share * natural)
        info = self.info.replace(
            natural_sparsity=natural, target=found.target, reached=found.reached
        )
        return replace(self, info=info, thresholds=found.values), found


def construct(
    ffn: IntegerFfn, w_gate: ArrayLike, x1: ArrayLike, x2: ArrayLike, rank: int
) -> Predictor:
    """Construct an integer predictor without thresholds.

    Parameters
    ----------
    ffn
        Gives the scale of x.
    w_gate
        ``(D, d)``, finite.
    x1, x2
        ``(tokens, d)``, finite: inputs that give the factors, and those that give the scale of z8,
        one for all its elements, which just reach their limit.
    rank
        r, see :func:`factors`.

    Raises
    ------
    UserError
        As :func:`factors`, or if the gate is not that of the FFN.
    """
    if (shape := np.shape(w_gate)) != ffn.gate_q.shape:
        raise UserError(f"the gate must be {ffn.gate_q.shape}, as in the FFN, got {shape}.")
    a, b = factors(w_gate, x1, rank)
    (a_q, a_scale), (b_q, b_scale) = _by_row(a), _by_row(b)
    z_real = a_scale * float(ffn.x_scale)
    x2_q = ffn.take(x2)
    most = max(float((np.abs(exact_product(p, a_q)) * z_real).max()) for p in parts(x2_q))
    z_scale = most / INT8_LIMIT
    info = PredictorInfo(
        features=ffn.features,
        neurons=ffn.neurons,
        rank=rank,
        x_scale=float(ffn.x_scale),
        z_scale=z_scale,
    )
    return Predictor(a_q, b_q, between(z_real, z_scale), b_scale, info)


def build(
    ffn: IntegerFfn,
    weights: tuple[ArrayLike, ArrayLike, ArrayLike],
    x1: ArrayLike,
    x2: ArrayLike,
    rank: int,
    share: float,
    double_relu: bool = False,
) -> tuple[Predictor, Thresholds]:
    """Construct a predictor and calibrate its thresholds.

    Parameters
    ----------
    ffn
        The FFN in integers.
    weights
        It in floating point: gate and up ``(D, d)``, down ``(d, D)``.
    x1, x2
        As in :func:`construct`; X2 gives the thresholds as well.
    rank, share
        As in :func:`factors` and :meth:`Predictor.calibrated`.
    double_relu
        Whether neurons whose up is not positive add nothing.

    Raises
    ------
    UserError
        If an argument is not as above.
    """
    gate, up, down = check_ffn(*weights)
    x = check_tokens("x2", x2, ffn.features)
    uncalibrated = construct(ffn, gate, x1, x, rank)
    norms = np.linalg.norm(down, axis=0)
    importance = np.concatenate(
        [np.abs(down_inputs(gate, up, part, double_relu)) * norms for part in parts(x)]
    )
    return uncalibrated.calibrated(ffn.take(x), importance, share)


def _by_row(w: NDArray[np.float64]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """INT8 in +-127 in float64, and the scale of every row; a row of zeros has scale 0."""
    scale = np.abs(w).max(axis=1) / INT8_LIMIT
    q = np.rint(w / np.where(scale > 0, scale, np.inf)[:, None])
    return np.clip(q, -INT8_LIMIT, INT8_LIMIT).astype(np.int8), scale


# --- signs ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SignPredictor:
    """Active iff ``conservativeness * positives >= 256 * negatives``.

    Negatives are the features whose sign bit differs from that of the weight, positives all others;
    0 counts as positive, as its sign bit says.

    Attributes
    ----------
    negative
        ``(D, d)``, bool: sign bits of W_gate.
    conservativeness
        In units of 1/256; above 256, a neuron needs more negatives to be dropped.
    """

    negative: NDArray[np.bool_]
    conservativeness: int = UNIT

    def __post_init__(self) -> None:
        if self.conservativeness < 0:
            raise UserError(
                f"the conservativeness must be at least 0, got {self.conservativeness}."
            )

    @classmethod
    def of(cls, ffn: IntegerFfn, conservativeness: int = UNIT) -> "SignPredictor":
        """The predictor of an FFN."""
        return cls(ffn.gate_q < 0, conservativeness)

    def scores(self, x_q: NDArray[np.int8]) -> NDArray[np.int64]:
        """``conservativeness * positives - 256 * negatives``: ``(tokens, D)``."""
        check_inputs(x_q, self.negative.shape[1])
        signs, weight_signs = (1 - 2 * bits.astype(np.int8) for bits in (x_q < 0, self.negative))
        surplus = exact_product(signs, weight_signs).astype(np.int64)  # positives - negatives
        negatives = (self.negative.shape[1] - surplus) // 2
        return self.conservativeness * (surplus + negatives) - UNIT * negatives

    def estimate(self, x_q: NDArray[np.int8]) -> NDArray[np.float64]:
        """The scores as floats."""
        return self.scores(x_q).astype(np.float64)

    def predict(self, x_q: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Which neurons are active, ``(tokens, D)``."""
        return self.scores(x_q) >= 0
