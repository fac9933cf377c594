"""Ctrl-C, and SIGTERM, which asks for the same: one interrupt, however often it is pressed."""

import signal
import time
from types import FrameType

_AGAIN = 1.0  # seconds; what follows sooner would interrupt the cleaning up

_DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class _Interrupt:
    """Handler of both signals."""

    def __init__(self) -> None:
        self.latest = float("-inf")

    def __call__(self, number: int, frame: FrameType | None) -> None:
        before, self.latest = self.latest, time.monotonic()
        if self.latest - before > _AGAIN:
            raise KeyboardInterrupt


def catch_interrupts() -> None:
    """Turn both signals into KeyboardInterrupt, unless whoever started us chose otherwise."""
    handler = _Interrupt()
    for number, default in _DEFAULTS.items():
        if signal.getsignal(number) == default:
            signal.signal(number, handler)


def ignore_interrupts() -> None:
    """From now on, when the exit status is decided."""
    for number in _DEFAULTS:
        signal.signal(number, signal.SIG_IGN)
