"""Arrays in files of the user: ``.npy``, ``.npz``, ``.safetensors``, checkpoints of several files.

Whatever is wrong with a file is a :class:`UserError` of one sentence. Only the array that is asked
for is read, and only the sizes of files are trusted, never those that a header declares.
"""

import difflib
import heapq
import json
import math
import os
import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from ...golden.contract.errors import UserError
from ...golden.contract.files import opened

INDEX_SUFFIX = ".safetensors.index.json"
"""How the index of a checkpoint ends whose tensors are spread over several files."""

SUFFIXES = (".npy", ".npz", ".safetensors", INDEX_SUFFIX)

LISTED, NEAREST = 8, 3
"""Names that a sentence lists, and those nearest to one that is not there."""

LIKELY = 256
"""Names, at most, that are compared letter by letter."""


class ArrayFile(Protocol):
    """Arrays in a file.

    Attributes
    ----------
    path
        The file, or the folder of a checkpoint.
    names
        Names of its arrays; none where a file holds one array without a name.
    """

    @property
    def path(self) -> Path:
        """See the class."""

    @property
    def names(self) -> Sequence[str]:
        """See the class."""

    def load(self, name: str | None = None) -> NDArray:
        """Read one array of real numbers.

        Parameters
        ----------
        name
            Which; needed if there are several.

        Returns
        -------
        ndarray
            In C order and native byte order, dtype as in the file; bfloat16 becomes float32.

        Raises
        ------
        UserError
            If there is no such array, or it is damaged, pickled or not numeric.
        """


def open_arrays(path: str | os.PathLike[str]) -> ArrayFile:
    """Open a file of arrays, or a folder with one checkpoint.

    Raises
    ------
    UserError
        If there is no such file, it is empty or damaged, or of another kind.
    """
    path = Path(path)
    if path.suffix == ".npy":
        return NpyFile(path)
    if path.suffix == ".npz":
        return NpzFile(path)
    if path.is_dir():
        return _in_folder(path)
    if path.suffix == ".safetensors":
        return SafetensorsFile(path)
    if path.name.endswith(INDEX_SUFFIX):
        return IndexFile(path)
    raise UserError(f"{path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")


def split_name(given: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """Take ``FILE:NAME`` apart; a path that itself holds colons is taken as it is.

    Returns
    -------
    tuple
        The file, and the name of an array in it, None if none is given.

    Raises
    ------
    UserError
        If nothing is given.
    """
    text = os.fspath(given)
    if not text:
        raise UserError("the name of a file of arrays must not be empty.")
    colons = [place for place, letter in enumerate(text) if letter == ":"]
    ends = [len(text), *reversed(colons)]
    for end in ends:
        if os.path.lexists(text[:end]):
            return Path(text[:end]), text[end + 1 :] if end < len(text) else None
    suffixes = "|".join(map(re.escape, SUFFIXES))
    if found := re.match(rf"(.*?(?:{suffixes})):(.*)", text, re.DOTALL):
        return Path(found[1]), found[2]
    return Path(text), None


# --- names ----------------------------------------------------------------------------------------


def some(names: Iterable[str], most: int = LISTED) -> str:
    """Names for an error sentence: all of them, or the first few and their number."""
    listed = list(names)
    if len(listed) <= most:
        return ", ".join(listed)
    return f"{', '.join(listed[:most])}, ... ({len(listed)} in all)"


def nearest(name: str, names: Sequence[str], listing: str = "it holds") -> str:
    """For an error sentence, what there is in place of a name: all if few, else the nearest."""
    if len(names) <= LISTED:
        return f"{listing} {some(names)}"
    words = _words(name)  # a checkpoint has up to 100,000 names, too many for difflib
    likely = heapq.nlargest(LIKELY, names, key=lambda other: len(words & _words(other)))
    found = difflib.get_close_matches(name, likely, NEAREST)
    if not found:
        return f"{listing} {some(names)}"
    return f"nearest of {len(names):,} are {', '.join(found)}"


def _words(name: str) -> set[str]:
    return set(re.split(r"[./]", name))


def choose(path: Path, names: Sequence[str], name: str | None) -> str:
    """The array meant: the one named, or the only one.

    Raises
    ------
    UserError
        If there is no such array, or several and none is named.
    """
    if not names:
        raise UserError(f"{path} holds no arrays.")
    if name is None and len(names) > 1:
        raise UserError(
            f"{path} holds several arrays; name one of {some(names)}, as in {path}:{names[0]}."
        )
    if name is not None and name not in names:
        raise UserError(f"{path} has no array {name!r}; {nearest(name, names)}.")
    return names[0] if name is None else name


def _label(path: Path, name: str) -> str:
    return f"array {name!r} of {path}"


# --- numpy's files --------------------------------------------------------------------------------


class NpyFile:
    """A ``.npy`` file: one array without a name."""

    names: Sequence[str] = ()

    def __init__(self, path: Path):
        self.path = path
        with opened(path):
            pass  # so that what is missing is said before what it might hold

    def load(self, name: str | None = None) -> NDArray:
        """See :class:`ArrayFile`."""
        if name is not None:
            raise UserError(f"{self.path} holds one array without a name; drop the name {name!r}.")
        with opened(self.path) as stream:
            size = os.fstat(stream.fileno()).st_size
            return numeric(f"{self.path}", _read_npy(f"{self.path}", stream, size))


class NpzFile:
    """A ``.npz`` file."""

    def __init__(self, path: Path):
        self.path = path
        with opened(path) as stream:
            try:
                with zipfile.ZipFile(stream) as archive:
                    members = archive.namelist()
            except Exception as error:  # a damaged file raises a dozen kinds
                raise UserError(f"{path} is not a valid .npz file.") from error
        self.names: Sequence[str] = [
            member.removesuffix(".npy") for member in members if member.endswith(".npy")
        ]

    def load(self, name: str | None = None) -> NDArray:
        """See :class:`ArrayFile`."""
        name = choose(self.path, self.names, name)
        return numeric(_label(self.path, name), self.load_any(name))

    def load_any(self, name: str) -> NDArray:
        """Read an array of any type but of Python objects; raises as :meth:`load`."""
        what = _label(self.path, choose(self.path, self.names, name))
        with opened(self.path) as stream:
            try:
                archive = zipfile.ZipFile(stream)
                member = archive.open(f"{name}.npy")
            except Exception as error:  # a bad header; encrypted; a method that is not supported
                raise UserError(f"{what} cannot be read: {_reason(error)}.") from error
            with archive, member:
                return _read_npy(what, member, archive.getinfo(f"{name}.npy").file_size)


_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def _read_npy(what: str, stream: IO[bytes], size: int) -> NDArray:
    """Read the contents of a ``.npy`` file of so many bytes."""
    try:
        _check_header(stream, size)
        stream.seek(0)
        return np.lib.format.read_array(stream, allow_pickle=False)
    except MemoryError:
        raise UserError(f"{what} does not fit in memory.") from None
    except Exception as error:  # a damaged file raises a dozen kinds, some of them undocumented
        if str(error).startswith("Object arrays"):
            raise UserError(f"{what} holds pickled Python objects, which are not read.") from None
        raise UserError(f"{what} is not a valid .npy array: {_reason(error)}.") from error


def _check_header(stream: IO[bytes], size: int) -> None:
    """Raise ValueError unless the data that a header declares are there, before making room."""
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"version {version[0]}.{version[1]} of the format is not read")
    shape, _, dtype = _HEADERS[version](stream)
    if any(length < 0 for length in shape):
        raise ValueError(f"its header declares the shape {shape}")
    declared, found = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if declared > found and not dtype.hasobject:
        raise ValueError(
            f"its header declares {declared:,} bytes of data, the file holds {found:,}"
        )


def _reason(error: Exception) -> str:
    """The first line of an error, as part of a sentence."""
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


# --- checkpoints ----------------------------------------------------------------------------------


class SafetensorsFile:
    """A ``.safetensors`` file."""

    def __init__(self, path: Path):
        from safetensors import SafetensorError, safe_open

        self.path = path
        with opened(path):
            pass  # safetensors itself says little of what cannot be opened
        try:
            with safe_open(path, framework="numpy") as archive:
                self.names: Sequence[str] = sorted(archive.keys())
        except SafetensorError as error:
            raise UserError(
                f"{path} is not a valid .safetensors file: {_reason(error)}."
            ) from error

    def load(self, name: str | None = None) -> NDArray:
        """See :class:`ArrayFile`."""
        from safetensors import SafetensorError, safe_open

        name = choose(self.path, self.names, name)
        what = _label(self.path, name)
        try:
            with safe_open(self.path, framework="numpy") as archive:  # maps the file into memory
                dtype = archive.get_slice(name).get_dtype()
                if dtype != "BF16":
                    return numeric(what, archive.get_tensor(name))
            with opened(self.path) as stream:
                return _read_bfloat16(stream, name)
        except MemoryError:
            raise UserError(f"{what} does not fit in memory.") from None
        except SafetensorError as error:
            raise UserError(f"{what} cannot be read: {_reason(error)}.") from error
        except (AttributeError, TypeError):  # a type that numpy has not, such as an 8-bit float
            raise UserError(f"{what} has dtype {dtype}, which is not read.") from None


def _read_bfloat16(stream: IO[bytes], name: str) -> NDArray[np.float32]:
    """Widen a bfloat16 tensor, which numpy has not, to float32; the file is known to be valid."""
    length = int.from_bytes(stream.read(8), "little")
    entry = json.loads(stream.read(length))[name]
    first, last = entry["data_offsets"]
    stream.seek(8 + length + first)
    upper = np.frombuffer(stream.read(last - first), "<u2").astype(np.uint32)
    return (upper << np.uint32(16)).view(np.float32).reshape(entry["shape"])


class IndexFile:
    """The index of a checkpoint of several ``.safetensors`` files.

    Parameters
    ----------
    path
        The index; the files that it names are in its folder.
    shown
        What the user called the checkpoint.
    """

    def __init__(self, path: Path, shown: Path | None = None):
        self.path = shown or path
        self._index = path
        with opened(path) as stream:
            try:
                shards = json.load(stream)["weight_map"]
            except (ValueError, LookupError, TypeError, RecursionError):
                shards = None
        if not isinstance(shards, dict) or not all(
            isinstance(file, str) for file in shards.values()
        ):
            raise UserError(
                f"{path} is not the index of a checkpoint: it has no 'weight_map' of file names."
            )
        self._shards: dict[str, str] = shards
        self.names: Sequence[str] = sorted(shards)

    def load(self, name: str | None = None) -> NDArray:
        """See :class:`ArrayFile`."""
        name = choose(self.path, self.names, name)
        path = self._index.parent / self._shards[name]
        if not path.exists():
            raise UserError(f"{path} does not exist, though {self._index} names it.")
        shard = SafetensorsFile(path)
        if name not in shard.names:
            raise UserError(f"{path} has no array {name!r}, though {self._index} says so.")
        return shard.load(name)


def _in_folder(folder: Path) -> ArrayFile:
    """The checkpoint in a folder: an index, or the only file of tensors."""
    indices = sorted(folder.glob(f"*{INDEX_SUFFIX}"))
    files = sorted(folder.glob("*.safetensors"))
    for known in (folder / f"model{INDEX_SUFFIX}", folder / "model.safetensors"):
        if known in (*indices, *files):  # what transformers loads, whatever lies beside it
            indices, files = ([known], []) if known in indices else ([], [known])
    if len(indices) == 1:
        return IndexFile(indices[0], folder)
    if not indices and len(files) == 1:
        return SafetensorsFile(files[0])
    if not indices and not files:
        raise UserError(f"{folder} is a directory; give one of its files.")
    names = some(path.name for path in indices or files)
    raise UserError(f"{folder} is a directory with several files of tensors; give one of {names}.")


# --- what is in an array --------------------------------------------------------------------------


def numeric(what: str, array: NDArray) -> NDArray:
    """Refuse what is not a real number; put the rest in C order and native byte order."""
    if array.dtype == np.dtype("V2"):
        raise UserError(
            f"{what} must hold integers or floating-point numbers, got 2 bytes of no type;"
            " bfloat16 loses its type in numpy's files, so give it as .safetensors."
        )
    if array.dtype.kind not in "iuf":
        raise UserError(f"{what} must hold integers or floating-point numbers, got {array.dtype}.")
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
