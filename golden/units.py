"""All units by name: what the command line can generate, simulate and regress."""

from . import bitmap, dense, dequantizer, figna, fp16
from .anda import compressor as anda_compressor
from .anda import unit as anda_unit
from .contract.design import Unit
from .contract.errors import UserError
from .nm import unit as nm
from .reglu import unit as reglu
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


def unit(name: str) -> Unit:
    """Look a unit up; an unknown name is a :class:`UserError` that lists the known ones."""
    if name not in UNITS:
        raise UserError(f"there is no unit {name!r}; the units are {', '.join(UNITS)}.")
    return UNITS[name]
