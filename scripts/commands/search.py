"""``nibbleforge search``: the precision search of Anda on a real LLM."""

from typing import Annotated

import typer

from ...golden.anda.search import FP16_BITS, Round
from ...golden.contract.errors import UserError
from ...sim.llm.perplexity import KINDS, find, open_model, read
from ...sim.llm.search import (
    CONFIG,
    PREFILL,
    Outcome,
    anda_settings,
    perplexity_of,
    search,
    state_of,
)
from ...sim.tools.results import check_output
from ..options import Context, Model, Output, Text, check_number
from ..show import console, progress, table

UNITS = ("anda",)


def command(
    unit: Annotated[str, typer.Argument(metavar="UNIT", help="Unit: anda.")],
    model: Model,
    output: Output,
    loss: Annotated[
        float, typer.Option(metavar="L", help="Tolerated relative rise of the perplexity.")
    ] = 0.01,
    max_rounds: Annotated[int, typer.Option(metavar="N", help="Rounds at most.")] = 32,
    tokens: Annotated[
        int, typer.Option(metavar="N", help="Tokens to search on, and tokens held out.")
    ] = 2048,
    text: Text = None,
    offset: Annotated[
        int | None, typer.Option(metavar="N", help="First token of the text to search on.")
    ] = None,
    context: Context = 512,
) -> None:
    """Search for the cheapest mantissa lengths; the same call goes on with an interrupted one."""
    if unit not in UNITS:
        raise UserError(f"there is no search for {unit!r}; there is one for {', '.join(UNITS)}.")
    if not 0 < loss < 1:
        raise UserError(f"--loss must be above 0 and below 1, got {loss}.")
    check_number("--max-rounds", max_rounds, 1)
    check_output(output)
    passage = read(text, offset, tokens, context)
    with progress() as report:
        source = find(model, report)
        outcome = search(
            anda_settings(model, source, passage, loss),
            lambda: open_model(source, passage, report),
            output,
            max_rounds,
            on_round=_show_round,
            progress=report,
        )
    _show(outcome)
    console.print(f"results in {output}", markup=False)


def _show_round(done: Round, reference: float) -> None:
    """One line a round."""
    perplexity = perplexity_of(done, reference)
    figure = "-" if perplexity is None else f"{perplexity:.3f}"
    combination = "[" + ", ".join(f"{m:2}" for m in done.mantissas) + "]"
    console.print(
        f"{combination}  {FP16_BITS / done.bops:5.2f}x BOPs  perplexity {figure:>9}"
        f"  {state_of(done)}",
        markup=False,
    )


def _show(outcome: Outcome) -> None:
    """The combination beside FP16 activations."""
    console.print(outcome.verdict, markup=False)
    names = ["FP16", str(list(outcome.best or ()))]
    searched = [outcome.reference, *_perplexity_of_best(outcome)]
    savings = [1.0, outcome.saving]
    speedups = [outcome.cycles[0] / cycles for cycles in outcome.cycles]
    rows = zip(
        names, searched, outcome.held_out, savings, outcome.cycles, speedups, strict=False
    )  # ends with FP16 if nothing passes
    table(
        [
            ", ".join(KINDS),
            "perplexity",
            "on held-out text",
            "x BOPs saved",
            f"cycles of {PREFILL} tokens, {CONFIG.rows} x {CONFIG.columns}",
            "x FP16",
        ],
        list(rows),
    )


def _perplexity_of_best(outcome: Outcome) -> list[float]:
    """On the text of the search, if there is a best."""
    found = (perplexity_of(done, outcome.reference) for done in outcome.rounds if done.accepted)
    return [perplexity for perplexity in found if perplexity is not None][-1:]
