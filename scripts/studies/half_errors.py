"""``python -m nibbleforge.scripts.studies.half_errors``: errors of FP16 arrays on real layers."""

import typer

from ...sim.studies.half_errors import GUARDS, OUTPUTS, TOKENS, errors
from ..main import run_app
from ..options import Markdown
from ..show import markdown_table, table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

UNIT = 1e-7


@app.command()
def command(markdown: Markdown = False) -> None:
    """Compare sums in FP32, and fused dot products with some guard bits, with exact sums."""
    rows = [[name, *(error / UNIT for error in found)] for name, found in errors()]
    columns = ["layer", "fp16", *(f"guard = {guard}" for guard in GUARDS), "exact, rounded"]
    title = f"errors over results, root mean squares, 10^-7; {TOKENS} tokens, {OUTPUTS} outputs"
    (markdown_table if markdown else table)(columns, rows, title)


if __name__ == "__main__":
    run_app(app)
