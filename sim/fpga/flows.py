"""All flows by name."""

from ...golden.contract.errors import UserError
from . import ecp5, fusesoc, verilog, vivado
from .folder import Flow

FLOWS = {found.name: found for found in (verilog.FLOW, ecp5.FLOW, fusesoc.FLOW, vivado.FLOW)}


def flow(
    name: str, board: str | None = None, baud: int | None = None, clock: int | None = None
) -> Flow:
    """Look a flow up.

    Parameters
    ----------
    name
        Key of :data:`FLOWS`.
    board, baud, clock
        What a flow for a board is for, where it is not the usual one: the board's name, bits a
        second of its serial line, cycles a second of the core.

    Raises
    ------
    UserError
        There is none of this name, the sentence lists those that there are; or it is for no board.
    """
    if name not in FLOWS:
        known = ", ".join(FLOWS)
        raise UserError(f"there is no flow {name!r}; the flows are {known}.")
    found = FLOWS[name]
    if (board, baud, clock) == (None, None, None):
        return found
    if found.on is None:
        raise UserError(
            f"--board, --baud and --clock are for a flow with a board, {name} has none."
        )
    return found.on(board, baud, clock)
