"""Cores as designs: the core around a unit's design, of each kind."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

from ..contract.design import Design
from ..contract.events import Counts
from ..contract.schedule import Schedule, Traffic
from ..contract.workload import Workload
from . import stream, unit
from .config import ShellConfig
from .unit import PREFIX, PRIME

RunSchedule = Callable[[Any, Any], Schedule]
"""Schedule of a run, by the core's configuration."""


@cache
def core_design(design: Design) -> Design:
    """The core that runs layers on a unit's design."""
    return _around(
        design,
        "core that runs whole layers on {}, from streams",
        f"per pass max(load, compute, drain), first load and last drain outside; "
        f"compute is that of {{}} and {PRIME + 1} cycles more",
        schedule=partial(unit.schedule, design),
        workload=unit.workload,
        profile=unit.CoreProfile,
        hardware="nibbleforge.hw.soc.core:Core",
        stimuli="nibbleforge.tb.tb_core:around",
    )


@cache
def packet_core_design(design: Design) -> Design:
    """The same around a design whose results have several ports."""
    return replace(core_design(design), hardware="nibbleforge.hw.soc.packets:PacketCore")


@cache
def stream_core_design(design: Design) -> Design:
    """The core that passes plain streams through a unit's design."""
    return _around(
        design,
        "core that passes streams through {}",
        f"per block max(load, compute, drain), first load and last drain outside; "
        f"compute is that of {{}} and quiet + {PRIME + 1} cycles more",
        schedule=partial(stream.schedule, design),
        workload=partial(stream.workload, design),
        profile=stream.StreamProfile,
        hardware="nibbleforge.hw.soc.stream:StreamCore",
        stimuli="nibbleforge.tb.tb_stream_core:around",
    )


def _around(
    design: Design,
    summary: str,
    law: str,
    *,
    schedule: RunSchedule,
    workload: Callable[..., Workload],
    profile: type[unit.RunProfile],
    hardware: str,
    stimuli: str,
) -> Design:
    """A core around a design, whose name goes where ``{}`` is."""
    return Design(
        name=PREFIX + design.name,
        summary=summary.format(design.name),
        law=law.format(design.name),
        ports=partial(unit.all_ports, design),
        events=partial(unit.events, design),
        bandwidth=partial(unit.bandwidth, design),
        schedule=schedule,
        traffic=partial(_traffic, schedule),
        workload=workload,
        cycles=partial(_cycles, schedule, profile),
        hardware=hardware,
        stimuli=stimuli,
        inner=design,
    )


def _traffic(schedule: RunSchedule, config: ShellConfig, run: Any) -> Traffic:
    """Payloads of every port."""
    return schedule(config, run).beats


def _cycles(
    schedule: RunSchedule, profile: type[unit.RunProfile], config: ShellConfig, workload: Workload
) -> Counts:
    """Counts of a run from its first setting to its final read."""
    return schedule(config, workload.profile_as(profile).run).counts()
