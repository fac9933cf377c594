"""Operands from files: the user's own tensors, and captures of a real LLM.

Neither needs torch. Whatever is wrong with a file is a :class:`UserError` of one sentence.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden.arithmetic.quantise import INT4_MIN, QuantisedWeights
from ...golden.contract.errors import UserError
from .arrays import NpzFile, nearest, open_arrays, split_name

CAPTURE_FORMAT = "nibbleforge-capture-1"
"""``meta["format"]`` of a file that :func:`~nibbleforge.sim.llm.capture.capture` wrote."""

Q4_1_GROUP = 32
"""Input features that share a scale and a minimum in a GGUF Q4_1 block."""


def load_matrix(given: str | os.PathLike[str], name: str | None = None) -> NDArray:
    """Read one numeric array from a file.

    Its shape is the caller's to check, and so is its dtype, beyond being a real number.

    Parameters
    ----------
    given
        A ``.npy``, ``.npz`` or ``.safetensors`` file, the ``.safetensors.index.json`` of a
        checkpoint, or its folder; ``FILE:NAME`` names an array in it.
    name
        The name, where it does not stand there; needed if there are several arrays.

    Returns
    -------
    ndarray
        In C order and native byte order, dtype as in the file; bfloat16 becomes float32.

    Raises
    ------
    UserError
        If there is no such file or array, or it is empty, damaged, pickled or not numeric.
    """
    path, named = (Path(given), name) if name is not None else split_name(given)
    return open_arrays(path).load(named)


def sample_path() -> Path:
    """The embedded capture: 256 tokens at four layers of SmolLM2-135M, see its README."""
    # importlib.resources fails on namespace packages that are installed editable
    return Path(__file__).parents[1] / "sample" / "smollm2.npz"


@dataclass(frozen=True, eq=False)
class Capture:
    """Real activations and weights of some linear layers of an LLM.

    Arrays are read from the file when asked for.

    Attributes
    ----------
    path
        The ``.npz`` file.
    layers
        Names of the captured layers, in the order of the model.
    meta
        Where they come from: ``model``, ``licence``, ``source_sha256``, ``text``, ``tokens`` ...
    """

    path: Path
    layers: tuple[str, ...]
    meta: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Capture":
        """Open a file that ``nibbleforge capture`` wrote.

        Raises
        ------
        UserError
            If the file cannot be read or is not a capture.
        """
        path = Path(path)
        file = NpzFile(path)
        names = file.names
        if "meta" not in names:
            raise UserError(f"{path} is not a capture: it has no array 'meta'.")
        meta = _parse_meta(path, file.load_any("meta"))
        layers = tuple(name.removesuffix("/x") for name in names if name.endswith("/x"))
        if not layers:
            raise UserError(f"{path} is not a capture: it holds no layers.")
        return cls(path, layers, meta)

    def activations(self, layer: str) -> NDArray[np.float16]:
        """The input of a layer, ``(tokens, in_features)`` float16.

        Raises
        ------
        UserError
            If there is no such layer, or the file is damaged.
        """
        return self._read(layer, "x")[0]

    def weights(self, layer: str) -> NDArray[np.float32]:
        """The weights of a layer, ``(out_features, in_features)`` float32.

        Raises
        ------
        UserError
            If there is no such layer, or the file is damaged.
        """
        blocks = self.quantised_weights(layer)
        if blocks is None:
            return self._read(layer, "w")[0].astype(np.float32)
        return blocks.dequantise()

    def quantised_weights(self, layer: str) -> QuantisedWeights | None:
        """The INT4 weights as the model's file holds them: asymmetric, groups of 32.

        Returns
        -------
        QuantisedWeights or None
            None if the model's file did not hold the layer in GGUF Q4_1 blocks.

        Raises
        ------
        UserError
            If there is no such layer, or the file is damaged.
        """
        self._check(layer)
        if f"{layer}/w.u" not in NpzFile(self.path).names:
            return None
        packed, scale, minimum = self._read(layer, "w.u", "w.d", "w.m")
        self._check_blocks(layer, packed, scale, minimum)
        q = unpack_nibbles(packed).view(np.int8) + np.int8(INT4_MIN)
        return QuantisedWeights(q, scale, minimum, Q4_1_GROUP)

    def _read(self, layer: str, *kinds: str) -> list[NDArray]:
        """Some of the arrays of one layer."""
        self._check(layer)
        file = NpzFile(self.path)
        return [file.load(f"{layer}/{kind}") for kind in kinds]

    def _check_blocks(self, layer: str, packed: NDArray, scale: NDArray, minimum: NDArray) -> None:
        """Refuse blocks that do not fit together."""
        columns = packed.shape[1] if packed.ndim == 2 else 0
        groups = (len(packed), columns // (Q4_1_GROUP // 2)) if columns else ()
        sound = columns % (Q4_1_GROUP // 2) == 0 and packed.dtype == np.uint8
        halves = all(part.dtype == np.float16 and part.shape == groups for part in (scale, minimum))
        if not (columns and sound and halves):
            raise UserError(f"the Q4_1 blocks of layer {layer!r} of {self.path} are damaged.")

    def _check(self, layer: str) -> None:
        """Refuse a layer that was not captured."""
        if layer not in self.layers:
            raise UserError(
                f"{self.path} has no layer {layer!r};"
                f" {nearest(layer, self.layers, 'its layers are')}."
            )


def pack_nibbles(u: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack ``(rows, n)`` values 0..15, n even: element 2j is the low nibble of byte j."""
    return u[:, ::2] | u[:, 1::2] << np.uint8(4)


def unpack_nibbles(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo :func:`pack_nibbles`: ``(rows, n / 2)`` bytes become ``(rows, n)`` values 0..15."""
    pairs = np.stack([packed & np.uint8(15), packed >> np.uint8(4)], axis=-1)
    return pairs.reshape(len(packed), -1)


def _parse_meta(path: Path, array: NDArray) -> Mapping[str, Any]:
    """The provenance of a capture."""
    try:
        meta = json.loads(array.item())
        if meta["format"] == CAPTURE_FORMAT:
            return meta
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise UserError(f"{path} is not a capture: its 'meta' is not that of {CAPTURE_FORMAT}.")
