"""All units by name: what the command line can generate, simulate and regress."""

from . import bitmap, dense, dequantizer, figna, fp16
from .anda import compressor as anda_compressor
from .anda import unit as anda_unit
from .contract.design import Unit
from .contract.errors import UserError
from .nm import unit as nm
from .reglu import unit as reglu
from .soc.unit import core_of
from .sparqle import unit as sparqle

UNITS: dict[str, Unit] = {
    unit.name: unit
    for unit in (
        bitmap.UNIT,
        dense.UNIT,
        dense.UNIT_2K,
        sparqle.UNIT,
        anda_unit.UNIT,
        anda_compressor.UNIT,
        fp16.UNIT,
        figna.UNIT,
        nm.UNIT,
        dequantizer.UNIT,
        reglu.UNIT,
    )
}


CORE = "core"


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
