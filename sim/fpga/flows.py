"""All flows by name."""

from ...golden.contract.errors import UserError
from . import verilog
from .folder import Flow

FLOWS = {found.name: found for found in (verilog.FLOW,)}


def flow(name: str) -> Flow:
    """Look a flow up.

    Raises
    ------
    UserError
        There is none of this name; the sentence lists those that there are.
    """
    if name not in FLOWS:
        known = ", ".join(FLOWS)
        raise UserError(f"there is no flow {name!r}; the flows are {known}.")
    return FLOWS[name]
