"""``python -m nibbleforge.scripts.anda_models``: Anda's published combinations on our arrays."""

from typing import Annotated

import typer

from ..golden.anda_config import AndaConfig
from ..sim.anda_models import LOSSES, TOKENS, geometric_means, speeds
from .main import run_app
from .options import check_number
from .show import table

app = typer.Typer(add_completion=False)


@app.command()
def command(
    tokens: Annotated[int, typer.Option(help="Tokens of the prefill.")] = TOKENS,
    serial: Annotated[bool, typer.Option("--serial", help="Sign planes as in the paper.")] = False,
) -> None:
    """Count cycles of nine LLMs' linear layers with the mantissas that the paper found."""
    check_number("--tokens", tokens, 1)
    found = list(speeds(AndaConfig(sign_plane="serial" if serial else "banked"), tokens))
    rows: list[list[object]] = []
    for speed in found:
        model = speed.model
        combinations = (model.tenth_percent, model.one_percent)
        shown = [",".join(map(str, mantissas)) for mantissas in combinations]
        rows.append([model.model, *shown, *speed.bops, *speed.speedup])
    bops, speedup = geometric_means(found)
    rows.append(["geometric mean", "", "", *bops, *speedup])
    columns = [f"{what}, {loss}" for what in ("M", "BOPs saved", "x fp16") for loss in LOSSES]
    table(["model", *columns], rows, title=f"{tokens} tokens, 16 x 16 arrays, fill and drain in")


if __name__ == "__main__":
    run_app(app)
