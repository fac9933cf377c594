"""How many threads matrix products of numpy and torch take.

Products of a few thousand rows gain nothing from more than one thread, and lose a lot where other
processes keep the processors busy, as threads then wait for each other.
"""

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np


class _Pool(NamedTuple):
    """Functions that ask for and set the number of threads."""

    get: Callable[[], int]
    set: Callable[[int], object]


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Take so many threads.

    That holds for numpy where it comes with OpenBLAS, as its wheels do, and for torch where it has
    been imported; others take what they took.

    Parameters
    ----------
    count
        At least 1.
    """
    pools = [pool for pool in (_openblas(), _torch()) if pool is not None]
    before = [pool.get() for pool in pools]
    for pool in pools:
        pool.set(count)
    try:
        yield
    finally:
        for pool, old in zip(pools, before, strict=True):
            pool.set(old)


def _torch() -> _Pool | None:
    """That of torch, if it is in use."""
    torch = sys.modules.get("torch")
    return _Pool(torch.get_num_threads, torch.set_num_threads) if torch else None


@cache
def _openblas() -> _Pool | None:
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
