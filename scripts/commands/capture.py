"""``nibbleforge capture``: real tensors out of a real LLM."""

from pathlib import Path
from typing import Annotated

import typer

from ...sim.llm.capture import DEFAULT_LAYERS, capture
from ...sim.llm.linear_layers import in_words
from ...sim.tools.results import check_output
from ..options import Context, Model, Offset, Text, Tokens
from ..show import console, progress, table


def command(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="F.npz", help="File to write.")],
    layer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Layer or pattern; may be given several times."),
    ] = None,
    tokens: Tokens = 256,
    text: Text = None,
    offset: Offset = None,
    context: Context = 512,
) -> None:
    """Run an LLM on a text and write activations and weights of chosen layers."""
    check_output(output.parent)
    with progress() as report:
        file = capture(
            model,
            layer or DEFAULT_LAYERS,
            tokens,
            output=output,
            text=text,
            offset=offset,
            context=context,
            progress=report,
        )
    rows = [[name, *file.activations(name).shape, len(file.weights(name))] for name in file.layers]
    table(["layer", "tokens", "in_features", "out_features"], rows, title=str(output))
    for entry in file.meta.get("left_out", []):
        console.print(f"left out: {in_words(entry)}", markup=False)
    console.print(f"{output.stat().st_size / 1e6:.1f} MB")
