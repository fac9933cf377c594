"""Boards with an ECP5 and a serial line, from amaranth-boards."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ...golden.contract.errors import UserError
from ..tools import toolchain
from .place import DEVICES, Target

_CLASSES = {
    f"ulx3s-{size}f": ("amaranth_boards.ulx3s", f"ULX3S_{size}F_Platform")
    for size in (85, 45, 25, 12)
}
BOARDS = tuple(_CLASSES)
"""Boards by name."""

_PACKAGES = {"BG256": "CABGA256", "BG381": "CABGA381", "BG554": "CABGA554", "BG756": "CABGA756"}
_SERIAL = ("rx", "tx")
_HIGH = {"wifi_gpio0": ("esp32", "gpio0")}
"""Outputs that stay high, and what they are in amaranth-boards.

A low level there makes the ESP32 of a ULX3S load another design.
"""


@dataclass(frozen=True)
class Pin:
    """A pin of a device.

    Attributes
    ----------
    site
        Where it is.
    attributes
        How it is driven, such as ``IO_TYPE``.
    """

    site: str
    attributes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Board:
    """What a core needs to know of a board.

    Attributes
    ----------
    name
        As the command line has it.
    target
        Its device, and the frequency of its clock.
    pins
        Port of the top module to pin: ``clk``, ``rx``, ``tx`` and those of :attr:`high`.
    high
        Outputs that stay high.
    """

    name: str
    target: Target
    pins: dict[str, Pin]
    high: tuple[str, ...]

    @property
    def clock(self) -> int:
        """Cycles a second."""
        return round(self.target.megahertz * 1e6)

    def constraints(self) -> str:
        """Pins and clock as nextpnr reads them (``.lpf``)."""
        lines = [f'FREQUENCY PORT "clk" {self.target.megahertz:g} MHZ;']
        for port, pin in self.pins.items():
            attributes = " ".join(f"{name}={value}" for name, value in pin.attributes)
            lines.append(f'LOCATE COMP "{port}" SITE "{pin.site}";')
            lines.append(f'IOBUF PORT "{port}" {attributes};')
        return "\n".join(lines) + "\n"


def board(name: str) -> Board:
    """Look a board up.

    Raises
    ------
    UserError
        There is none of this name, or amaranth-boards is not installed.
    """
    if name not in _CLASSES:
        raise UserError(f"there is no board {name!r}; the boards are {', '.join(BOARDS)}.")
    toolchain.require("amaranth-boards")
    module, kind = _CLASSES[name]
    platform = getattr(import_module(module), kind)
    resources = {(found.name, found.number): found for found in platform.resources}
    clock, serial = resources[platform.default_clk, 0], resources["uart", 0]
    device = next(key for key, device in DEVICES.items() if device == platform.device)
    target = Target(
        device, clock.clock.frequency / 1e6, _PACKAGES[platform.package], platform.speed
    )
    pins = {"clk": _pin(clock.ios[0], clock)}
    pins |= {port: _line(serial, port) for port in _SERIAL}
    pins |= {port: _line(resources[owner, 0], line) for port, (owner, line) in _HIGH.items()}
    return Board(name, target, pins, tuple(_HIGH))


def _line(resource: Any, name: str) -> Pin:
    """The pin of a line of a resource."""
    line = next(line for line in resource.ios if line.name == name)
    return _pin(line.ios[0], resource, line)


def _pin(pins: Any, *owners: Any) -> Pin:
    """A single pin, with the attributes of all that it belongs to."""
    (site,) = pins.names
    attributes = {name: str(value) for owner in owners for name, value in owner.attrs.items()}
    return Pin(site, tuple(attributes.items()))
