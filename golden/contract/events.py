"""Events: the one vocabulary for strobes, counters, golden counts and energy actions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True)
class Event:
    """Something a unit does or suffers in a cycle.

    Attributes
    ----------
    name
        Name of the strobe, of its counter and of the action in the energy model.
    kind
        ``work`` events do not depend on stalls; ``time`` events are compared in free-flowing runs.
    meaning
        One line.
    width
        Bits of the increment that the unit shows in each cycle.
    waits_for
        Of a ``time`` event: ports that the counted cycles wait for, and by how much the event
        counts each cycle that such a port alone is closed, once the unit has come to a halt.
    """

    name: str
    kind: Literal["work", "time"]
    meaning: str
    width: int = 1
    waits_for: Mapping[str, int] = field(default_factory=dict, hash=False)


def event_of_part(event: Event, outside: Mapping[str, Iterable[str]], prefix: str = "") -> Event:
    """An event of a part, as the design that the part is joined into has it.

    Parameters
    ----------
    outside
        Port of the part that lies within the design, to ports of the design: the part waits for
        it while one of them is closed. All other ports of the part are the design's own.
    prefix
        Begins the event's name in the design.
    """
    waits_for = {
        name: count
        for port, count in event.waits_for.items()
        for name in outside.get(port, (port,))
    }
    return replace(event, name=prefix + event.name, waits_for=waits_for)


@dataclass(frozen=True)
class Counts:
    """What one run did: cycles and the total of every event.

    Attributes
    ----------
    cycles
        First accepted input beat to last accepted output beat, both included.
    ideal_cycles
        The unit's law without imbalance, fill and drain; None where it has no such law.
    events
        Event name to total.
    """

    cycles: int
    events: dict[str, int] = field(default_factory=dict)
    ideal_cycles: float | None = None
