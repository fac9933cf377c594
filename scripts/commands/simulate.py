"""``nibbleforge simulate``: a user's tensors through the RTL under Verilator."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

import typer
from numpy.typing import NDArray

from ...golden.arithmetic.quantise import Int8Policy
from ...golden.contract.design import Unit
from ...golden.contract.errors import DifferenceError, UserError
from ...golden.reglu.file import load
from ...sim.run.measure import Runner
from ...sim.tensors.ffns import ffn_of, load_ffn
from ...sim.tensors.files import Capture, load_matrix
from ...sim.tools.results import check_output, new_files, write_arrays, write_json
from ...sim.tools.workers import Workers
from ...sim.units.simulate import Simulation, Tensors, of_capture, simulate
from ..options import (
    ARRAY_HELP,
    ConfigFile,
    Output,
    Preset,
    Settings,
    UnitName,
    check_tools,
    configure,
)
from ..show import console, progress, table


@dataclass(frozen=True)
class Given:
    """Files that the command line names."""

    activations: str | None
    weights: str | None
    capture: Path | None
    layer: str | None

    def captured(self) -> tuple[Path, str] | None:
        """A capture and its layer, if operands come from one; no mixture is taken."""
        if self.capture is None:
            if self.layer is not None:
                raise UserError("--layer goes with --capture.")
            return None
        if self.activations is not None or self.weights is not None or self.layer is None:
            raise UserError("--capture goes with --layer and without --activations and --weights.")
        return self.capture, self.layer

    def load_activations(self) -> NDArray:
        """The user's own activations."""
        if self.activations is None:
            raise UserError("give --activations X.npy, or --capture F.npz with --layer NAME.")
        return load_matrix(self.activations)


def command(
    unit: UnitName,
    output: Output,
    activations: Annotated[
        str | None,
        typer.Option(
            metavar="X.npy[:NAME]", help=f"(tokens, in_features), float or int8. {ARRAY_HELP}"
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="W.npy[:NAME]",
            help="(out_features, in_features), float or int8 holding INT4, likewise; of reglu: a"
            " file with gate, up (neurons, in_features) and down, or FILE:model.layers.0.mlp.",
        ),
    ] = None,
    predictor: Annotated[
        Path | None,
        typer.Option(metavar="P.npz", help="Of reglu, from `nibbleforge predictor build`."),
    ] = None,
    capture: Annotated[
        Path | None, typer.Option(metavar="F.npz", help="Operands from `nibbleforge capture`.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Layer of the capture; of reglu: its FFN.")
    ] = None,
    int8_policy: Annotated[
        str,
        typer.Option(
            metavar="error|saturate|twos", help="int8 activations beyond the recoding's range."
        ),
    ] = "error",
    preset: Preset = "paper",
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Run the RTL of a unit on tensors, compare with golden, write results and counts."""
    owner, configuration, runtime = configure(unit, preset, config, settings)
    check_output(output)
    given = Given(activations, weights, capture, layer)
    if owner.takes == "ffn":
        if int8_policy != "error":
            raise UserError(f"{unit} takes no --int8-policy: its INT8 has no recoding.")
        tensors = _ffn(owner.name, given, predictor)
    elif predictor is not None:
        raise UserError(f"{unit} takes no --predictor.")
    else:
        tensors = _tensors(owner, given, int8_policy)
    check_tools()
    with progress() as report, Workers() as workers:
        result = simulate(owner, configuration, runtime, tensors, Runner(workers, report))
    with new_files(output) as folder:
        write_arrays(folder, result.arrays)
        write_json(folder / "counts.json", result.counts)
    _summary(result, output)
    if result.mismatches:
        raise DifferenceError(f"RTL and golden differ: {result.mismatches[0]}.")


def _tensors(unit: Unit, given: Given, policy: str) -> Tensors:
    """Operands of a linear layer, or its activations alone."""
    if policy not in get_args(Int8Policy):
        raise UserError(f"--int8-policy must be error, saturate or twos, got {policy!r}.")
    takes_weights = unit.takes == "layer"
    if (captured := given.captured()) is not None:
        path, layer = captured
        return of_capture(Capture.open(path), layer, takes_weights, policy)  # type: ignore[arg-type]
    x = given.load_activations()
    if takes_weights and given.weights is None:
        raise UserError(f"{unit.name} needs --weights W.npy.")
    w = None if given.weights is None else load_matrix(given.weights)
    return Tensors(x, w, policy)  # type: ignore[arg-type]


def _ffn(unit: str, given: Given, predictor: Path | None) -> Tensors:
    """Operands of an FFN."""
    if (captured := given.captured()) is not None:
        weights, x = ffn_of(*captured)
    else:
        x = given.load_activations()
        if given.weights is None:
            raise UserError(f"{unit} needs --weights FFN.npz with arrays gate, up and down.")
        weights = load_ffn(given.weights)
    return Tensors(x, ffn=weights, predictor=None if predictor is None else load(predictor))


def _summary(result: Simulation, output: Path) -> None:
    counts = result.counts
    rows = [
        ["cycles", counts["cycles"]],
        ["golden cycles", counts["golden_cycles"]],
        ["mismatches", counts["mismatches"]],
        *([f"speed-up over {b['unit']}", b["speedup"]] for b in counts["baselines"]),
        ["bits per activation", counts["bits_per_activation"]],
        ["SQNR in dB", counts["sqnr_db"]],
        ["simulated cycles per second", counts["sim"]["cycles_per_s"]],
    ]
    shape = ", ".join(
        f"{name} {size}" for name, size in counts["shape"].items() if size is not None
    )
    table(["figure", "value"], rows, title=f"{counts['unit']}: {shape}")
    console.print(f"results in {output}", markup=False)
