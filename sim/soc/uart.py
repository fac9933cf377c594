"""Transport of a driver over a serial line to a bridge beside the core.

What they say to each other is in :mod:`nibbleforge.golden.soc.serial`.
"""

import os
import time
from importlib import import_module
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...golden.contract.errors import UserError
from ...golden.soc.serial import BAUD, MOST_WORDS
from .transport import CoreError, TimeOutError, refused


class UartTransport:
    """A core behind a serial line.

    Parameters
    ----------
    line
        With ``read(size)`` and ``write(bytes)``, as ``serial.Serial`` with a time-out.
    """

    def __init__(self, line: Any):
        self.line = line

    @classmethod
    def open(cls, port: str, baud: int = BAUD, timeout: float = 1.0) -> Self:
        """Open a serial port, for example ``/dev/ttyUSB0``."""
        try:
            serial = import_module("serial")
        except ImportError:
            raise UserError("a serial line needs pyserial: pip install pyserial.") from None
        try:
            return cls(serial.Serial(port, baud, timeout=timeout))
        except (OSError, ValueError) as error:
            number = getattr(error, "errno", None)  # pyserial's text has port and number twice
            reason: object = os.strerror(number) if number else error
            if "Could not configure port" in str(error):
                reason = "it is no serial port"
            raise UserError(f"cannot open {port}: {reason}.") from None

    def read(self, address: int) -> int:
        """A register."""
        status, *value = self._ask(b"R" + address.to_bytes(2, "little"), 5)
        if status:
            raise refused("read", address)
        return int.from_bytes(bytes(value), "little")

    def write(self, address: int, value: int) -> None:
        """Write a register."""
        access = address.to_bytes(2, "little") + value.to_bytes(4, "little")
        (status,) = self._ask(b"W" + access, 1)
        if status:
            raise refused("write", address)

    def exchange(self, words: NDArray[np.uint32], count: int, timeout: float) -> NDArray[np.uint32]:
        """Send words while receiving others, as :class:`.transport.Transport` says."""
        end = time.monotonic() + timeout
        width = words.shape[1]
        waiting = words.astype("<u4").ravel()
        found = bytearray()
        while self._get(MOST_WORDS):
            pass  # a layer that was given up has left words in the bridge
        while len(found) < 4 * count * width:
            if time.monotonic() > end:
                raise TimeOutError(len(found) // (4 * width))
            some = waiting[:MOST_WORDS]
            if len(some):
                (taken,) = self._ask(b"S" + bytes([len(some)]) + some.tobytes(), 1)
                waiting = waiting[taken:]
            wanted = min(MOST_WORDS, count * width - len(found) // 4)
            found += self._get(wanted)
        return np.frombuffer(bytes(found), "<u4").reshape(count, width)

    def put(self, content: NDArray[np.uint8]) -> int:
        """Put bytes into the memory on the board, from its beginning on.

        Raises
        ------
        CoreError
            They are more than it holds.
        """
        words = np.frombuffer(content.tobytes() + bytes(-len(content) % 4), "<u4")
        for start in range(0, len(words), MOST_WORDS):
            some = words[start : start + MOST_WORDS]
            head = b"M" + start.to_bytes(4, "little") + bytes([len(some)])
            (stored,) = self._ask(head + some.tobytes(), 1)
            if stored < len(some):
                raise CoreError(
                    f"the memory on the board holds {4 * (start + stored):,} bytes, and these rows "
                    f"take {len(content):,}."
                )
        return 0

    def _get(self, most: int) -> bytes:
        """Words that there are, at most so many."""
        (there,) = self._ask(b"G" + bytes([most]), 1)
        return self._receive(4 * there)

    def _ask(self, command: bytes, size: int) -> bytes:
        self.line.write(command)
        return self._receive(size)

    def _receive(self, size: int) -> bytes:
        answer = bytes(self.line.read(size)) if size else b""
        if len(answer) != size:
            raise CoreError("the serial line is silent: check port, baud rate and bitstream.")
        return answer
