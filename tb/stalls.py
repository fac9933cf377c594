"""Stall profiles: in which cycles each channel may act. Both harnesses play the same patterns."""

import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..golden.contract.errors import UserError
from ..golden.contract.ports import Port

PROFILES = ("none", "random", "bursty", "skewed", "ready_first")
PERIOD = 1021  # cycles after which a pattern repeats; prime, so that channels do not lock in step

Gates = dict[str, NDArray[np.uint8]]
"""Port name to a repeating pattern: 1 where a source may offer a beat or a sink is ready."""


def gates(profile: str, ports: Iterable[Port], seed: int) -> Gates:
    """Patterns of all ports.

    * ``none``: every channel acts in every cycle (no patterns).
    * ``random``: each channel in half of the cycles, independently.
    * ``bursty``: runs of 1 to 32 active and idle cycles.
    * ``skewed``: each channel at a rate of its own, from 1 in 10 to 9 in 10 cycles.
    * ``ready_first``: sinks are always ready, sources offer a beat in 1 of 5 cycles.
    """
    if profile not in PROFILES:
        raise UserError(
            f"there is no stall profile {profile!r}; the profiles are {', '.join(PROFILES)}."
        )
    if profile == "none":
        return {}
    return {port.name: _pattern(profile, port, seed) for port in ports}


def _pattern(profile: str, port: Port, seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng([seed, zlib.crc32(f"{profile} {port.name}".encode())])
    if profile == "bursty":
        lengths = rng.integers(1, 33, PERIOD)
        active = np.repeat(np.arange(PERIOD) % 2 == 1, lengths)[:PERIOD]
    elif profile == "ready_first":
        active = rng.random(PERIOD) < (0.2 if port.direction == "in" else 1.0)
    else:
        rate = 0.5 if profile == "random" else rng.choice([0.1, 0.3, 0.6, 0.9])
        active = rng.random(PERIOD) < rate
    active[0] |= not active.any()  # never closed for good
    return active.astype(np.uint8)
