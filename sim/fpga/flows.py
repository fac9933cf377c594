"""All flows by name."""

from ...golden.contract.errors import UserError
from . import ecp5, fusesoc, verilog, vivado
from .folder import Flow

FLOWS = {found.name: found for found in (verilog.FLOW, ecp5.FLOW, fusesoc.FLOW, vivado.FLOW)}


def flow(name: str, board: str | None = None, baud: int | None = None) -> Flow:
    """Look a flow up.

    Parameters
    ----------
    name
        Key of :data:`FLOWS`.
    board, baud
        What a flow for a board is for, where it is not the usual one.

    Raises
    ------
    UserError
        There is none of this name, the sentence lists those that there are; or it is for no board.
    """
    if name not in FLOWS:
        known = ", ".join(FLOWS)
        raise UserError(f"there is no flow {name!r}; the flows are {known}.")
    found = FLOWS[name]
    if board is None and baud is None:
        return found
    if found.on is None:
        raise UserError(f"--board and --baud are for a flow with a board, {name} has none.")
    return found.on(board, baud)
