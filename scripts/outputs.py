"""Standard output and error that cannot break a command.

A reader may go away (``| head -1``), a stream may be closed from the start, take no more (a full
disk), or know fewer letters than a file name has. The work goes on in all these cases.
"""

import io
import os
import sys
from typing import Any

_NAMES = {0: "stdin", 1: "stdout", 2: "stderr"}


class _Output(io.FileIO):
    """A standard stream that notes its first failure, and swallows what comes after it."""

    failure: OSError | None = None

    def write(self, data: Any) -> Any:
        """Write, or pretend to once writing has failed."""
        if self.failure is None:
            try:
                return super().write(data)
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes


_outputs: dict[int, _Output] = {}


def protect() -> None:
    """Make the standard streams of this process safe, as early as possible.

    Also keeps files from taking the number of a closed stream, which libraries might print to.
    """
    for number in _NAMES:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    for number in {1, 2} - _outputs.keys():
        _replace(number)


def _replace(number: int) -> None:
    before = getattr(sys, _NAMES[number])
    raw = _outputs[number] = _Output(number, "w", closefd=False)
    stream = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before else "utf-8",
        errors="backslashreplace",
        line_buffering=number == 2 or raw.isatty(),
    )
    setattr(sys, _NAMES[number], stream)


def failure() -> OSError | None:
    """Why standard output is not whole; None where it is, or where its reader had enough."""
    sys.stdout.flush()
    error = _outputs[1].failure if 1 in _outputs else None
    return None if isinstance(error, BrokenPipeError) else error
