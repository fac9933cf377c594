"""Cores of all units: which kind a unit has, and its presets."""

from typing import Any

from ..contract.config import Config
from ..contract.design import Design, Unit
from ..contract.errors import UserError
from ..contract.ports import Port
from .config import ShellConfig, family
from .designs import core_design, packet_core_design, stream_core_design
from .memory import Rows, config_around
from .registers import check_supported, in_packets, is_stream, stored
from .stream import stream_config_around

_EXTENT: dict[str, dict[str, Any]] = {
    "tiny": {"token_blocks": 2, "output_blocks": 1, "block_beats": 64, "result_beats": 64},
    "fpga": {"token_blocks": 4, "output_blocks": 4},
}
"""Buffers of presets that need not hold the layers of a large LLM."""

_BLOCKS_BITS = 1 << 19
"""Most bits of a block of every port together in the preset ``fpga``: buffers that fit a board."""

_MEMORY: dict[str, dict[str, Any]] = {"tiny": {"burst": 4, "rows_ahead": 3}}
"""Small values of what cores with a memory have beside."""

_BUFFER_BITS = {"tiny": 1 << 10, "fpga": 1 << 16}
"""Bits of half a buffer of such presets where units have plain streams."""


def core_of(unit: Unit) -> Unit:
    """The core around a unit, as a unit with presets of the same names.

    Raises
    ------
    UserError
        The core does not take the unit.
    """
    return _stream_core_of(unit) if _streams(unit) else _layer_core_of(unit)


def _streams(unit: Unit) -> bool:
    """Whether a unit has plain streams alone."""
    return all(
        is_stream(design.ports(parameters))
        for parameters in unit.presets.values()
        for design in unit.designs(parameters)
    )


def _layer_core_of(unit: Unit) -> Unit:
    """A core that runs layers."""
    presets: dict[str, Config] = {}
    for name, parameters in unit.presets.items():
        designs = unit.designs(parameters)
        if all(_takes(design, parameters) for design in designs):
            extent: dict[str, Any] = {"block_beats": _layer_beats(name, designs, parameters)}
            extent |= _EXTENT.get(name, {})
            fetches = any(Rows.of(design.ports(parameters)) for design in designs)
            extent = extent | _whole(designs, parameters)
            extent = extent | (_MEMORY.get(name, {}) if fetches else {})
            config = config_around(unit.config, fetches=fetches)
            presets[name] = config(unit=parameters, **extent)
    if not presets:
        parameters = next(iter(unit.presets.values()))
        design = unit.designs(parameters)[0]
        check_supported(design, design.ports(parameters))
    return Unit(
        name=f"core/{unit.name}",
        summary=f"core that runs whole layers on {unit.name}, from streams",
        config=type(next(iter(presets.values()))),
        presets=presets,
        designs=lambda core: tuple(_around(d, core.unit) for d in _inside(unit, core)),
        takes=unit.takes,
        settings=unit.settings,
    )


def _inside(unit: Unit, core: ShellConfig) -> tuple[Design, ...]:
    """Designs of the unit inside.

    Raises
    ------
    UserError
        The depth of a buffer that none of them has.
    """
    designs = unit.designs(core.unit)
    every = [design.ports(core.unit) for design in designs]
    buffered = [ports if is_stream(ports) else stored(ports) for ports in every]
    known = list(dict.fromkeys(family(port) for ports in buffered for port in ports))
    for name in core.depths:
        if name not in known:
            raise UserError(
                f"depths.{name}: there is no such buffer; the buffers are {', '.join(known)}."
            )
    return designs


def _layer_beats(preset: str, designs: tuple[Design, ...], parameters: Config) -> int:
    """Beats of the longest block: 4096, or at most 1024 where all must fit a board."""
    if preset != "fpga":
        return 4096
    widths = max(sum(port.width for port in _inputs(design, parameters)) for design in designs)
    return min(1024, 1 << (_BLOCKS_BITS // widths).bit_length() - 1)


def _inputs(design: Design, parameters: Config) -> list[Port]:
    return [port for port in design.ports(parameters) if port.direction == "in"]


def _around(design: Design, parameters: Config) -> Design:
    """The core around a design, by how its results leave."""
    several = in_packets(design.ports(parameters))
    return packet_core_design(design) if several else core_design(design)


def _whole(designs: tuple[Design, ...], parameters: Config) -> dict[str, int]:
    """Blocks of outputs, so that a pass ends with a block of results."""
    ports = [port for design in designs for port in design.ports(parameters)]
    tiles = max(port.tiles for port in ports)
    return {"output_blocks": tiles} if tiles > 1 else {}


def _takes(design: Design, parameters: Config) -> bool:
    """Whether the core can run the design."""
    try:
        check_supported(design, design.ports(parameters))
    except UserError:
        return False
    return True


def _stream_core_of(unit: Unit) -> Unit:
    """A core that streams pass through."""
    config = stream_config_around(unit.config)
    return Unit(
        name=f"core/{unit.name}",
        summary=f"core that passes streams through {unit.name}",
        config=config,
        presets={
            name: config(unit=parameters, block_beats=_block_beats(unit, name, parameters))
            for name, parameters in unit.presets.items()
        },
        designs=lambda core: tuple(stream_core_design(d) for d in _inside(unit, core)),
        takes=unit.takes,
        settings=unit.settings,
    )


def _block_beats(unit: Unit, preset: str, parameters: Config) -> int:
    """Beats of half a buffer: a power of two, 64 to 4096, by the widest port."""
    designs = unit.designs(parameters)
    widest = max(port.width for design in designs for port in design.ports(parameters))
    beats = _BUFFER_BITS.get(preset, 1 << 20) // widest
    return min(max(64, 1 << max(0, beats.bit_length() - 1)), 4096)
