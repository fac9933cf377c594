"""All units by name: what the command line can generate, simulate and regress.

A unit is declared in one place, a module with ``UNITS``: here ``golden/NAME.py`` or
``golden/NAME/unit.py``. Units of others join through the entry points ``nibbleforge.units`` of an
installed package, or through the environment variable :data:`VARIABLE`; either names modules with
``UNITS``.
"""

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module, metadata
from pathlib import Path

from .contract.design import Design, Unit
from .contract.errors import UserError
from .soc.cores import core_of

VARIABLE = "NIBBLEFORGE_UNITS"
"""Environment variable with further modules that declare units, separated by commas."""

ENTRY_POINTS = "nibbleforge.units"
"""Group of the entry points whose values are further modules that declare units."""

_HERE = Path(__file__)


class _Units(Mapping[str, Unit]):
    """Units by name, in alphabetical order; declarations are read at the first use."""

    @cached_property
    def _found(self) -> dict[str, Unit]:
        units: dict[str, Unit] = {}
        for module in dict.fromkeys((*_own_modules(), *_other_modules())):
            for unit in _declared(module):
                if unit.name in units:
                    raise UserError(f"{module} declares a second unit named {unit.name!r}.")
                units[unit.name] = unit
        return dict(sorted(units.items()))

    def __getitem__(self, name: str) -> Unit:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


UNITS: Mapping[str, Unit] = _Units()

CORE = "core"
"""What the command line calls the core around a unit."""


def core_name(name: str) -> str:
    """Name under which :func:`unit` finds the core around a unit."""
    return f"{CORE}/{name}"


def command_name(name: str) -> str:
    """How the command line names a unit, for example ``core --unit dense``."""
    return name.replace(f"{CORE}/", f"{CORE} --unit ")


def unit(name: str) -> Unit:
    """Look a unit up; ``core/UNIT`` is the core around one.

    Raises
    ------
    UserError
        There is none of this name (the sentence lists those that there are), or the core does not
        take the unit.
    """
    inner = name.removeprefix(f"{CORE}/")
    if inner not in UNITS:
        raise UserError(f"there is no unit {inner!r}; the units are {', '.join(UNITS)}.")
    return UNITS[inner] if inner == name else core_of(UNITS[inner])


def designs() -> Iterator[tuple[Unit, Design]]:
    """Every design that a preset leads to, once, with the first unit that has it."""
    seen = set()
    for owner in UNITS.values():
        for config in owner.presets.values():
            for design in owner.designs(config):
                if design.name not in seen:
                    seen.add(design.name)
                    yield owner, design


def _own_modules() -> Iterator[str]:
    """Modules of this package that may declare units."""
    package = __name__.rpartition(".")[0]
    for path in sorted((*_HERE.parent.glob("*.py"), *_HERE.parent.glob("*/unit.py"))):
        if path != _HERE:
            yield ".".join((package, *path.relative_to(_HERE.parent).with_suffix("").parts))


def _other_modules() -> Iterator[str]:
    """Modules of others that declare units."""
    yield from (point.value for point in metadata.entry_points(group=ENTRY_POINTS))
    named = os.environ.get(VARIABLE, "")
    yield from (name.strip() for name in named.split(",") if name.strip())


def _declared(module: str) -> tuple[Unit, ...]:
    """Units that a module declares; one of ours may declare none."""
    try:
        return getattr(import_module(module), "UNITS", ())
    except ModuleNotFoundError as error:
        raise UserError(f"{module} is to declare units and cannot be imported: {error}.") from None
