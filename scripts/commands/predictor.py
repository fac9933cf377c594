"""``nibbleforge predictor``: predictors of the active neurons of ReGLU FFNs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from numpy.typing import NDArray

from ...golden.contract.errors import UserError
from ...golden.reglu.file import save
from ...golden.reglu.quality import share as share_left
from ...sim.llm.reglu_build import (
    MEASURED,
    Built,
    Calibration,
    Passage,
    check,
    from_model,
    make,
    split,
)
from ...sim.tensors.ffns import FfnWeights, calibration_of, load_ffn, sample_path
from ...sim.tensors.files import load_matrix
from ...sim.tools.results import check_npz, check_output, new_files
from ..options import ARRAY_HELP, Context, Text
from ..show import Report, console, progress, table

app = typer.Typer(help="Build predictors of the active neurons of ReGLU FFNs.")

TOKENS, CONTEXT = 4096, 512

Rank = Annotated[int, typer.Option(metavar="R", help="Rank of the gate's approximation.")]
Share = Annotated[
    float, typer.Option(metavar="S", help="Share of the natural sparsity to drop, 0..1.")
]


@app.callback()
def group() -> None:
    """Build predictors of the active neurons of ReGLU FFNs."""


@dataclass(frozen=True)
class Given:
    """Where an FFN and its inputs come from, as the command line names it."""

    weights: str | None
    activations: str | None
    capture: Path | None
    model: str | None
    layer: str | None

    def check(self) -> None:
        """Refuse mixtures."""
        if (self.weights is None) != (self.activations is None):
            raise UserError("--weights and --activations go together.")
        sources = {"--weights": self.weights, "--capture": self.capture, "--model": self.model}
        named = [name for name, value in sources.items() if value is not None]
        if len(named) > 1:
            raise UserError(f"{' and '.join(named)} exclude each other.")
        if self.weights is not None and self.layer is not None:
            raise UserError("--layer goes with --capture, --model or the embedded sample.")
        if self.weights is None and self.layer is None:
            raise UserError(
                "give --layer N of the embedded sample, of --capture F.npz or of --model M,"
                " or --weights FFN.npz with --activations X.npy."
            )

    def load(self, passage: Passage, report: Report) -> tuple[FfnWeights, NDArray]:
        """The FFN, and inputs to calibrate on."""
        if self.weights is not None and self.activations is not None:
            return load_ffn(self.weights), load_matrix(self.activations)
        if self.model is not None:
            return from_model(self.model, self.layer or "", passage, report)
        return calibration_of(self.capture or sample_path(), self.layer or "")


@app.command()
def build(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="P.npz", help="File to write.")],
    rank: Rank = 32,
    share: Share = 0.7,
    double_relu: Annotated[bool, typer.Option("--double-relu", help="ReLU on up, too.")] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FFN.npz[:NAME]",
            help="Arrays gate and up, (neurons, in_features), and down, or those of a layer of a"
            " checkpoint, as FILE:model.layers.0.mlp; with --activations.",
        ),
    ] = None,
    activations: Annotated[
        str | None,
        typer.Option(
            metavar="X.npy[:NAME]",
            help=f"(tokens, in_features): inputs to calibrate on. {ARRAY_HELP}",
        ),
    ] = None,
    capture: Annotated[
        Path | None,
        typer.Option(metavar="F.npz", help="Weights and inputs from `nibbleforge capture`."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="M", help="Hugging Face folder of a model with ReLU-gated FFNs."),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="Layer of the capture, model or sample: a number or a full name."
        ),
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option(
            metavar="X2.npy[:NAME]",
            help="Inputs for the thresholds; default: the second half of those to calibrate on.",
        ),
    ] = None,
    tokens: Annotated[int, typer.Option(metavar="N", help="Tokens for the model.")] = TOKENS,
    text: Text = None,
    offset: Annotated[
        int | None, typer.Option(metavar="N", help="First token of the text.")
    ] = None,
    context: Context = CONTEXT,
) -> None:
    """Build a predictor, training-free; of the embedded sample's FFNs where no other is given."""
    given = Given(weights, activations, capture, model, layer)
    given.check()
    if model is None and (tokens, text, offset, context) != (TOKENS, None, None, CONTEXT):
        raise UserError("--tokens, --text, --offset and --context go with --model.")
    check(rank, share)
    check_npz(output)
    check_output(output.parent)
    with progress() as report, new_files(output.parent) as folder:
        ffn, x = given.load(Passage(tokens, text, offset, context), report)
        found = split(ffn, x, None if held_out is None else load_matrix(held_out))
        built = make(found, rank, share, double_relu)
        save(built.predictor, folder / output.name)
    _show(built, found)
    console.print(f"predictor in {output}", markup=False)


def _show(built: Built, found: Calibration) -> None:
    """What was reached, and how good the predictor is."""
    info, quality = built.predictor.info, built.quality
    natural, reached = info.natural_sparsity or 0.0, info.reached or 0.0
    dropped = min(1.0, reached / natural) if natural else 0.0
    left = share_left(info.features, info.neurons, info.rank, natural, dropped)
    console.print(built.thresholds.verdict, markup=False)
    rows: list[list[object]] = [
        ["natural sparsity", natural],
        ["neurons dropped", quality.dropped],
        ["recall", quality.recall],
        ["precision", quality.precision],
        ["AUC", quality.auc],
        ["output error", quality.error],
        ["multiplications left of a dense FFN's", left],
    ]
    title = (
        f"{info.neurons} neurons over {info.features} features, rank {info.rank}:"
        f" factors from {len(found.x1):,} tokens, thresholds from {len(found.x2):,},"
        f" figures from {min(len(found.x2), MEASURED):,} of these"
    )
    table(["figure", "value"], rows, title=title)
