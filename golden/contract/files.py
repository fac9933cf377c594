"""Opening what a user names: a regular file that holds something, or one sentence."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .errors import UserError


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file for reading.

    A pipe or a device is refused before it is opened: a pipe that nobody writes to would wait for
    ever, and readers of arrays seek.

    Raises
    ------
    UserError
        If there is no such file, it is a directory, not a regular file or empty, or may not be
        read.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"{path} is a directory; give one of its files.")
        if not stat.S_ISREG(mode):
            raise UserError(f"{path} is not a regular file.")
        stream = path.open("rb")
    except FileNotFoundError:
        if path.is_symlink():
            raise UserError(f"{path} is a broken link.") from None
        raise UserError(f"{path} does not exist.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    with stream:
        if os.fstat(stream.fileno()).st_size == 0:
            raise UserError(f"{path} is empty.")
        yield stream


def refuse_device(path: Path) -> None:
    """Raise :class:`UserError` for a device, such as ``/dev/zero``, which may never end.

    A pipe is welcome where a file is only read from its beginning to its end, and what cannot be
    examined is left to whoever opens it.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise UserError(f"{path} cannot be read: it is a device.")
