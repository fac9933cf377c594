"""``python -m nibbleforge.scripts.studies.perplexity``: perplexity with given mantissa lengths."""

from typing import Annotated

import typer

from ...golden.anda.format import check_mantissa
from ...golden.anda.search import Mantissas
from ...golden.contract.errors import UserError
from ...sim.llm.perplexity import KINDS, find, open_model, read
from ..main import run_app
from ..options import Context, HeldOut, Markdown, Model, Offset, Text, Tokens
from ..show import console, markdown_table, progress

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    model: Model,
    mantissa: Annotated[
        list[str] | None,
        typer.Option(metavar="M|QKV,O,U,D", help="Bits; may be given several times."),
    ] = None,
    tokens: Tokens = 2048,
    text: Text = None,
    offset: Offset = None,
    context: Context = 512,
    held_out: HeldOut = False,
    markdown: Markdown = False,
) -> None:
    """Measure a model's perplexity with FP16 activations and in the Anda format, groups of 64."""
    combinations = [_combination(given) for given in mantissa or ()]
    passage = read(text, offset, tokens, context)
    rows: list[tuple[str, float]] = []
    with progress() as report:
        opened = open_model(find(model, report), passage, report)
        for mantissas in (None, *combinations):
            found = opened.perplexity(mantissas, held_out=held_out, progress=report)
            name = "FP16" if mantissas is None else str(list(mantissas))
            rows.append((name, found))
            if not markdown:
                console.print(f"{name:16}  perplexity {found:9.3f}", markup=False)
    if markdown:
        over = [[name, found, f"{found / rows[0][1] - 1:+.2%}"] for name, found in rows]
        markdown_table([f"mantissas ({', '.join(KINDS)})", "perplexity", "over FP16"], over)


def _combination(text: str) -> Mantissas:
    """One length for all kinds of layers, or one for each."""
    try:
        lengths = [int(word) for word in text.split(",")]
    except ValueError:
        lengths = []
    if len(lengths) == 1:
        lengths *= len(KINDS)
    if len(lengths) != len(KINDS):
        raise UserError(
            f"--mantissa takes a number or {len(KINDS)} of them ({','.join(KINDS)}), got {text!r}."
        )
    for length in lengths:
        check_mantissa(length)
    qkv, o, u, d = lengths
    return qkv, o, u, d


if __name__ == "__main__":
    run_app(app)
