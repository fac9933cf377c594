"""Emitted designs, each emitted once a process: both harnesses take the same."""

import functools
import threading

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...hw.generate import Generated, generate

_ONE_AT_A_TIME = threading.Lock()  # so that whoever asks second waits instead of emitting, too


def emitted(design: Design, config: Config) -> Generated:
    """Generate a design under its own name, or return what was generated before."""
    with _ONE_AT_A_TIME:
        return _generated(design, config)


@functools.lru_cache(maxsize=32)
def _generated(design: Design, config: Config) -> Generated:
    return generate(design, config)
