"""``python -m nibbleforge.scripts.studies.memory_macros``: prices of memories, from macros."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ...sim.studies.memory_macros import fit
from ..main import run_app
from ..show import console

app = typer.Typer(add_completion=False)


@app.command()
def command(
    files: Annotated[
        list[Path], typer.Argument(metavar="F.lib[.gz]...", help="Liberty files of memories.")
    ],
    source: Annotated[str, typer.Option(help="What they are, for the table.")] = "",
) -> None:
    """Fit prices to macros of two ports; print them as `sim/tech` has them."""
    found = fit(files, source)
    price = found.price
    lines = [
        f"# Fitted to {len(price.macro)} macros: areas within {found.area_error:.1%}, "
        f"access times within {found.access_error:.1%}.",
        "[[memory]]",
    ]
    for name, value in price.model_dump(exclude_defaults=True, exclude={"macro"}).items():
        lines.append(f"{name} = {json.dumps(value)}")  # TOML writes these so, too
    lines.append("macro = [")
    for macro in price.macro:
        fields = ", ".join(f"{name} = {value}" for name, value in macro.model_dump().items())
        lines.append(f"    {{ {fields} }},")
    console.print("\n".join([*lines, "]"]), markup=False, soft_wrap=True, highlight=False)


if __name__ == "__main__":
    run_app(app)
