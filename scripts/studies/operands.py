"""``python -m nibbleforge.scripts.studies.operands``: perplexity with operands of few bits."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from ...sim.llm.operands import FP16, PERPLEXITIES, Operands, perplexity
from ...sim.llm.perplexity import find, open_model, read
from ...sim.tools.results import check_output, new_files, write_json
from ..main import run_app
from ..options import Context, HeldOut, Markdown, Model, Offset, Text, Tokens
from ..show import markdown_table, progress, table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    model: Model,
    operands: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="w4a8, 2:4w4a8, a8, m7, mxint8, ...; several times."),
    ],
    group: Annotated[
        int | None, typer.Option(metavar="G", help="Features that share a scale of weights.")
    ] = None,
    calibrated: Annotated[
        bool,
        typer.Option("--calibrated", help="Later weights make up for errors of earlier ones."),
    ] = False,
    tokens: Tokens = 2048,
    text: Text = None,
    offset: Offset = None,
    context: Context = 512,
    held_out: HeldOut = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help=f"Folder for {PERPLEXITIES}."),
    ] = None,
    markdown: Markdown = False,
) -> None:
    """Measure a model's perplexity with linear layers of operands of few bits.

    ``w4`` are weights of 4 bits, symmetric, to the nearest or calibrated, with one scale an output
    or a group; ``2:4w4`` are calibrated ones of which two of four are kept; without, weights stay
    as the model has them. ``a8`` are activations of 8 bits with one scale a
    token, ``m7`` mantissas of 7 bits of which 64 share an exponent, truncated, ``mxint8`` such
    mantissas of which 32 share one, to the nearest.
    """
    chosen = {name: Operands.of(name, group, calibrated=calibrated) for name in operands}
    passage = read(text, offset, tokens, context)
    if output is not None:
        check_output(output)
    with progress() as report:
        opened = open_model(find(model, report), passage, report)
        usual = opened.perplexity(None, held_out=held_out, progress=report)
        found = {FP16: usual}
        for name, each in chosen.items():
            found[name] = perplexity(opened, each, held_out=held_out, progress=report)
    if output is not None:
        with new_files(output) as folder:
            write_json(folder / PERPLEXITIES, found)
    shown = markdown_table if markdown else table
    rows = [[name, value, f"{value / usual:.4g}"] for name, value in found.items()]
    shown(["operands", "perplexity", "over FP16"], rows, _title(chosen.values()))


def _title(chosen: Iterable[Operands]) -> str:
    """What all weights have in common."""
    weights = next((each.weights for each in chosen if each.weights is not None), None)
    if weights is None:
        return "perplexity, weights as the model has them"
    scales = "one scale an output" if weights.group is None else f"one scale for {weights.group}"
    how = "calibrated" if weights.calibrated else "to the nearest"
    return f"perplexity, weights {how}, {scales}"


if __name__ == "__main__":
    run_app(app)
