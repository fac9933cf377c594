"""``python -m nibbleforge.scripts.studies.balance F.npz``: speed-up of `sparqle` on it."""

from pathlib import Path
from typing import Annotated

import typer

from ...golden.sparqle.config import SparqleConfig
from ...sim.studies.balance import Balance, Variant, balance
from ...sim.tensors.files import Capture
from ..main import run_app
from ..options import Markdown
from ..show import markdown_table, table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

COLUMNS = ("array", "x dense", "x dense2k", "of ideal", "worst", "worst layer", "target")
TITLE = (
    "times fewer cycles, geometric means over layers; where a line says nothing else: 16 x 16, "
    "tokens sorted, chunk = 64, 2 banks, sharing = 1, one scale an output"
)
USUAL = SparqleConfig()


@app.command()
def command(
    capture: Annotated[Path, typer.Argument(metavar="F.npz", help="Written by `capture`.")],
    markdown: Markdown = False,
) -> None:
    """Count cycles of the hybrid array and both baselines over all layers of a capture."""
    rows = [_row(found) for found in balance(Capture.open(capture))]
    (markdown_table if markdown else table)(COLUMNS, rows, title=TITLE)


def _row(found: Balance) -> list[object]:
    return [
        describe(found.variant),
        found.over_dense,
        found.over_dense2k,
        found.mean_share,
        found.worst_share,
        found.worst_layer,
        found.variant.target,
    ]


def describe(variant: Variant) -> str:
    """What tells a variant from the usual array, beside its number of tokens."""
    config = variant.config
    facts = {
        f"{config.rows} x {config.columns}": config.rows != USUAL.rows,
        "natural order": not variant.sort,
        f"chunk = {config.chunk}": config.chunk != USUAL.chunk,
        f"{config.weight_banks} banks": config.weight_banks != USUAL.weight_banks,
        f"sharing = {config.sharing}": config.sharing != USUAL.sharing,
        f"scales of {config.weight_group if config.grouped else 0}": config.grouped,
    }
    return ", ".join([f"{variant.tokens} tokens", *(fact for fact in facts if facts[fact])])


if __name__ == "__main__":
    run_app(app)
