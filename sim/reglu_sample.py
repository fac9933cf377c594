"""ReGLU FFNs in files: those of the user, and the embedded sample."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..golden.errors import UserError
from ..golden.reglu_ffn import check_ffn
from .tensors import load_matrix, some

FFN_FORMAT = "nibbleforge-ffn-1"
"""What ``meta["format"]`` says in a file that :mod:`.reglu_train` wrote."""


class FfnWeights(NamedTuple):
    """Weights of an FFN, float32.

    Attributes
    ----------
    gate, up
        ``(D, d)`` as in ``torch.nn.Linear``.
    down
        ``(d, D)``.
    """

    gate: NDArray[np.float32]
    up: NDArray[np.float32]
    down: NDArray[np.float32]


def load_ffn(path: str | os.PathLike[str]) -> FfnWeights:
    """Read an FFN from a ``.npz`` or ``.safetensors`` file with arrays gate, up and down.

    Raises
    ------
    UserError
        If the file cannot be read, lacks one of them, or they do not fit together.
    """
    return FfnWeights(*check_ffn(*(load_matrix(path, name) for name in FfnWeights._fields)))


class FfnLayer(NamedTuple):
    """Weights and inputs of one FFN, float32.

    Attributes
    ----------
    gate, up
        ``(D, d)``.
    down
        ``(d, D)``.
    x, x_held_out
        ``(tokens, d)``: inputs to calibrate on, and inputs of text not trained on.
    """

    gate: NDArray[np.float32]
    up: NDArray[np.float32]
    down: NDArray[np.float32]
    x: NDArray[np.float32]
    x_held_out: NDArray[np.float32]


def sample_path() -> Path:
    """The embedded sample: all FFNs of a tiny ReGLU language model, see its README."""
    return Path(__file__).with_name("sample") / "reglu.npz"


@dataclass(frozen=True, eq=False)
class FfnSample:
    """FFN layers of a language model, read from the file when asked for.

    Attributes
    ----------
    path
        The ``.npz`` file: for every layer ``layers.N/gate``, ``/up``, ``/down``, ``/x`` and
        ``/x_held_out``, float16.
    layers
        Their number.
    meta
        Where they come from.
    """

    path: Path
    layers: int
    meta: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "FfnSample":
        """Open a file that :mod:`.reglu_train` wrote.

        Raises
        ------
        UserError
            If the file cannot be read or is not such a file.
        """
        path = Path(path)
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                meta = json.loads(archive["meta"].item())
                layers = sum(name.endswith("/gate") for name in archive.files)
        except OSError as error:
            raise UserError(
                f"{path} cannot be read: {error.strerror or 'it is damaged'}."
            ) from None
        except Exception as error:  # a damaged file raises a dozen kinds
            raise UserError(f"{path} does not hold FFNs with a 'meta'.") from error
        if not isinstance(meta, dict) or meta.get("format") != FFN_FORMAT:
            raise UserError(f"{path} does not hold FFNs: its 'meta' is not that of {FFN_FORMAT}.")
        return cls(path, layers, meta)

    def layer(self, number: int) -> FfnLayer:
        """Read a layer.

        Raises
        ------
        UserError
            If there is no such layer, or the file is damaged.
        """
        if not 0 <= number < self.layers:
            raise UserError(f"{self.path} has layers 0..{self.layers - 1}, got {number}.")
        kinds = (load_matrix(self.path, f"layers.{number}/{kind}") for kind in FfnLayer._fields)
        return FfnLayer(*(array.astype(np.float32) for array in kinds))


def ffn_of(path: str | os.PathLike[str], name: str) -> tuple[FfnWeights, NDArray[np.float32]]:
    """Weights and held-out inputs of a layer, ``layers.N``, of a file of FFNs.

    Raises
    ------
    UserError
        If the file or the layer is none.
    """
    file = FfnSample.open(path)
    names = [f"layers.{number}" for number in range(file.layers)]
    if name not in names:
        raise UserError(f"{path} has no layer {name!r}; its layers are {some(names)}.")
    layer = file.layer(names.index(name))
    return FfnWeights(layer.gate, layer.up, layer.down), layer.x_held_out
