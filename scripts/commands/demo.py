"""``nibbleforge demo``: the main job on the embedded sample."""

from pathlib import Path
from typing import Annotated

import typer

from ...sim import demo_ffn
from ...sim.demo import LayerResult, run
from ...sim.tensors.files import Capture, sample_path
from ..options import check_number, check_tools
from ..show import console, errors, progress, table


def command(
    capture: Annotated[
        Path | None,
        typer.Option(metavar="F.npz", help="Another capture instead of the embedded sample."),
    ] = None,
    jobs: Annotated[int, typer.Option(metavar="J", help="Simulations at once.")] = 2,
) -> None:
    """Run real LLM layers through generated RTL and compare with golden in every cycle."""
    check_number("--jobs", jobs, 1)
    check_tools()
    meta = Capture.open(capture or sample_path()).meta
    console.print(
        f"Activations and weights of {meta['model']}, {meta['tokens']['count']} tokens.",
        markup=False,
    )
    with progress() as report:
        results = run(capture, jobs, report)
        ffns = demo_ffn.run(jobs, report)
    _figures(results)
    _anda(results)
    _nm(results)
    _reglu(ffns)
    results += ffns
    _events(results)
    for result in results:
        for failure in result.failures:
            errors.print(f"{result.layer}: {failure}", markup=False)
    if any(result.failures for result in results):
        raise typer.Exit(1)
    console.print(
        "Every beat, event and cycle of the RTL equals golden: whole layers in the native harness, "
        "the first tokens and outputs in cocotb."
    )


def _figures(results: list[LayerResult]) -> None:
    rows = []
    for result in results:
        counts = {name: simulation.counts for name, simulation in result.simulations.items()}
        codec, sparqle = counts["bitmap"], counts["sparqle"]
        shape = counts["dense"]["shape"]
        rows.append(
            [
                result.layer,
                "{tokens} x {in_features} x {out_features}".format(**shape),
                codec["msb_zero_share"],
                codec["bits_per_activation"],
                codec["bits_per_activation_padded"],
                counts["dense"]["cycles"],
                counts["dense2k"]["cycles"],
                codec["cycles"],
                sparqle["cycles"],
                sparqle["baselines"][0]["speedup"],
                sparqle["ideal_cycles"] / sparqle["cycles"],
                counts["sparqle q4_1"]["baselines"][0]["speedup"],
                counts["dense"]["sqnr_db"],
                counts["sparqle q4_1"]["sqnr_db"],
                "NO" if result.failures else "yes",
            ]
        )
    columns = [
        "layer",
        "tokens x in x out",
        "s",
        "bits/act.",
        "padded",
        "dense",
        "dense2k",
        "decoder",
        "sparqle",
        "x dense",
        "of ideal",
        "q4_1 x dense",
        "SQNR dB",
        "q4_1",
        "= golden",
    ]
    table(
        columns,
        rows,
        title="cycles of 16 x 16 arrays and of a decoder, G = 64, one nibble a cycle",
    )


def _anda(results: list[LayerResult]) -> None:
    rows = []
    for result in results:
        array = result.simulations["anda"].counts
        compressor = result.simulations["compressor"].counts
        rival = array["baselines"][0]
        rows.append(
            [
                result.layer,
                array["runtime"]["mantissa"],
                array["bits_per_activation"],
                compressor["cycles"],
                rival["cycles"],
                array["cycles"],
                rival["speedup"],
                array["utilisation"],
                array["sqnr_db"],
            ]
        )
    columns = ["layer", "M", "bits/act.", "compressor", "fp16", "anda", "x fp16", "of ideal"]
    table([*columns, "SQNR dB"], rows, title="cycles with activations in Anda, 16 x 16, G = 64")


def _nm(results: list[LayerResult]) -> None:
    rows = []
    for result in results:
        array = result.simulations["nm"].counts
        speedups = {rival["unit"]: rival["speedup"] for rival in array["baselines"]}
        rows.append(
            [
                result.layer,
                "{n}:{m}".format(n=array["runtime"]["n"], m=array["config"]["m"]),
                array["bits_per_weight"],
                array["cycles"],
                speedups["dense2k"],
                array["utilisation"],
                array["sqnr_db"],
            ]
        )
    columns = ["layer", "N:M", "bits/weight", "nm", "x dense2k", "utilisation", "SQNR dB"]
    table(columns, rows, title="cycles with N:M-sparse INT4 weights, pruned by size, 16 x 16")


def _reglu(results: list[LayerResult]) -> None:
    rows = []
    for result in results:
        counts = result.simulations["reglu"].counts
        speedups = {rival["unit"]: rival["speedup"] for rival in counts["baselines"]}
        rows.append(
            [
                result.layer,
                "{tokens} x {in_features} x {neurons}, r = {rank}".format(**counts["shape"]),
                counts["natural_sparsity"],
                counts["dropped"],
                counts["recall"],
                counts["output_error"],
                counts["cycles"],
                speedups["early exit"],
                speedups["dense FFN"],
            ]
        )
    columns = [
        "FFN",
        "tokens x d x D",
        "sparsity",
        "dropped",
        "recall",
        "error of y",
        "reglu",
        "x early exit",
        "x dense",
    ]
    table(columns, rows, title="ReGLU FFNs of a tiny model, skipping neurons; latency 100")


def _events(results: list[LayerResult]) -> None:
    rows = [
        [
            result.layer,
            name,
            " ".join(f"{event}={total:,}" for event, total in simulation.counts["events"].items()),
        ]
        for result in results
        for name, simulation in sorted(result.simulations.items())
    ]
    table(["layer", "unit", "events counted by the RTL"], rows)
