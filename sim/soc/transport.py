"""What a driver needs of whatever connects it to a core."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...golden.contract.errors import UserError


class CoreError(UserError):
    """The core, or what connects it, did not do its part; the message is one sentence."""


class TimeOutError(CoreError):
    """Words were expected and did not come in time.

    Parameters
    ----------
    received
        Words that came.
    """

    def __init__(self, received: int):
        self.received = received
        super().__init__(f"only {received} words came in time.")


class Transport(Protocol):
    """Reads and writes registers, and moves words to and from the streams of a core.

    Words are ``(words, bus / 32)`` uint32, the least significant 32 bits first.
    """

    def read(self, address: int) -> int:
        """A register; an answer with an error is a :class:`CoreError`."""

    def write(self, address: int, value: int) -> None:
        """Write a register; an answer with an error is a :class:`CoreError`."""

    def exchange(self, words: NDArray[np.uint32], count: int, timeout: float) -> NDArray[np.uint32]:
        """Send words while receiving others.

        Parameters
        ----------
        words
            What to send.
        count
            Words to receive.
        timeout
            Seconds after which to give up.

        Raises
        ------
        TimeOutError
            Not all words came in time; nothing is under way any more.
        """

    def put(self, content: NDArray[np.uint8]) -> int:
        """Put bytes where the core reads rows, in place of earlier ones; their address.

        Raises
        ------
        CoreError
            The transport reaches no memory, or it has no room.
        """


def refused(what: str, address: int) -> CoreError:
    """The error of an access that was answered with an error."""
    return CoreError(f"the core refused to {what} the register at address {address:#05x}.")
