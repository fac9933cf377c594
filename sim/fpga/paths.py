"""Critical paths of nextpnr, in the names of the design."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from .boundary import UNIT

_KINDS = "TRELLIS_FF|TRELLIS_DPR16X4|LUT4|CCU2C|PFUMX|L6MUX21|MULT18X18D|DP16KD"
_KIND = re.compile(rf"_({_KINDS})(?=_|$)")
_REST = re.compile(rf"(_({_KINDS})(_|$)|\$).*$")  # what Yosys and nextpnr add to a name
_PART = re.compile(r"(\.\d+){2}(_[A-Z]+\d*)?$")  # a cell of a memory, and its pin


@dataclass(frozen=True)
class Step:
    """What a path passes under one name.

    Attributes
    ----------
    name
        Signal or memory of the design; hierarchy with dots.
    kind
        Kind of its cells; empty where nothing tells.
    logic, routing
        Nanoseconds in cells, and in the wires to them.
    """

    name: str
    kind: str
    logic: float
    routing: float


@dataclass(frozen=True)
class Path:
    """The slowest path of a placed and routed design, from register to register.

    Attributes
    ----------
    steps
        In order, from the register where it begins to that where it ends.
    """

    steps: tuple[Step, ...]

    @property
    def start(self) -> str:
        """Register where it begins."""
        return self.steps[0].name

    @property
    def end(self) -> str:
        """Register where it ends."""
        return self.steps[-1].name

    @property
    def logic(self) -> float:
        """Nanoseconds in cells."""
        return sum(step.logic for step in self.steps)

    @property
    def routing(self) -> float:
        """Nanoseconds in wires."""
        return sum(step.routing for step in self.steps)

    @property
    def ns(self) -> float:
        """Nanoseconds in all."""
        return self.logic + self.routing


def read_path(segments: list[dict[str, Any]], memories: Mapping[str, str]) -> Path:
    """A path from nextpnr's report; neighbours of one name and kind are one step.

    ``memories``: cells whose kind their name does not tell, and that kind.
    """
    parts = []
    for segment in segments:
        cell = segment["to"]["cell"]
        routed = segment["type"] == "routing"
        kind = _kind(cell) or memories.get(cell.partition("$")[0], "")
        parts.append(((design_name(cell), kind), routed, float(segment["delay"])))
    steps = []
    for (name, kind), group in groupby(parts, key=lambda part: part[0]):
        delays = list(group)
        logic = sum((delay for _, routed, delay in delays if not routed), 0.0)
        routing = sum((delay for _, routed, delay in delays if routed), 0.0)
        steps.append(Step(name, kind, logic, routing))
    return Path(tuple(steps))


def design_name(cell: str) -> str:
    """Name in the design of what a cell is of."""
    name = _PART.sub("", _REST.sub("", cell)).removeprefix(f"{UNIT}.")
    return name or cell


def _kind(cell: str) -> str:
    kinds = _KIND.findall(cell)
    return kinds[-1] if kinds else ""
