"""Which simulation serves which unit; a unit that has none is refused."""

from ...golden.contract.design import Unit
from ...golden.contract.errors import UserError
from ...golden.contract.reference import resolve
from ...golden.units import UNITS
from .simulate import Simulator


def simulator_of(unit: Unit) -> Simulator:
    """The simulation that a unit declares.

    Raises
    ------
    UserError
        The unit takes no tensors.
    """
    if not unit.simulation:
        known = ", ".join(other.name for other in UNITS.values() if other.simulation)
        raise UserError(f"{unit.name} has no simulation of tensors; {known} have one.")
    found: Simulator = resolve(unit.simulation)
    return found
