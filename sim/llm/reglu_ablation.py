"""Predictors of active neurons to compare: what each part of the SVD predictor is worth.

All are calibrated on X2 to drop the same share of neurons, as nearly as each can.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...golden.reglu.predictor import UNIT, Predictor, SignPredictor, build, construct, factors
from .reglu_perplexity import Prepared


def svd(layer: Prepared, rank: int, share: float) -> Predictor:
    """The predictor as it is: factors from X1, calibrated thresholds."""
    return build(layer.ffn, layer.layer.weights, layer.x1, layer.x2, rank, share)[0]


def constant_bias(layer: Prepared, rank: int, share: float) -> Predictor:
    """The same factors, and one threshold for the approximated gates of all neurons."""
    predictor = construct(layer.ffn, layer.layer.gate, layer.x1, layer.x2, rank)
    estimates = predictor.estimate(layer.ffn.take(layer.x2))
    bias = np.quantile(estimates, share * layer.natural)
    units = predictor.b_scale * predictor.info.z_scale  # what 1 of p stands for; 0: p is 0
    bounds = np.iinfo(np.int32)
    exact = np.clip(bias / np.maximum(units, np.finfo(units.dtype).tiny), bounds.min, bounds.max)
    return replace(predictor, thresholds=np.floor(exact).astype(np.int32))


def sign(layer: Prepared, share: float) -> SignPredictor:
    """The sign predictor with the conservativeness that comes nearest to the share."""
    features = layer.ffn.features
    negatives = -SignPredictor.of(layer.ffn, 0).scores(layer.ffn.take(layer.x2)) // UNIT
    counts = np.bincount(negatives.ravel(), minlength=features + 1)
    dropped = 1 - counts.cumsum()[:-1] / negatives.size  # by most negatives that are let pass
    most = int(np.abs(dropped - share * layer.natural).argmin())
    return SignPredictor.of(layer.ffn, -(-UNIT * most // (features - most)))


@dataclass(frozen=True, eq=False)
class RandomPredictor:
    """Drops neurons by chance.

    Attributes
    ----------
    neurons
        D.
    dropped
        Share of them to drop.
    rng
        Chance.
    """

    neurons: int
    dropped: float
    rng: np.random.Generator

    def estimate(self, x_q: NDArray[np.int8]) -> NDArray[np.float64]:
        """Numbers in 0..1 that say nothing, ``(tokens, D)``."""
        return self.rng.random((len(x_q), self.neurons))

    def predict(self, x_q: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Which neurons are computed, ``(tokens, D)``."""
        return self.estimate(x_q) >= self.dropped


def by_chance(layer: Prepared, share: float) -> RandomPredictor:
    """Any neurons, the same for every run."""
    rng = np.random.default_rng(0)
    return RandomPredictor(layer.ffn.neurons, share * layer.natural, rng)


def difference(layer: Prepared, rank: int) -> float:
    """How far the product B A is from that of the paper's construction, relative to the latter.

    The paper whitens with a Cholesky factor of X1^T X1, ``X1^T X1 = F F^T``, truncates
    ``svd(W_gate F)`` to the rank and goes back by the inverse of F. In float64, Frobenius norms.
    """
    gate, x1 = layer.layer.gate.astype(np.float64), layer.x1.astype(np.float64)
    lower = np.linalg.cholesky(x1.T @ x1)
    u, s, vt = np.linalg.svd(gate @ lower, full_matrices=False)
    theirs = u[:, :rank] * s[:rank] @ np.linalg.solve(lower.T, vt[:rank].T).T
    a, b = factors(layer.layer.gate, layer.x1, rank)
    return float(np.linalg.norm(b @ a - theirs) / np.linalg.norm(theirs))
