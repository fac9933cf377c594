"""ReGLU FFNs on the host: decoding one token with and without skipping."""

from collections.abc import Callable
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .model import require

Backend = Literal["numpy", "torch"]

ROWS_AT_ONCE = 64
"""Rows that numpy gathers at a time: some that stay in the cache until they are multiplied."""


class HostFfn(NamedTuple):
    """Weights in floating point as a host reads them, rows of a neuron contiguous.

    Attributes
    ----------
    gate, up, down
        ``(D, d)``, float32; down transposed.
    a, b
        The predictor's factors: ``(rank, d)`` and ``(D, rank)``.
    bias
        ``(D,)``: neuron i is active iff ``(b a x)_i > bias_i``.
    """

    gate: NDArray[np.float32]
    up: NDArray[np.float32]
    down: NDArray[np.float32]
    a: NDArray[np.float32]
    b: NDArray[np.float32]
    bias: NDArray[np.float32]


Executor = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From x ``(d,)`` to y ``(d,)``."""


class Executors(NamedTuple):
    """One FFN in three ways.

    Attributes
    ----------
    dense
        All neurons.
    skipping
        Neurons that the predictor finds active, by gathering their rows.
    predict
        The predictor alone: indices of active neurons.
    """

    dense: Executor
    skipping: Executor
    predict: Callable[[NDArray[np.float32]], NDArray[np.int64]]


def executors(ffn: HostFfn, backend: Backend = "numpy") -> Executors:
    """Prepare an FFN to decode one token at a time.

    Of gathered rows, up and down are gathered only where the gate is positive.

    Raises
    ------
    UserError
        If torch is missing and asked for.
    """
    return _numpy(ffn) if backend == "numpy" else _torch(ffn)


def _numpy(ffn: HostFfn) -> Executors:
    gate, up, down, a, b, bias = ffn

    def dense(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return (np.maximum(gate @ x, 0) * (up @ x)) @ down

    def predict(x: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.flatnonzero(b @ (a @ x) > bias)

    scratch = np.empty((ROWS_AT_ONCE, gate.shape[1]), np.float32)

    def gathered(rows: NDArray[np.float32], some: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.take(rows, some, axis=0, out=scratch[: len(some)], mode="clip")

    def skipping(x: NDArray[np.float32]) -> NDArray[np.float32]:
        y, predicted = np.zeros_like(x), predict(x)
        for first in range(0, len(predicted), ROWS_AT_ONCE):
            some = predicted[first : first + ROWS_AT_ONCE]
            g = gathered(gate, some) @ x
            survivors = some[g > 0]
            h = g[g > 0] * (gathered(up, survivors) @ x)
            y += h @ gathered(down, survivors)
        return y

    return Executors(dense, skipping, predict)


def _torch(ffn: HostFfn) -> Executors:
    require("torch")
    import torch

    gate, up, down, a, b, bias = (torch.from_numpy(array) for array in ffn)

    def dense(x: NDArray[np.float32]) -> NDArray[np.float32]:
        token = torch.from_numpy(x)
        return ((gate @ token).relu_() * (up @ token) @ down).numpy()

    def active(token: Any) -> Any:
        return (b @ (a @ token) > bias).nonzero().flatten()

    def predict(x: NDArray[np.float32]) -> NDArray[np.int64]:
        return active(torch.from_numpy(x)).numpy()

    scratch = torch.empty_like(gate)  # fresh memory for every gather would cost more than it

    def gathered(rows: Any, indices: Any) -> Any:
        return torch.index_select(rows, 0, indices, out=scratch[: len(indices)])

    def skipping(x: NDArray[np.float32]) -> NDArray[np.float32]:
        token = torch.from_numpy(x)
        predicted = active(token)
        g = gathered(gate, predicted) @ token
        positive = g > 0
        survivors = predicted[positive]
        h = g[positive] * (gathered(up, survivors) @ token)
        return (h @ gathered(down, survivors)).numpy()

    return Executors(dense, skipping, predict)


def synthetic(d: int, D: int, rank: int, sparsity: float, seed: int = 0) -> HostFfn:
    """An FFN whose gate has low rank, so that its predictor is exact.

    Parameters
    ----------
    d, D, rank
        Features, neurons, rank of the gate, at least 2.
    sparsity
        Share of neurons whose gate is not positive for the tokens of :func:`synthetic_token`: the
        gate has a weight for their constant feature, and random ones for all others.
    seed
        Of the weights.
    """
    rng = np.random.default_rng(seed)
    up, down = (rng.standard_normal((D, d), np.float32) for _ in range(2))
    a = np.linalg.qr(rng.standard_normal((d, rank)))[0].T.astype(np.float32)
    b = rng.standard_normal((D, rank), np.float32)
    b[:, 0] = -np.sqrt(rank - 1) * NormalDist().inv_cdf(sparsity)
    return HostFfn(b @ a, up, down, a, b, np.zeros(D, np.float32))


def synthetic_token(ffn: HostFfn, seed: int = 1) -> NDArray[np.float32]:
    """A token ``(d,)``: normal, but 1 in the direction of the first row of A."""
    x = np.random.default_rng(seed).standard_normal(ffn.gate.shape[1], np.float32)
    return x + (1 - ffn.a[0] @ x) * ffn.a[0]
