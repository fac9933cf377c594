"""What hardware, testbench, simulation and documents all need to know about a design."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from .config import Config, NoSettings
from .events import Counts, Event
from .ports import Port
from .rows import Supply
from .schedule import Schedule, Traffic
from .workload import Workload

Takes = Literal["activations", "layer", "ffn", "stream"]
"""Operands of a unit: activations alone, those and a weight matrix, those and an FFN, or a stream
that is no tensor of a user."""


@dataclass(frozen=True)
class Design:
    """A top-level module that a unit emits.

    Attributes
    ----------
    name
        Name of the top module, for example ``bitmap_decoder``.
    summary
        One line for listings.
    law
        Cycle law in one line, as its docstring and manifest state it.
    ports, events
        Declarations for a configuration, in port order.
    bandwidth
        Port name to bits per cycle that the law assumes on each input.
    schedule
        Golden schedule of a free-flowing run: ``schedule(config, operands)``.
    traffic
        Payloads of every port alone, for whole layers: ``traffic(config, operands)``.
    workload
        Of operands, tokens in the order given: ``workload(config, operands)``.
    cycles
        Counts of a free-flowing run, vectorised for whole LLMs: ``cycles(config, workload)``;
        ``cycles(config, workload(config, operands))`` are those of the schedule.
    hardware
        Reference to what ``hardware(config)`` makes the component with, see :mod:`.reference`.
    stimuli
        Reference to the testbench's :class:`~nibbleforge.tb.stimuli.Stimuli`.
    inner
        Design that this one is a core around, if any; its hardware and stimuli are then made from
        those of the inner design.
    supplied
        Of a design that asks for rows, its schedule where they come otherwise:
        ``supplied(config, operands, supply)``.
    wide
        Whether most of the design is wide vectors: kept whole, with modules apart, its simulation
        then compiles and runs several times faster.
    """

    name: str
    summary: str
    law: str
    ports: Callable[[Any], tuple[Port, ...]]
    events: Callable[[Any], tuple[Event, ...]]
    bandwidth: Callable[[Any], dict[str, float]]
    schedule: Callable[[Any, Any], Schedule]
    traffic: Callable[[Any, Any], Traffic]
    workload: Callable[[Any, Any], Workload]
    cycles: Callable[[Any, Workload], Counts]
    hardware: str
    stimuli: str
    inner: "Design | None" = None
    supplied: Callable[[Any, Any, Supply], Schedule] | None = None
    wide: bool = False


@dataclass(frozen=True)
class Unit:
    """What the command line calls a unit.

    Attributes
    ----------
    name, summary
        For listings.
    config
        Class of the generation parameters.
    presets
        Named configurations; ``paper`` is the default.
    designs
        Top-level designs that a configuration leads to.
    takes
        Kind of the operands.
    settings
        Class of the run-time settings: what the hardware takes as it runs.
    simulation
        Reference to the simulation on a user's tensors; empty if there is none.
    """

    name: str
    summary: str
    config: type[Config]
    presets: dict[str, Config]
    designs: Callable[[Any], tuple[Design, ...]]
    takes: Takes
    settings: type[Config] = NoSettings
    simulation: str = ""
