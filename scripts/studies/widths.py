"""``python -m nibbleforge.scripts.studies.widths``: perplexity with integers of few bits."""

from typing import Annotated

import typer

from ...sim.llm.integers import Widths, perplexity
from ...sim.llm.perplexity import find, open_model, read
from ..main import run_app
from ..options import Context, HeldOut, Markdown, Model, Offset, Text, Tokens
from ..show import markdown_table, progress, table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    model: Model,
    width: Annotated[
        list[str],
        typer.Option(metavar="wNaM", help="Bits of weights, activations; several times."),
    ],
    group: Annotated[
        int | None, typer.Option(metavar="G", help="Features that share a scale of weights.")
    ] = None,
    tokens: Tokens = 2048,
    text: Text = None,
    offset: Offset = None,
    context: Context = 512,
    held_out: HeldOut = False,
    markdown: Markdown = False,
) -> None:
    """Measure a model's perplexity with linear layers of integers, symmetric, to the nearest.

    Activations have one scale a token, weights one an output or one a group.
    """
    chosen = [Widths.of(name, group) for name in width]
    passage = read(text, offset, tokens, context)
    with progress() as report:
        opened = open_model(find(model, report), passage, report)
        before = opened.perplexity(None, held_out=held_out, progress=report)
        rows: list[list[object]] = [["FP16", before, "1"]]
        for name, widths in zip(width, chosen, strict=True):
            found = perplexity(opened, widths, held_out=held_out, progress=report)
            rows.append([name, found, f"{found / before:.3g}"])
    shown = markdown_table if markdown else table
    scales = "one scale an output" if group is None else f"one scale for {group} weights"
    shown(["operands", "perplexity", "over FP16"], rows, f"perplexity, {scales}")


if __name__ == "__main__":
    run_app(app)
