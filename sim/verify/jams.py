"""Events that count waiting cycles, checked where a port makes the design wait.

Golden knows the time events of free-flowing runs, where hardly any cycle is lost. Here one port is
closed until the design has come to a halt; the longer it stays closed, the more cycles must be
counted, one for one, by the events that are declared to wait for the port, and by no other.
"""

from collections.abc import Callable

import numpy as np

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.ports import Port
from ...golden.contract.schedule import Schedule
from ...tb.scoreboard import Mismatch, Observation, check_counts, check_values
from ...tb.stalls import Gates
from ...tb.stimuli import stimuli_of

HALT = 1024  # cycles after which every design has come to a halt
EXTRA = 37  # cycles that a port is closed longer in the second run
BEATS = (1, 2)  # beats that a source gives before, once the design is under way

Play = Callable[[Schedule, Gates], Observation]
"""Runs a schedule with gates."""


def declared(design: Design, config: Config) -> bool:
    """Whether any event is declared to wait for a port."""
    return any(event.waits_for for event in design.events(config))


def check_jams(design: Design, config: Config, play: Play, seed: int = 0) -> list[Mismatch]:
    """Close each port in turn, for a while and for longer, and compare what the events counted.

    Results and work events are compared with golden as well.
    """
    stimuli = stimuli_of(design)
    operands = (stimuli.waiting or stimuli.random)(config, np.random.default_rng(seed))
    schedule = design.schedule(config, operands)
    begun = stimuli.under_way(schedule)
    found = []
    for port in design.ports(config):
        given = int((schedule.cycles[port.name] < begun).sum())
        for beats in [given + more for more in BEATS] if port.direction == "in" else [0]:
            found += _check_jam(design, config, play, schedule, port, beats)
    return found


def _check_jam(
    design: Design, config: Config, play: Play, schedule: Schedule, port: Port, beats: int
) -> list[Mismatch]:
    runs, found = [], []
    for closed in (HALT, HALT + EXTRA):
        seen = play(schedule, {port.name: _closed(schedule, beats, closed)})
        found += check_values(design.ports(config), schedule.beats, seen)
        found += check_counts(design, config, schedule.counts(), seen, free_flow=False)
        runs.append(seen.totals)
    for event in design.events(config):
        more = runs[1][event.name] - runs[0][event.name]
        expected = EXTRA * event.waits_for.get(port.name, 0)
        if event.kind == "time" and more != expected:
            place = f"counter {event.name}, {port.name} closed longer after {beats} beats"
            found.append(Mismatch(None, place, f"{expected} more", f"{more} more"))
    return found


def _closed(schedule: Schedule, beats: int, cycles: int) -> np.ndarray:
    """Open for some beats, closed for some cycles, open to the end of the run."""
    rest = 2 * (cycles + schedule.counts().cycles)
    return np.repeat([1, 0, 1], [beats, cycles, rest]).astype(np.uint8)
