"""Pruning to N:M: which ``n`` of every ``m`` weights along in_features survive, and their values.

Methods: ``magnitude`` |w|; ``wanda`` |w| * ||x||_2 (arXiv 2306.11695); ``second-order`` as
SparseGPT (arXiv 2301.00774): what a pruned weight contributed is made up for by later columns. So
can be what rounding loses, as in GPTQ (arXiv 2210.17323).
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arithmetic.quantise import check_matrix
from ..contract.errors import UserError
from .pattern import Pattern

Method = Literal["magnitude", "wanda", "second-order"]
METHODS: tuple[Method, ...] = get_args(Method)

DAMPING = 0.01
COLUMNS = 128  # worked on before the later columns are updated all at once
_SCORES_AT_ONCE = 1 << 21  # bounds the temporary arrays


class Pruned(NamedTuple):
    """A pruned matrix.

    Attributes
    ----------
    weights
        ``(out_features, in_features)``, float32, 0 where pruned.
    keep
        ``(out_features, in_features)``, bool: ``n`` survivors of every ``m``, in a short last block
        ``n`` or all if there are fewer. A survivor may be 0.
    """

    weights: NDArray[np.float32]
    keep: NDArray[np.bool_]


@dataclass(eq=False)
class Calibration:
    """What pruning needs to know of a layer's inputs, summed up over pieces of text.

    Attributes
    ----------
    squared_norms
        ``(in_features,)``, float64: sum of x^2 over the tokens.
    gram
        ``(in_features, in_features)``, float64: X^T X; None unless it is collected.
    tokens
        Tokens so far.
    """

    squared_norms: NDArray[np.float64]
    gram: NDArray[np.float64] | None
    tokens: int = 0

    @classmethod
    def empty(cls, in_features: int, gram: bool = True) -> Self:
        """No tokens yet; ``second-order`` alone needs the gram matrix."""
        square = np.zeros((in_features, in_features)) if gram else None
        return cls(np.zeros(in_features), square)

    def add(self, x: ArrayLike) -> None:
        """Add tokens.

        Parameters
        ----------
        x
            ``(tokens, in_features)``, floating point, finite; float64 is rounded to float32.

        Raises
        ------
        UserError
            If ``x`` is not such a matrix.
        """
        floats = check_matrix("activations", x).astype(np.float64)
        if floats.shape[1] != len(self.squared_norms):
            raise UserError(
                f"activations must have {len(self.squared_norms)} in_features,"
                f" got {floats.shape[1]}."
            )
        self.tokens += len(floats)
        self.squared_norms += np.einsum("tk,tk->k", floats, floats)
        if self.gram is not None:
            self.gram += floats.T @ floats


def prune(
    w: ArrayLike,
    pattern: Pattern,
    method: Method = "magnitude",
    calibration: Calibration | None = None,
    damping: float = DAMPING,
) -> Pruned:
    """Keep ``n`` of every ``m`` weights of each row; of equal scores, the lower index.

    Parameters
    ----------
    w
        ``(out_features, in_features)``, floating point, finite.
    pattern
        ``n`` and ``m``.
    method
        Scores in float64: ``magnitude`` |w|, ``wanda`` |w| * ||x||_2. Both leave survivors as
        they are; ``second-order`` changes them, see :func:`second_order`.
    calibration
        Inputs of the layer; unused for ``magnitude``.
    damping
        Of ``second-order``, relative to the mean diagonal of the gram matrix.

    Raises
    ------
    UserError
        If an argument is not as above.
    """
    floats = check_matrix("weights", w)
    if floats.dtype.type is np.int8:
        raise UserError("weights to be pruned must be floating point, got int8.")
    _check(floats, method, calibration, damping)
    if method == "second-order":
        assert calibration is not None
        return second_order(floats, pattern, inverse_factor(calibration, damping))
    norms = np.ones(1)
    if method == "wanda":
        assert calibration is not None
        norms = np.sqrt(calibration.squared_norms)
    keep = np.empty(floats.shape, np.bool_)
    step = max(1, _SCORES_AT_ONCE // floats.shape[1])
    for start in range(0, len(floats), step):
        part = slice(start, start + step)
        keep[part] = best(np.abs(floats[part]) * norms, pattern)
    return Pruned(np.where(keep, floats, np.float32(0)), keep)


def best(scores: NDArray[np.float64], pattern: Pattern) -> NDArray[np.bool_]:
    """The ``n`` highest of every ``m`` scores ``(rows, columns)``, ties to the lower index.

    In a short last block ``n`` survive, or all if there are fewer.
    """
    short = -scores.shape[1] % pattern.m
    padded = np.pad(-scores, ((0, 0), (0, short)), constant_values=np.inf)
    blocks = padded.reshape(len(scores), -1, pattern.m)
    order = np.argsort(blocks, axis=2, kind="stable")[:, :, : pattern.n]
    keep = np.zeros(blocks.shape, np.bool_)
    np.put_along_axis(keep, order, True, axis=2)
    return np.ascontiguousarray(keep.reshape(len(scores), -1)[:, : scores.shape[1]])


# --- second order -----------------------------------------------------------------------------


class InverseFactor(NamedTuple):
    """The inverse Hessian of a layer, factored; layers with the same inputs share it.

    Attributes
    ----------
    upper
        U, ``(in_features, in_features)``, float64, upper triangular: H^-1 = U^T U.
    dead
        ``(in_features,)``, bool: inputs that are always 0.
    """

    upper: NDArray[np.float64]
    dead: NDArray[np.bool_]


def inverse_factor(calibration: Calibration, damping: float = DAMPING) -> InverseFactor:
    """Factor the inverse of ``H = X^T X + damping * mean(diagonal) * 1``.

    Row j of U over its diagonal element is the first row of the inverse of H[j:, j:] over its own:
    what the columns from j on take over when weight j is pruned and those before it are settled.
    Dead inputs get 1 on the diagonal, which uncouples them.

    Parameters
    ----------
    calibration
        Inputs of the layer, with gram matrix.
    damping
        Relative to the mean diagonal, >= 0.

    Raises
    ------
    UserError
        If there is no gram matrix, or it is singular in spite of the damping.
    """
    if calibration.gram is None:
        raise UserError("second-order pruning needs a calibration with gram matrix.")
    hessian = calibration.gram.copy()
    diagonal = np.einsum("kk->k", hessian)  # a view
    dead = diagonal == 0
    mean = diagonal.mean()
    diagonal[dead] = 1
    diagonal += damping * mean
    try:  # H = R R^T with R upper triangular, by a Cholesky decomposition from the far end
        upper = np.linalg.cholesky(hessian[::-1, ::-1])[::-1, ::-1]
        inverse = np.triu(np.linalg.inv(upper))
    except np.linalg.LinAlgError:
        raise UserError(
            f"the gram matrix must not be singular: raise the damping above {damping}"
            " or calibrate with more tokens."
        ) from None
    return InverseFactor(inverse, dead)


class Grid(NamedTuple):
    """Symmetric integers that weights are rounded to.

    Attributes
    ----------
    bits
        Of a weight, at least 2.
    group
        Input features that share an FP16 scale; divides 128.
    """

    bits: int
    group: int

    @property
    def most(self) -> int:
        """Largest integer."""
        return (1 << (self.bits - 1)) - 1


def second_order(
    w: NDArray[np.float32], pattern: Pattern, factor: InverseFactor, grid: Grid | None = None
) -> Pruned:
    """Prune column by column, each time making up for the error in the columns to come.

    When a block of ``m`` is reached, its weights as updated so far are scored by w^2 / U_jj^2: the
    rise of ||(w - w') X||^2 if weight j alone were pruned and the columns after it made up for it.

    Parameters
    ----------
    w
        ``(out_features, in_features)``, float32; weights of dead inputs become 0.
    pattern
        ``n`` and ``m``.
    factor
        Of the layer's inputs.
    grid
        What survivors are rounded to, and made up for; none: they are not. A group's scale is that
        of its weights as updated when it is reached, ``fp16(absmax / (2^(bits-1) - 1))``.

    Raises
    ------
    UserError
        A scale overflows FP16.
    """
    rest = w.astype(np.float64)
    rest[:, factor.dead] = 0
    keep = np.empty(w.shape, np.bool_)
    for start in range(0, w.shape[1], COLUMNS):
        end = min(start + COLUMNS, w.shape[1])
        here = slice(start, end)
        upper = factor.upper[here, here]
        errors = _prune_columns(rest[:, here], keep[:, here], pattern, upper, grid)
        rest[:, end:] -= errors @ factor.upper[here, end:]
    return Pruned(rest.astype(np.float32), keep)


def _prune_columns(
    rest: NDArray[np.float64],
    keep: NDArray[np.bool_],
    pattern: Pattern,
    upper: NDArray[np.float64],
    grid: Grid | None,
) -> NDArray[np.float64]:
    """Prune ``(rows, columns)`` in place; the errors over U_jj, which later columns make up for."""
    errors = np.zeros_like(rest)
    for j in range(rest.shape[1]):
        if j % pattern.m == 0:
            block = slice(j, j + pattern.m)
            keep[:, block] = best(np.square(rest[:, block] / np.diag(upper)[block]), pattern)
        settled = rest[:, j]
        if grid is not None:
            if j % grid.group == 0:
                scale = _scale(rest[:, j : j + grid.group], grid)
            settled = _on_grid(settled, scale, grid)
        settled = np.where(keep[:, j], settled, 0)
        errors[:, j] = (rest[:, j] - settled) / upper[j, j]
        rest[:, j:] -= np.outer(errors[:, j], upper[j, j:])
        rest[:, j] = settled  # but for a rounding error it is
    return errors


def _scale(group: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Scale of each row's group, ``(rows,)``."""
    exact = np.abs(group).max(axis=1) / grid.most
    with np.errstate(over="ignore"):
        scale = exact.astype(np.float16).astype(np.float64)
    if not np.isfinite(scale).all():
        raise UserError(
            f"the scales of weights must fit FP16 (at most 65504), got {exact.max():g}."
        )
    return scale


def _on_grid(
    weights: NDArray[np.float64], scale: NDArray[np.float64], grid: Grid
) -> NDArray[np.float64]:
    """The multiples of the scales that are nearest; a scale of 0 gives 0."""
    q = np.divide(weights, scale, out=np.zeros_like(weights), where=scale != 0)
    return np.clip(np.rint(q), -grid.most, grid.most) * scale


def _check(
    w: NDArray[np.float32], method: Method, calibration: Calibration | None, damping: float
) -> None:
    if method not in METHODS:
        raise UserError(f"the method must be one of {', '.join(METHODS)}, got {method!r}.")
    if method == "magnitude":
        return
    if calibration is None or calibration.tokens == 0:
        raise UserError(f"{method} needs a calibration with at least one token.")
    if len(calibration.squared_norms) != w.shape[1]:
        raise UserError(
            f"the calibration must be of {w.shape[1]} in_features,"
            f" got {len(calibration.squared_norms)}."
        )
    if not 0 <= damping < np.inf:
        raise UserError(f"damping must be at least 0 and finite, got {damping}.")
