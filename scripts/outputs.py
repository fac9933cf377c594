"""Standard output and error that cannot break a command.

A reader may go away (``| head -1``), a stream may be closed from the start, take no more (a full
disk), or know less letters than a file name has. The work goes on in all these cases.
"""

import contextlib
import io
import os
import sys
from typing import TextIO


class _Output(io.FileIO):
    """A standard stream that notes its first failure, and swallows what comes after it."""

    failure: OSError | None = None

    def write(self, data: object) -> int | None:
        """Write, or pretend to once writing has failed."""
        if self.failure is None:
            try:
                return super().write(data)  # type: ignore[arg-type]
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes  # type: ignore[arg-type]


_STREAMS = {0: "stdin", 1: "stdout", 2: "stderr"}


def protect() -> None:
    """Make the standard streams of this process safe, once, as early as possible.

    Also keeps files from taking the number of a closed stream, which libraries might print to.
    """
    for number in _STREAMS:
        try:
            os.fstat(number)
        except OSError:
            while (opened := os.open(os.devnull, os.O_RDWR)) < number:
                pass
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    for number in (1, 2):
        _replace(number)


def _replace(number: int) -> None:
    name = _STREAMS[number]
    before: TextIO | None = getattr(sys, name)
    if isinstance(getattr(getattr(before, "buffer", None), "raw", None), _Output):
        return
    raw = _Output(number, "w", closefd=False)
    stream = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before else "utf-8",
        errors="backslashreplace",
        line_buffering=number == 2 or raw.isatty(),
    )
    setattr(sys, name, stream)


def failure() -> OSError | None:
    """Why standard output is not whole; None where it is, or where its reader had enough."""
    with contextlib.suppress(AttributeError):  # a test's own stream
        sys.stdout.flush()
        error = sys.stdout.buffer.raw.failure  # type: ignore[attr-defined]
        return None if isinstance(error, BrokenPipeError) else error
    return None
