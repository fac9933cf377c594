"""``nibbleforge doctor``: which tools are there, and what to do about the others."""

from ...golden.contract.errors import UserError
from ...sim.tools.toolchain import report
from ..show import console, table


def command() -> None:
    """Show tools, versions, what they are for and what to do when one is missing."""
    rows = report()
    table(
        ["tool", "version", "where", "for"],
        [
            [
                row.tool.name,
                row.found.version if row.found else "missing",
                row.found.path if row.found else "-",
                row.tool.purpose,
            ]
            for row in rows
        ],
    )
    for row in rows:
        if row.found is None:
            console.print(row.complaint, markup=False)
    missing = [row.tool.name for row in rows if row.found is None and row.tool.required]
    if missing:
        raise UserError(f"nothing works without {', '.join(missing)}.")
