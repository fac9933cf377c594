"""``python -m nibbleforge.scripts.studies.balance F.npz``: speed-up of `sparqle` on it."""

from pathlib import Path
from typing import Annotated

import typer

from ...sim.studies.balance import Balance, balance
from ...sim.tensors.files import Capture
from ..main import run_app
from ..show import table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

COLUMNS = (
    "array",
    "tokens",
    "order",
    "Kc",
    "banks",
    "g",
    "scales",
    "x dense",
    "x dense2k",
    "of ideal",
    "worst",
    "worst layer",
)


@app.command()
def command(
    capture: Annotated[Path, typer.Argument(metavar="F.npz", help="Written by `capture`.")],
) -> None:
    """Count cycles of the hybrid array and both baselines over all layers of a capture."""
    rows = [_row(found) for found in balance(Capture.open(capture))]
    table(COLUMNS, rows, title="geometric means over layers; golden counts, equal to the RTL's")


def _row(found: Balance) -> list[object]:
    variant, config = found.variant, found.variant.config
    return [
        f"{config.rows} x {config.columns}",
        variant.tokens,
        "sorted" if variant.sort else "natural",
        config.chunk,
        config.weight_banks,
        config.sharing,
        config.weight_group if config.grouped else "channel",
        found.over_dense,
        found.over_dense2k,
        found.mean_share,
        found.worst_share,
        found.worst_layer,
    ]


if __name__ == "__main__":
    run_app(app)
