"""``python -m nibbleforge.scripts.studies.reglu_train``: train the sample's ReGLU model."""

from pathlib import Path
from typing import Annotated

import typer

from ...golden.contract.errors import UserError
from ...sim.llm.model import require
from ...sim.llm.reglu_train import TrainConfig, english, evaluate, split, train, write_sample
from ...sim.tools.results import check_npz
from ..main import run_app
from ..show import console, progress, table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
DEFAULT = TrainConfig()


@app.command()
def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The .npz file to write.")],
    steps: Annotated[int, typer.Option(metavar="N", help="Training steps.")] = DEFAULT.steps,
    penalty: Annotated[
        float, typer.Option(metavar="P", help="Loss per unit of mean relu(gate).")
    ] = DEFAULT.penalty,
    seed: Annotated[int, typer.Option(metavar="N", help="Of weights and windows.")] = DEFAULT.seed,
) -> None:
    """Train a ReGLU language model and write its FFN layers with their inputs."""
    require("torch")
    config = DEFAULT.replace(steps=steps, penalty=penalty, seed=seed)
    check_npz(output)
    if not output.absolute().parent.is_dir():
        raise UserError(f"{output.parent} is not a folder, so {output.name} cannot be written.")
    corpus = english()
    data, held_out = split(corpus)
    with progress() as report:
        network = train(config, data, report)
    quality = evaluate(config, network, data, held_out)
    write_sample(output, config, network, corpus, quality)
    table(
        ["held-out perplexity per byte", "model", "bigram", "unigram"],
        [["", quality.model, quality.bigram, quality.unigram]],
    )
    shares = [[layer, share] for layer, share in enumerate(quality.sparsity)]
    table(["layer", "natural sparsity"], shares)
    console.print(f"sample in {output}", markup=False)


if __name__ == "__main__":
    run_app(app)
