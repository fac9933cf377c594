"""How good a predictor of active neurons is, and what it saves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..contract.errors import UserError
from .ffn import IntegerFfn, run
from .predictor import PredictsNeurons


@dataclass(frozen=True)
class Quality:
    """Of a predictor on inputs; a share of nothing is NaN.

    Attributes
    ----------
    natural
        Share of neurons that add nothing.
    dropped
        Share of neurons that the predictor drops.
    recall
        Share of the neurons that add something that is predicted.
    precision
        Share of the predicted neurons that add something.
    auc
        Area under the receiver operating characteristic of the predictor's estimates: how likely a
        neuron that adds something is ranked above one that does not, over all tokens and neurons.
    error
        Of the output against the same integer FFN without predictor: ``||y' - y|| / ||y||``.
    """

    natural: float
    dropped: float
    recall: float
    precision: float
    auc: float
    error: float


def quality(
    ffn: IntegerFfn, predictor: PredictsNeurons, x_q: NDArray[np.int8], double_relu: bool = False
) -> Quality:
    """Measure a predictor.

    Parameters
    ----------
    ffn
        The FFN.
    predictor
        Its predictor.
    x_q
        ``(tokens, d)``, int8: inputs not used to calibrate. All neurons of all tokens are sorted at
        once: some thousand tokens are enough.
    double_relu
        Whether neurons whose up is not positive add nothing.

    Raises
    ------
    UserError
        If ``x_q`` is not as above.
    """
    mask = predictor.predict(x_q)
    dense = run(ffn, x_q, None, double_relu)
    skipping = run(ffn, x_q, mask, double_relu)
    y, found = ffn.dequantise(dense.y), ffn.dequantise(skipping.y)
    hits = int(skipping.survivors.sum())
    return Quality(
        natural=1 - float(dense.survivors.mean()),
        dropped=1 - float(mask.mean()),
        recall=_share(hits, int(dense.survivors.sum())),
        precision=_share(hits, int(mask.sum())),
        auc=roc_auc(predictor.estimate(x_q), dense.survivors),
        error=_share(float(np.linalg.norm(found - y)), float(np.linalg.norm(y))),
    )


def roc_auc(scores: NDArray, positive: NDArray[np.bool_]) -> float:
    """The chance that a positive has the larger score; ties count half.

    By ranks (Mann-Whitney): ``(total - n (n + 1) / 2) / (n m)``, of the ranks of the n
    positives among all n + m scores, ties sharing their mean rank.

    Parameters
    ----------
    scores
        Of any shape.
    positive
        Of the same shape.

    Returns
    -------
    float
        NaN if there are no positives, or nothing else.
    """
    _, which, counts = np.unique(scores.ravel(), return_inverse=True, return_counts=True)
    rank = counts.cumsum() - (counts - 1) / 2
    n = int(positive.sum())
    above = rank[which.ravel()[positive.ravel()]].sum() - n * (n + 1) / 2
    return _share(float(above), n * (positive.size - n))


def share(d: int, D: int, rank: int, natural: float, dropped: float) -> float:
    """Multiplications of a skipping FFN relative to a dense one.

    ``[r (d + D) + (1 - dropped * natural) d D + 2 (1 - natural) d D] / (3 d D)``: the predictor,
    gate rows that are predicted, up and down rows of survivors (as if no survivor were missed).

    Parameters
    ----------
    d, D, rank
        Features, neurons, rank of the predictor (0: a predictor without multiplications).
    natural
        Share of neurons that add nothing, 0..1.
    dropped
        Share of those that the predictor drops, 0..1; 0 is early exit without predictor.

    Raises
    ------
    UserError
        If a number is not as above.
    """
    if min(d, D) < 1 or rank < 0:
        raise UserError(
            f"d and D must be at least 1 and the rank at least 0, got {d}, {D} and {rank}."
        )
    if not (0 <= natural <= 1 and 0 <= dropped <= 1):
        raise UserError(f"natural and dropped must be in 0..1, got {natural} and {dropped}.")
    rows = (1 - dropped * natural) + 2 * (1 - natural)
    return (rank * (d + D) / (d * D) + rows) / 3


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
