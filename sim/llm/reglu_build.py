"""Neuron predictors for FFNs in files and in real LLMs."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...golden.arithmetic.quantise import check_matrix
from ...golden.contract.errors import UserError
from ...golden.reglu.ffn import quantise_ffn
from ...golden.reglu.predictor import Predictor, build
from ...golden.reglu.quality import Quality, quality
from ...golden.reglu.thresholds import Thresholds
from ..tensors.ffns import MLP, FfnWeights, calibration_of, in_full
from ..tools.progress import Progress
from .capture import capture

LEAST = 2
"""Tokens that give thresholds: the last step of a single one drops nothing."""

MEASURED = 2048
"""Tokens, at most, that the quality is measured on."""


class Passage(NamedTuple):
    """What an LLM reads, as in :func:`.capture.capture`."""

    tokens: int
    text: Path | None
    offset: int | None
    context: int


class Calibration(NamedTuple):
    """An FFN and its inputs.

    Attributes
    ----------
    weights
        The FFN.
    x1
        ``(tokens, d)``: inputs that give the factors.
    x2
        ``(tokens, d)``: inputs that give the thresholds; int8, which counts as scaled by 1, if X1
        is.
    """

    weights: FfnWeights
    x1: NDArray
    x2: NDArray


class Built(NamedTuple):
    """A predictor, how its calibration ended, and its quality on X2."""

    predictor: Predictor
    thresholds: Thresholds
    quality: Quality


def split(weights: FfnWeights, activations: NDArray, held_out: NDArray | None) -> Calibration:
    """Take inputs apart: the first half is X1, unless X2 is given.

    Raises
    ------
    UserError
        If they are not matrices of the same kind with numbers that are finite.
    """
    x = check_matrix("activations", activations)
    if held_out is None:
        return Calibration(weights, x[: len(x) // 2], x[len(x) // 2 :])
    x2 = check_matrix("held_out", held_out)
    if x2.shape[1] != x.shape[1]:
        raise UserError(
            f"held_out must have {x.shape[1]} in_features, as activations have, got {x2.shape[1]}."
        )
    if x2.dtype != x.dtype:
        raise UserError(f"held_out must be {x.dtype}, as activations are, got {x2.dtype}.")
    return Calibration(weights, x, x2)


def make(found: Calibration, rank: int, share: float, double_relu: bool = False) -> Built:
    """Build a predictor and measure it.

    Parameters
    ----------
    found
        What to calibrate on.
    rank, share, double_relu
        As in :func:`~nibbleforge.golden.reglu.predictor.build`.

    Raises
    ------
    UserError
        If tokens are too few, or something is not as that function wants it.
    """
    weights, x1, x2 = found
    check(rank, share)
    if len(x1) < rank or len(x2) < LEAST:
        raise UserError(
            f"rank {rank} needs at least {rank} tokens for its factors and {LEAST} others for"
            f" thresholds, got {len(x1)} and {len(x2)}."
        )
    scale = 1.0 if x1.dtype == np.int8 else None
    ffn = quantise_ffn(*weights, np.concatenate([x1, x2]), scale)
    predictor, thresholds = build(ffn, weights, x1, x2, rank, share, double_relu)
    measured = quality(ffn, predictor, ffn.take(x2[:MEASURED]), double_relu)
    return Built(predictor, thresholds, measured)


def check(rank: int, share: float) -> None:
    """Raise :class:`UserError` unless both are in range."""
    if rank < 1:
        raise UserError(f"the rank must be at least 1, got {rank}.")
    if not 0 <= share <= 1:
        raise UserError(f"the share of the natural sparsity must be in 0..1, got {share}.")


def from_model(
    model: str, name: str, passage: Passage, progress: Progress | None = None
) -> tuple[FfnWeights, NDArray[np.float32]]:
    """Weights of an FFN of a real LLM, and its inputs while it reads a text.

    Parameters
    ----------
    model, progress
        As in :func:`.capture.capture`.
    name
        A layer such as ``layers.0.mlp``, or its number.
    passage
        What it reads.

    Raises
    ------
    UserError
        As there, or if the layer is not a ReLU-gated FFN.
    """
    name = in_full(name, MLP)
    parts = [f"{name}.{part}_proj" for part in FfnWeights._fields]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ffn.npz"
        capture(
            model,
            parts,
            passage.tokens,
            output=file,
            text=passage.text,
            offset=passage.offset,
            context=passage.context,
            progress=progress,
        )
        return calibration_of(file, name)
