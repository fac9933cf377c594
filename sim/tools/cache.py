"""Build cache: finished directories named by the hash of everything they were made from."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock

from ...golden.contract.errors import UserError

_OURS = re.compile(r"[0-9a-f]{64}(\.lock|\.partial-[0-9a-f]+)?")
_SEAL = ".sealed"  # of an entry: its files with their digests
_seen: dict[Path, list[tuple[Path, int, int]]] = {}  # entries that were whole, and their stamps
_FULL = ("No space left on device", "Disk quota exceeded")


@dataclass(frozen=True)
class Usage:
    """What one kind of entry takes up."""

    entries: int
    size: int
    """Bytes, leftovers of killed builds included."""


@dataclass(frozen=True)
class Info:
    """What a cache holds."""

    root: Path
    kinds: Mapping[str, Usage]

    @property
    def entries(self) -> int:
        """Number of finished entries."""
        return sum(usage.entries for usage in self.kinds.values())

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(usage.size for usage in self.kinds.values())


class Cache:
    """A directory of finished builds, shared safely by any number of processes.

    A build takes place in a directory of its own and is renamed when it is whole, so an entry
    either exists and is complete or does not exist. One that was damaged since is built anew. Locks
    belong to the operating system: they end with the process that holds them.

    Parameters
    ----------
    root
        Where the cache lies; by default NIBBLEFORGE_CACHE, else the user's cache directory.
    """

    def __init__(self, root: Path | None = None) -> None:
        chosen = os.environ.get("NIBBLEFORGE_CACHE")
        default = Path(chosen) if chosen else platformdirs.user_cache_path("nibbleforge")
        self.root = (root or default).absolute()

    def entry(self, kind: str, key: Mapping[str, str]) -> Path:
        """Where the entry of `key` lies once it is finished."""
        text = json.dumps(dict(key), sort_keys=True, separators=(",", ":"))
        return self.root / kind / hashlib.sha256(text.encode()).hexdigest()

    def build(self, kind: str, key: Mapping[str, str], builder: Callable[[Path], None]) -> Path:
        """Return the finished entry of `key`, building it where it does not exist yet.

        Parameters
        ----------
        kind
            A word that groups entries in :meth:`info`.
        key
            Everything the result depends on.
        builder
            Fills the empty directory it is given. That directory is renamed afterwards: what is
            written must not refer to its path.

        Raises
        ------
        UserError
            The cache cannot be written, or the device is full.
        """
        entry = self.entry(kind, key)
        if not _is_whole(entry):
            with self._locked(entry):
                if not _is_whole(entry):
                    self._construct(entry, builder)
        with contextlib.suppress(OSError):  # a cache of somebody else may be read-only
            os.utime(entry)
        return entry

    def info(self) -> Info:
        """Count entries and bytes by kind."""
        kinds: dict[str, list[Path]] = {}
        for path in self._contents():
            kinds.setdefault(path.parent.name, []).append(path)
        return Info(self.root, {kind: _usage(paths) for kind, paths in sorted(kinds.items())})

    def clear(self) -> int:
        """Remove all entries and leftovers; wait first for builds that are under way.

        Only what the cache made is touched. Entries vanish whole, and programs already running
        from one run on.

        Returns
        -------
        int
            Bytes freed.
        """
        if not self.root.is_dir():
            return 0
        trash = self.root / f"trash-{uuid.uuid4().hex}"
        with self._users(fcntl.LOCK_EX):
            trash.mkdir()
            for path in self._contents():
                path.rename(trash / f"{path.parent.name}-{path.name}")
        freed = 0
        for old in self.root.glob("trash-*"):  # those of a clear() that was killed as well
            freed += _size(old)
            shutil.rmtree(old, ignore_errors=True)
        return freed

    def _contents(self) -> list[Path]:
        """Entries, locks and leftovers, recognised by name: the root may hold other files too."""
        return [path for path in self.root.glob("*/*") if _OURS.fullmatch(path.name)]

    def _construct(self, entry: Path, builder: Callable[[Path], None]) -> None:
        """Build beside the entry and rename; the caller holds the entry's lock."""
        for leftover in entry.parent.glob(f"{entry.name}.partial-*"):
            _remove(leftover)
        partial = entry.with_name(f"{entry.name}.partial-{uuid.uuid4().hex}")
        try:
            partial.mkdir()
            builder(partial)
            (partial / _SEAL).write_text(json.dumps(_digests(partial)))
            _remove(entry)  # a damaged one
            partial.rename(entry)
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            if _is_full(error):
                raise UserError(
                    f"no space left on the device while building in {self.root}; "
                    "free some space or set NIBBLEFORGE_CACHE."
                ) from error
            raise

    @contextlib.contextmanager
    def _locked(self, entry: Path) -> Iterator[None]:
        """Hold the lock of one entry, and keep clear() waiting."""
        with contextlib.ExitStack() as stack:
            with self._writable():
                entry.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(self._users(fcntl.LOCK_SH))
                entry.parent.mkdir(exist_ok=True)
                stack.enter_context(FileLock(f"{entry}.lock"))
            yield

    @contextlib.contextmanager
    def _users(self, mode: int) -> Iterator[None]:
        """Share the cache with other builders, or have it alone."""
        with (self.root / ".lock").open("a") as file:
            fcntl.flock(file, mode)
            yield

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"the cache directory {self.root} cannot be written ({error.strerror}); "
                "set NIBBLEFORGE_CACHE to a directory that can."
            ) from error


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _FULL)


def _is_whole(entry: Path) -> bool:
    """Whether an entry is there as it was built, or as this process saw it whole before."""
    try:
        stamps = [(path, *_stamp(path)) for path in sorted(entry.rglob("*"))]
        whole = _seen.get(entry) == stamps
        if not whole and (whole := json.loads((entry / _SEAL).read_text()) == _digests(entry)):
            _seen[entry] = stamps
        return whole
    except (OSError, ValueError):
        return False


def _digests(entry: Path) -> dict[str, str]:
    """SHA-256 of every file of an entry but the seal."""
    files = [path for path in sorted(entry.rglob("*")) if path.is_file() and path.name != _SEAL]
    return {str(path.relative_to(entry)): _sha256(path) for path in files}


def _stamp(path: Path) -> tuple[int, int]:
    """Time and size of a file, which change with what is in it."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _remove(path: Path) -> None:
    """Remove a file or tree, which may be gone already."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _usage(paths: list[Path]) -> Usage:
    entries = sum(path.suffix == "" for path in paths)
    return Usage(entries, sum(_size(path) for path in paths))


def _size(path: Path) -> int:
    """Bytes of a file or tree, which may be vanishing."""
    if not path.is_dir():
        return _file_size(path)
    files = (Path(top, name) for top, _, names in os.walk(path) for name in names)
    return sum(_file_size(file) for file in files if file.name != _SEAL)


def _file_size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
