"""``python -m nibbleforge.scripts.studies.reglu_quality``: the predictor on the sample."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from ...golden.contract.errors import UserError
from ...golden.reglu.predictor import PredictsNeurons
from ...golden.reglu.quality import quality, share
from ...sim.llm.reglu_ablation import by_chance, constant_bias, difference, sign, svd
from ...sim.llm.reglu_perplexity import Bench, Cost, perplexity
from ...sim.tensors.ffns import FfnSample, sample_path
from ...sim.tools.threads import threads
from ..main import run_app
from ..options import Markdown, check_number
from ..show import Report, Table, markdown_table, progress, table

RANKS = (4, 8, 16, 32, 64, 128)
SHARES = (0.3, 0.5, 0.7, 0.9)
TABLES = ("model", "layers", "ranks", "predictors")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    rank: Annotated[int, typer.Option(metavar="R", help="Rank of the first and last tables.")] = 32,
    dropped: Annotated[
        float,
        typer.Option(
            "--share", metavar="S", help="Share of the natural sparsity to drop, first table."
        ),
    ] = 0.7,
    windows: Annotated[
        int | None, typer.Option(metavar="N", help="Windows of held-out text; default: all.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(metavar="|".join(TABLES), help="One of the tables; default: all.")
    ] = None,
    markdown: Markdown = False,
) -> None:
    """Perplexity, recall, precision and error of predictors on the embedded ReGLU model."""
    check_number("--rank", rank, 1, RANKS[-1])
    if not 0 <= dropped <= 1:
        raise UserError(f"--share must be in 0..1, got {dropped}.")
    if windows is not None:
        check_number("--windows", windows, 2)
    if only not in (None, *TABLES):
        raise UserError(f"--only must be one of {', '.join(TABLES)}, got {only!r}.")
    show = markdown_table if markdown else table
    wanted = TABLES if only is None else (only,)
    sample = FfnSample.open(sample_path())
    with progress() as report, threads(1):
        report("without predictor", 0, 1)
        bench = Bench.of(sample, windows)
        if "model" in wanted:
            _show_model(show, sample, bench)
        if "layers" in wanted:
            _show_layers(show, bench, rank, dropped)
        if "ranks" in wanted:
            _show_ranks(show, bench, report)
        if "predictors" in wanted:
            _show_predictors(show, bench, rank, report)


def _show_model(show: Table, sample: FfnSample, bench: Bench) -> None:
    """What the model is without predictor."""
    found = sample.meta["quality"]
    show(
        ["floating point", "integer FFNs", "bigram model", "unigram model"],
        [
            [
                perplexity(bench.floating),
                perplexity(bench.integer),
                found["bigram"],
                found["unigram"],
            ]
        ],
        f"perplexity per byte, {bench.windows[:, 1:].size:,} bytes of held-out text",
    )


def _show_layers(show: Table, bench: Bench, rank: int, dropped: float) -> None:
    """Quality of the predictor, layer by layer."""
    rows: list[list[object]] = []
    apart = 0.0
    for number, layer in enumerate(bench.layers):
        found = quality(
            layer.ffn, svd(layer, rank, dropped), layer.ffn.take(layer.layer.x_held_out)
        )
        rates = (found.natural, found.dropped, found.recall, found.precision, found.auc)
        apart = max(apart, difference(layer, rank))
        rows.append([number, *rates, found.error])
    names = ["sparsity", "dropped", "recall", "precision", "AUC", "error of y"]
    title = (
        f"rank {rank}, share {dropped}, 1,024 held-out inputs a layer; "
        f"the Cholesky form of B A differs by at most {apart:.1e} of its norm"
    )
    show(["layer", *names], rows, title)


def _show_ranks(show: Table, bench: Bench, report: Report) -> None:
    """Loss of perplexity by rank and share, and multiplications that are left."""
    features, neurons = bench.layers[0].ffn.features, bench.layers[0].ffn.neurons
    natural = sum(layer.natural for layer in bench.layers) / len(bench.layers)
    rows: list[list[object]] = []
    for i, rank in enumerate(RANKS):
        row: list[object] = [rank]
        for j, wanted in enumerate(SHARES):
            report("ranks and shares", i * len(SHARES) + j, len(RANKS) * len(SHARES))
            cost = bench.cost(partial(svd, rank=rank, share=wanted))
            left = share(features, neurons, rank, natural, wanted)
            row.append(f"{_percent(cost)} ({left:.2f})")
        rows.append(row)
    title = "loss of perplexity in %, its standard error, and multiplications left of a dense FFN's"
    show(["rank", *(f"share {wanted}" for wanted in SHARES)], rows, title)


def _show_predictors(show: Table, bench: Bench, rank: int, report: Report) -> None:
    """Predictors that drop the same share."""
    makers: dict[str, Callable[..., PredictsNeurons]] = {
        "SVD, one for each": partial(svd, rank=rank),
        "SVD, one for all": partial(constant_bias, rank=rank),
        "signs": sign,
        "chance": by_chance,
    }
    rows: list[list[object]] = []
    for i, (name, make) in enumerate(makers.items()):
        row: list[object] = [name]
        for j, wanted in enumerate(SHARES):
            report("predictors", i * len(SHARES) + j, len(makers) * len(SHARES))
            cost = bench.cost(partial(make, share=wanted))
            row.append(f"{_percent(cost)} ({cost.dropped:.3f})")
        rows.append(row)
    title = (
        f"rank {rank}: loss of perplexity in %, its standard error, share of all neurons dropped"
    )
    show(["predictor", *(f"share {wanted}" for wanted in SHARES)], rows, title)


def _percent(cost: Cost) -> str:
    """A loss and its standard error in per cent; never -0."""
    return f"{round(100 * cost.loss, 2) + 0.0:+.2f} +- {100 * cost.error:.2f}"


if __name__ == "__main__":
    run_app(app)
