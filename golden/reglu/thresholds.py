"""Thresholds of a neuron predictor: how many neurons it drops, and which.

A neuron is active iff its score p, an integer, is above its threshold. Thresholds are found on
scores seen in calibration, and are such scores themselves, so that hardware drops what calibration
dropped. Source: arXiv 2603.14110; steps, ties and limits are our definition:

Step j of a neuron drops the ``floor(j * n / 256)`` smallest of its n scores and all that tie with
them. Its penalty is the sum of importance^2 of what it drops. One step at a time, the threshold
whose added penalty is least is raised, on a tie that of the lowest neuron, none beyond step 242,
until the share of dropped scores reaches the target.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..contract.errors import UserError

STEPS, LAST_STEP = 256, 242
ALWAYS = -(1 << 31)
"""The threshold of step 0: no score is as small, so the neuron is always active."""

_SCORES_AT_ONCE = 1 << 22


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Calibrated thresholds.

    Attributes
    ----------
    values
        ``(D,)``, int32.
    steps
        ``(D,)``, int16: how often each was raised, 0..242.
    target
        Share of scores to drop.
    reached
        Share dropped, ties included.
    """

    values: NDArray[np.int32]
    steps: NDArray[np.int16]
    target: float
    reached: float

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        share = f"{self.reached:.3f} of all neurons are dropped"
        if self.reached >= self.target:
            return f"{share}; the target was {self.target:.3f}."
        return f"Only {share}, all thresholds at the last step; the target was {self.target:.3f}."


def calibrate(p: NDArray[np.integer], importance: NDArray, target: float) -> Thresholds:
    """Raise thresholds until enough is dropped.

    Parameters
    ----------
    p
        ``(tokens, D)``: scores, INT32.
    importance
        ``(tokens, D)``, finite: what is lost if a neuron is dropped.
    target
        Share of scores to drop, 0..1. Above about 0.945 it is reached only with the help of ties.

    Returns
    -------
    Thresholds
        If the target cannot be reached, those that drop the most.

    Raises
    ------
    UserError
        If there are no tokens, shapes differ, or the target is not as above.
    """
    if p.ndim != 2 or p.shape != importance.shape or not p.size:
        raise UserError(
            "scores and importance must be (tokens, neurons), alike and not empty,"
            f" got {p.shape} and {importance.shape}."
        )
    if not 0 <= target <= 1:
        raise UserError(f"the target must be in 0..1, got {target}.")
    table = _table(p, importance)
    wanted = target * p.size
    steps = _raise(table, wanted)
    neurons = np.arange(p.shape[1])
    return Thresholds(
        values=table.values[neurons, steps],
        steps=steps.astype(np.int16),
        target=target,
        reached=float(table.dropped[neurons, steps].sum() / p.size),
    )


@dataclass(frozen=True, eq=False)
class _Table:
    """All neurons at all steps, ``(D, 243)``: threshold, dropped scores, penalty."""

    values: NDArray[np.int32]
    dropped: NDArray[np.int64]
    penalty: NDArray[np.float64]


def _table(p: NDArray[np.integer], importance: NDArray) -> _Table:
    """Tabulate some neurons at a time."""
    size = max(1, _SCORES_AT_ONCE // len(p))
    parts = [
        _rows(
            np.ascontiguousarray(p[:, first : first + size].T),
            np.ascontiguousarray(importance[:, first : first + size].T, np.float64),
        )
        for first in range(0, p.shape[1], size)
    ]
    return _Table(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.dropped for part in parts]),
        np.concatenate([part.penalty for part in parts]),
    )


def _rows(p: NDArray[np.integer], importance: NDArray[np.float64]) -> _Table:
    """Tabulate ``(neurons, tokens)``."""
    neurons, tokens = p.shape
    order = np.argsort(p, axis=1, kind="stable")
    ascending = np.take_along_axis(p, order, axis=1)
    squares = np.square(np.take_along_axis(importance, order, axis=1))
    penalty = np.concatenate([np.zeros((neurons, 1)), squares.cumsum(axis=1)], axis=1)

    smallest = np.arange(LAST_STEP + 1) * tokens // STEPS  # scores to drop, ties apart
    last = np.maximum(smallest - 1, 0)  # the largest score to drop
    dropped = np.where(smallest > 0, _through_ties(ascending)[:, last], 0)
    values = np.where(smallest > 0, ascending[:, last], ALWAYS)
    return _Table(values.astype(np.int32), dropped, np.take_along_axis(penalty, dropped, axis=1))


def _through_ties(ascending: NDArray[np.integer]) -> NDArray[np.int64]:
    """How many scores of a row are at most as large as each."""
    tokens = ascending.shape[1]
    ends = np.full(ascending.shape, tokens)
    differ = ascending[:, 1:] != ascending[:, :-1]
    ends[:, :-1][differ] = np.broadcast_to(np.arange(1, tokens), differ.shape)[differ]
    return np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]


def _raise(table: _Table, wanted: float) -> NDArray[np.int64]:
    """Steps of all neurons when so many scores are dropped.

    Taking the least next step again and again merges sequences: after a step, those of the same
    neuron that cost less follow at once, and those that cost as much wait for their turn. So steps
    are taken in the order of the largest added penalty up to them, then of the last step that
    added it, then of neurons, and one stable sort finds it.
    """
    if wanted <= 0:
        return np.zeros(len(table.values), np.int64)
    added = np.diff(table.penalty, axis=1)
    largest = np.maximum.accumulate(added, axis=1)
    turn = np.where(added == largest, np.arange(LAST_STEP), 0)
    turn = np.maximum.accumulate(turn, axis=1)
    order = np.lexsort((turn.ravel(), largest.ravel()))
    dropped = np.diff(table.dropped, axis=1).ravel()[order].cumsum()
    taken = np.searchsorted(dropped, wanted) + 1  # all, if there are too few
    return np.bincount(order[:taken] // LAST_STEP, minlength=len(table.values))
