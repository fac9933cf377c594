"""The sample's language model in numpy: :mod:`.reglu_model`, with FFNs of any kind.

It needs no torch, and so measures on any machine what a predictor costs in perplexity.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .reglu_model import BASE

EPSILON = np.finfo(np.float32).eps
"""Of the norms, as in ``torch.nn.RMSNorm``."""

WINDOWS_AT_ONCE = 4
"""More of them do not fit the cache."""

Floats = NDArray[np.float32]

Ffn = Callable[[Floats], Floats]
"""From inputs ``(tokens, width)`` to outputs of the same shape."""


class Block(NamedTuple):
    """What surrounds an FFN; float32, matrices as in ``torch.nn.Linear``.

    Attributes
    ----------
    attention_norm, ffn_norm
        ``(width,)``.
    qkv
        ``(3 * width, width)``.
    out
        ``(width, width)``.
    """

    attention_norm: Floats
    qkv: Floats
    out: Floats
    ffn_norm: Floats


class Network(NamedTuple):
    """A language model but for its FFNs, float32.

    Attributes
    ----------
    embedding
        ``(vocabulary, width)``; also the output matrix.
    blocks
        Layer by layer.
    norm
        ``(width,)``.
    heads
        Of every attention.
    """

    embedding: Floats
    blocks: tuple[Block, ...]
    norm: Floats
    heads: int


def losses(network: Network, ffns: Sequence[Ffn], windows: NDArray[np.uint8]) -> NDArray:
    """Mean negative log-likelihood, in nats, of all tokens of a window but its first.

    Parameters
    ----------
    network
        The model.
    ffns
        An FFN a block.
    windows
        ``(windows, tokens)``: token ids; each window is read without knowledge of the others.

    Returns
    -------
    ndarray
        ``(windows,)``, float64. The exponential of its mean is the perplexity.
    """
    return np.concatenate([_losses(network, ffns, part) for part in _parts(windows)])


def _parts(windows: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for first in range(0, len(windows), WINDOWS_AT_ONCE):
        yield windows[first : first + WINDOWS_AT_ONCE]


def _losses(network: Network, ffns: Sequence[Ffn], windows: NDArray[np.uint8]) -> NDArray:
    logits = forward(network, ffns, windows[:, :-1]).astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    said = np.take_along_axis(logits, windows[:, 1:, None].astype(np.intp), axis=-1)[..., 0]
    return (np.log(np.exp(logits).sum(axis=-1)) - said).mean(axis=1)


def forward(network: Network, ffns: Sequence[Ffn], ids: NDArray[np.integer]) -> Floats:
    """Logits of the next token, ``(windows, tokens, vocabulary)``.

    Parameters
    ----------
    network, ffns
        As in :func:`losses`.
    ids
        ``(windows, tokens)``.
    """
    x = network.embedding[ids]
    width = x.shape[2]
    turn = _rotation(ids.shape[1], width // network.heads)
    for block, ffn in zip(network.blocks, ffns, strict=True):
        x = x + _attention(block, network.heads, _rms(x, block.attention_norm), turn)
        inputs = _rms(x, block.ffn_norm).reshape(-1, width)
        x = x + ffn(inputs).reshape(x.shape)
    return _rms(x, network.norm) @ network.embedding.T


def _rms(x: Floats, weight: Floats) -> Floats:
    """RMSNorm over the last axis."""
    return x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + EPSILON) * weight


def _attention(block: Block, heads: int, x: Floats, turn: tuple[Floats, Floats]) -> Floats:
    """Causal self-attention over tokens ``(windows, tokens, width)``."""
    windows, tokens, width = x.shape
    qkv = (x @ block.qkv.T).reshape(windows, tokens, 3, heads, width // heads)
    q, k, v = qkv.transpose(2, 0, 3, 1, 4)
    scores = _rotate(q, *turn) @ _rotate(k, *turn).swapaxes(2, 3) / np.float32(q.shape[3] ** 0.5)
    scores += np.triu(np.full((tokens, tokens), -np.inf, np.float32), 1)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = weights / weights.sum(axis=-1, keepdims=True) @ v
    return mixed.swapaxes(1, 2).reshape(windows, tokens, width) @ block.out.T


def _rotation(tokens: int, width: int) -> tuple[Floats, Floats]:
    """Cosine and sine ``(tokens, width / 2)`` of the rotary embedding."""
    angles = np.outer(np.arange(tokens), BASE ** (-np.arange(0, width, 2) / width))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _rotate(x: Floats, cosine: Floats, sine: Floats) -> Floats:
    """Turn pairs of features (one of each half) by the angle of their position."""
    first, second = np.split(x, 2, axis=-1)
    turned = first * cosine - second * sine, first * sine + second * cosine
    return np.concatenate(turned, axis=-1)
