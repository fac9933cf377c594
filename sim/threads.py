"""How many threads numpy's matrix products take.

Products of a few thousand rows gain nothing from more than one thread, and lose a lot where other
processes keep the processors busy, as threads then wait for each other.
"""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np


class _Pool(NamedTuple):
    """Functions of an OpenBLAS."""

    get: Callable[[], int]
    set: Callable[[int], object]


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Take so many threads, where numpy comes with OpenBLAS as its wheels do; else nothing changes.

    Parameters
    ----------
    count
        At least 1.
    """
    pool = _pool()
    if pool is None:
        yield
        return
    before = pool.get()
    pool.set(count)
    try:
        yield
    finally:
        pool.set(before)


@cache
def _pool() -> _Pool | None:
    """The OpenBLAS that lies beside numpy."""
    package = Path(np.__file__).parent
    for folder in (package.with_name("numpy.libs"), package / ".dylibs"):
        for path in folder.glob("*openblas*"):
            library = ctypes.CDLL(str(path))
            for prefix, suffix in (("scipy_", "64_"), ("", "64_"), ("", "")):
                names = [f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set")]
                if all(hasattr(library, name) for name in names):
                    return _Pool(*(getattr(library, name) for name in names))
    return None
