"""``nibbleforge prune``: N:M pruning of a real LLM, by method, with INT4 weights and without."""

from typing import Annotated

import typer

from ...golden.contract.errors import UserError
from ...golden.nm.pattern import Pattern, check_group
from ...golden.nm.prune import METHODS, Method
from ...sim.llm.perplexity import find, open_model, provenance, read
from ...sim.llm.prune import REPORT, Layers, Outcome, measure, report_of, write_weights
from ...sim.tools.results import check_output, new_files, write_json
from ..options import Context, Markdown, Model, Output, Text
from ..show import console, markdown_table, progress, table

ALL = "all"


def command(
    model: Model,
    output: Output,
    pattern: Annotated[
        str, typer.Option(metavar="N:M", help="Weights kept of every 4, 8 or 16.")
    ] = "2:4",
    method: Annotated[str, typer.Option(metavar="X", help=f"{', '.join(METHODS)} or {ALL}.")] = ALL,
    group: Annotated[
        int, typer.Option(metavar="G", help="Input features that share an INT4 scale.")
    ] = 128,
    tokens: Annotated[
        int, typer.Option(metavar="N", help="Tokens to calibrate on, and tokens held out.")
    ] = 2048,
    text: Text = None,
    offset: Annotated[
        int | None, typer.Option(metavar="N", help="First token of the text to calibrate on.")
    ] = None,
    context: Context = 512,
    weights: Annotated[
        bool, typer.Option("--weights", help="Write the packed weights, too.")
    ] = False,
    markdown: Markdown = False,
) -> None:
    """Prune a real LLM to N:M and measure its perplexity on text not used to calibrate."""
    kept = Pattern.parse(pattern)
    methods = _methods(method)
    check_group(group)
    check_output(output)
    passage = read(text, offset, tokens, context)
    with progress() as report, new_files(output) as folder:
        source = find(model, report)

        def write(pruned_by: Method, layers: Layers) -> None:
            if weights:
                write_weights(folder, pruned_by, layers, kept)

        outcome = measure(open_model(source, passage, report), kept, methods, group, write, report)
        settings = provenance(model, source, passage)
        write_json(folder / REPORT, report_of(settings, kept, group, outcome))
    _show(outcome, kept, group, markdown)
    console.print(f"results in {output}", markup=False)


def _methods(given: str) -> list[Method]:
    """One method, or all of them."""
    chosen = [name for name in METHODS if given in (name, ALL)]
    if not chosen:
        raise UserError(f"--method must be one of {', '.join(METHODS)}, {ALL}, got {given!r}.")
    return chosen


def _show(outcome: Outcome, pattern: Pattern, group: int, markdown: bool) -> None:
    """Methods beside the dense model."""
    dense = Pattern(pattern.m, pattern.m)
    (markdown_table if markdown else table)(
        ["weights", "held-out perplexity", "with INT4", "bits per INT4 weight"],
        [
            [
                name if name == "dense" else f"{pattern} {name}",
                found.unquantised,
                found.int4,
                (dense if name == "dense" else pattern).bits_per_weight(group),
            ]
            for name, found in outcome.named().items()
        ],
    )
