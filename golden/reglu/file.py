"""Predictors in files: a ``.npz`` with the arrays, and a JSON string that says what they are."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..contract.errors import UserError
from ..contract.files import opened
from .format import SHIFTS, FixedPoint
from .predictor import Predictor, PredictorInfo

INFO = "info"


def save(predictor: Predictor, path: str | os.PathLike[str]) -> None:
    """Write a predictor; equal predictors are equal bytes.

    Parameters
    ----------
    predictor
        With thresholds.
    path
        The file, as a rule ``.npz``.

    Raises
    ------
    UserError
        If it has no thresholds, or the file cannot be written.
    """
    if predictor.thresholds is None:
        raise UserError("the predictor has no thresholds: calibrate it before saving it.")
    arrays: dict[str, NDArray[Any]] = {
        "a_q": predictor.a_q,
        "b_q": predictor.b_q,
        "b_scale": predictor.b_scale,
        "z_mult": predictor.to_z8.mult,
        "z_shift": predictor.to_z8.shift,
        "thresholds": predictor.thresholds,
        INFO: np.array(json.dumps(predictor.info.model_dump())),
    }
    try:
        with Path(path).open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from None


def load(path: str | os.PathLike[str]) -> Predictor:
    """Read what :func:`save` wrote.

    Raises
    ------
    UserError
        If the file cannot be read, is damaged, or is not a predictor.
    """
    arrays = _read(Path(path))
    info = _parse(path, arrays)
    for name, (shape, dtype) in _layout(info).items():
        if name not in arrays:
            raise UserError(f"{path} is not a predictor: it has no array {name!r}.")
        found = arrays[name]
        if found.shape != shape or found.dtype != dtype:
            raise UserError(
                f"array {name!r} of {path} must be {np.dtype(dtype)} {shape},"
                f" got {found.dtype} {found.shape}."
            )
    shift = arrays["z_shift"]
    if shift.min() < SHIFTS[0] or shift.max() > SHIFTS[1]:
        raise UserError(
            f"the shifts in {path} must be in {SHIFTS[0]}..{SHIFTS[1]},"
            f" got {shift.min()}..{shift.max()}."
        )
    to_z8 = FixedPoint(arrays["z_mult"], shift)
    a_q, b_q, b_scale = (arrays[name] for name in ("a_q", "b_q", "b_scale"))
    return Predictor(a_q, b_q, to_z8, b_scale, info, arrays["thresholds"])


def _layout(info: PredictorInfo) -> dict[str, tuple[tuple[int, ...], DTypeLike]]:
    """Arrays of a file: shapes and types."""
    d, D, rank = info.features, info.neurons, info.rank
    return {
        "a_q": ((rank, d), np.int8),
        "b_q": ((D, rank), np.int8),
        "b_scale": ((D,), np.float64),
        "z_mult": ((rank,), np.uint16),
        "z_shift": ((rank,), np.uint8),
        "thresholds": ((D,), np.int32),
    }


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a file."""
    try:
        with opened(path) as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise UserError(f"{path} is not a predictor: it is not a .npz file.")
            return dict(archive.items())
    except UserError:
        raise
    except OSError as error:
        reason = error.strerror or "it is damaged"
        raise UserError(f"{path} cannot be read: {reason}.") from None
    except Exception as error:  # a damaged file raises a dozen kinds
        raise UserError(f"{path} is not a valid .npz file.") from error


def _parse(path: str | os.PathLike[str], arrays: dict[str, NDArray[Any]]) -> PredictorInfo:
    """What the file says of itself."""
    if INFO not in arrays:
        raise UserError(f"{path} is not a predictor: it has no array {INFO!r}.")
    try:
        content = json.loads(arrays[INFO].item())
    except (ValueError, TypeError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a predictor: its {INFO!r} is not JSON.")
    try:
        return PredictorInfo(**content)
    except UserError as error:
        raise UserError(f"{path} is not a predictor that can be read: {error}") from None
