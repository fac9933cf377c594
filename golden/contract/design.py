"""What hardware, testbench, simulation and documents all need to know about a design."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .config import Config, NoSettings
from .events import Event
from .ports import Port
from .schedule import Schedule, Traffic


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
    """

    name: str
    summary: str
    law: str
    ports: Callable[[Any], tuple[Port, ...]]
    events: Callable[[Any], tuple[Event, ...]]
    bandwidth: Callable[[Any], dict[str, float]]
    schedule: Callable[[Any, Any], Schedule]
    traffic: Callable[[Any, Any], Traffic]


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
    settings
        Class of the run-time settings: what the hardware takes as it runs.
    """

    name: str
    summary: str
    config: type[Config]
    presets: dict[str, Config]
    designs: Callable[[Any], tuple[Design, ...]]
    settings: type[Config] = NoSettings
