"""``nibbleforge cache``: the build cache."""

import typer

from ...sim.tools.cache import Cache
from ..show import console, table

app = typer.Typer(help="Show or clear the build cache.")


@app.command()
def info() -> None:
    """Show where the cache lies and what it holds."""
    found = Cache().info()
    rows = [[kind, usage.entries, usage.size / 1e6] for kind, usage in found.kinds.items()]
    table(
        ["kind", "entries", "MB"],
        [*rows, ["all", found.entries, found.size / 1e6]],
        title=str(found.root),
    )


@app.command()
def clear() -> None:
    """Remove everything from the cache."""
    console.print(f"freed {Cache().clear() / 1e6:.1f} MB")
