"""Operands from files: the user's own tensors, and captures of a real LLM.

Neither needs torch. Whatever is wrong with a file is a :class:`UserError` of one sentence.
"""

import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...golden.arithmetic.quantise import INT4_MIN, QuantisedWeights
from ...golden.contract.errors import UserError

CAPTURE_FORMAT = "nibbleforge-capture-1"
"""What ``meta["format"]`` says in a file that :func:`~nibbleforge.sim.capture.capture` wrote."""

Q4_1_GROUP = 32
"""Input features that share a scale and a minimum in a GGUF Q4_1 block."""


def load_matrix(path: str | os.PathLike[str], name: str | None = None) -> NDArray:
    """Read one numeric array from a file.

    Its shape is the caller's to check, and so is its dtype, beyond being a real number.

    Parameters
    ----------
    path
        A ``.npy``, ``.npz`` or ``.safetensors`` file.
    name
        Which array of the file; needed if it holds several. A ``.npy`` file has one, without name.

    Returns
    -------
    ndarray
        In C order and native byte order, dtype as in the file; bfloat16 becomes float32.

    Raises
    ------
    UserError
        If there is no such file or array, or it is empty, damaged, pickled or not numeric.
    """
    path = Path(path)
    if path.suffix not in _READERS:
        if path.is_dir():
            raise UserError(f"{path} is a directory; give one of its files.")
        raise UserError(f"{path} must end in .npy, .npz or .safetensors.")
    with _opened(path) as stream:
        return _numeric(path, _READERS[path.suffix](path, stream, name))


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
        with _opened(path) as stream:
            names = _npz_names(path, stream)
            if "meta" not in names:
                raise UserError(f"{path} is not a capture: it has no array 'meta'.")
            meta = _parse_meta(path, _read_npz(path, stream, "meta"))
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
        with _opened(self.path) as stream:
            if f"{layer}/w.u" not in _npz_names(self.path, stream):
                return None
        packed, scale, minimum = self._read(layer, "w.u", "w.d", "w.m")
        q = unpack_nibbles(packed).view(np.int8) + np.int8(INT4_MIN)
        return QuantisedWeights(q, scale, minimum, Q4_1_GROUP)

    def _read(self, layer: str, *kinds: str) -> list[NDArray]:
        """Some of the arrays of one layer."""
        self._check(layer)
        with _opened(self.path) as stream:
            return [_read_npz(self.path, stream, f"{layer}/{kind}") for kind in kinds]

    def _check(self, layer: str) -> None:
        """Refuse a layer that was not captured."""
        if layer not in self.layers:
            raise UserError(
                f"{self.path} has no layer {layer!r}; its layers are {some(self.layers)}."
            )


def pack_nibbles(u: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack ``(rows, n)`` values 0..15, n even: element 2j is the low nibble of byte j."""
    return u[:, ::2] | u[:, 1::2] << np.uint8(4)


def unpack_nibbles(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo :func:`pack_nibbles`: ``(rows, n / 2)`` bytes become ``(rows, n)`` values 0..15."""
    pairs = np.stack([packed & np.uint8(15), packed >> np.uint8(4)], axis=-1)
    return pairs.reshape(len(packed), -1)


def some(names: Iterable[str], most: int = 8) -> str:
    """Names for an error sentence: all of them, or the first few and their number."""
    listed = list(names)
    if len(listed) <= most:
        return ", ".join(listed)
    return f"{', '.join(listed[:most])}, ... ({len(listed)} in all)"


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that is there, readable and not empty."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a directory; give one of its files.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    with stream:
        if os.fstat(stream.fileno()).st_size == 0:
            raise UserError(f"{path} is empty.")
        yield stream


def _read_npy(path: Path, stream: IO[bytes], name: str | None = None) -> NDArray:
    """Read ``.npy`` contents, also of a member of a ``.npz``; ``name`` is None for a plain file."""
    if name is not None and path.suffix == ".npy":
        raise UserError(f"{path} holds one array without a name; drop the name {name!r}.")
    what = f"{path}" if name is None else f"array {name!r} of {path}"
    try:
        return np.lib.format.read_array(stream, allow_pickle=False)
    except Exception as error:  # a damaged file raises a dozen kinds, some of them undocumented
        if str(error).startswith("Object arrays"):
            raise UserError(f"{what} holds pickled Python objects, which are not read.") from None
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise UserError(f"{what} is not a valid .npy array: {reason}.") from error


def _npz_names(path: Path, stream: IO[bytes]) -> list[str]:
    """Names of the arrays in a ``.npz`` file."""
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.namelist()
    except zipfile.BadZipFile:
        raise UserError(f"{path} is not a valid .npz file.") from None
    return [member.removesuffix(".npy") for member in members if member.endswith(".npy")]


def _read_npz(path: Path, stream: IO[bytes], name: str | None) -> NDArray:
    """Read one array of a ``.npz`` file."""
    name = _choose(path, _npz_names(path, stream), name)
    with zipfile.ZipFile(stream) as archive:
        try:
            member = archive.open(f"{name}.npy")
        except (zipfile.BadZipFile, RuntimeError) as error:  # bad header; encrypted, unsupported
            raise UserError(f"array {name!r} of {path} cannot be read: {error}.") from error
        with member:
            return _read_npy(path, member, name)


def _read_safetensors(path: Path, stream: IO[bytes], name: str | None) -> NDArray:
    """Read one array of a ``.safetensors`` file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as archive:
            name = _choose(path, sorted(archive.keys()), name)
            dtype = archive.get_slice(name).get_dtype()
            if dtype == "BF16":
                return _read_bfloat16(stream, name)
            return archive.get_tensor(name)
    except SafetensorError as error:
        raise UserError(f"{path} is not a valid .safetensors file: {error}.") from error
    except (AttributeError, TypeError):  # a type that numpy has not, such as an 8-bit float
        raise UserError(f"array {name!r} of {path} has dtype {dtype}, which is not read.") from None


def _read_bfloat16(stream: IO[bytes], name: str) -> NDArray[np.float32]:
    """Widen a bfloat16 tensor, which numpy has not, to float32; the file is known to be valid."""
    length = int.from_bytes(stream.read(8), "little")
    entry = json.loads(stream.read(length))[name]
    first, last = entry["data_offsets"]
    stream.seek(8 + length + first)
    upper = np.frombuffer(stream.read(last - first), "<u2").astype(np.uint32)
    return (upper << np.uint32(16)).view(np.float32).reshape(entry["shape"])


_READERS: dict[str, Callable[[Path, IO[bytes], str | None], NDArray]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
}


def _choose(path: Path, names: list[str], name: str | None) -> str:
    """The array meant: the one named, or the only one."""
    if not names:
        raise UserError(f"{path} holds no arrays.")
    if name is None and len(names) > 1:
        raise UserError(f"{path} holds several arrays; name one of {some(names)}.")
    if name is not None and name not in names:
        raise UserError(f"{path} has no array {name!r}; it holds {some(names)}.")
    return names[0] if name is None else name


def _numeric(path: Path, array: NDArray) -> NDArray:
    """Refuse what is not a real number; put the rest in C order and native byte order."""
    if array.dtype.kind not in "iuf":
        raise UserError(f"{path} must hold integers or floating-point numbers, got {array.dtype}.")
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)


def _parse_meta(path: Path, array: NDArray) -> Mapping[str, Any]:
    """The provenance of a capture."""
    try:
        meta = json.loads(array.item())
        if meta["format"] == CAPTURE_FORMAT:
            return meta
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise UserError(f"{path} is not a capture: its 'meta' is not that of {CAPTURE_FORMAT}.")
