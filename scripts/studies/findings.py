"""``python -m nibbleforge.scripts.studies.findings``: gains in cycles, and where there are none."""

import typer

from ...sim.studies.findings import findings
from ..main import run_app
from ..options import Markdown
from ..show import markdown_table, table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(markdown: Markdown = False) -> None:
    """Compare the four systems with their rivals in cycles."""
    rows = [[found.what, found.rival, found.speedup, found.limits] for found in findings()]
    columns = ["system", "compared with", "times fewer cycles", "remarks"]
    (markdown_table if markdown else table)(columns, rows)


if __name__ == "__main__":
    run_app(app)
