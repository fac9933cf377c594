"""Tables of ``nibbleforge demo --full``."""

import textwrap
from collections.abc import Sequence

from ..sim.demo import LayerResult
from .show import console, table

WIDTH = 100
"""Columns of paragraphs."""


def show(results: Sequence[LayerResult], ffns: Sequence[LayerResult]) -> None:
    """Print what every layer gave on every unit, and every FFN."""
    shorter = _names([result.layer for result in results])
    _numbers(results, shorter)
    _cycles(results, shorter)
    _anda(results, shorter)
    _nm(results, shorter)
    _reglu(ffns)
    _events([*results, *ffns], shorter)


def _names(layers: Sequence[str]) -> dict[str, str]:
    """Names without the components that all begin with."""
    parts = [layer.split(".")[:-1] for layer in layers]
    common = 0
    for components in zip(*parts, strict=False):
        if len(set(components)) > 1:
            break
        common += 1
    return {layer: ".".join(layer.split(".")[common:]) for layer in layers}


def _numbers(results: Sequence[LayerResult], names: dict[str, str]) -> None:
    rows = []
    for result in results:
        counts = {name: simulation.counts for name, simulation in result.simulations.items()}
        codec = counts["bitmap"]
        rows.append(
            [
                names[result.layer],
                "{tokens} x {in_features} x {out_features}".format(**counts["dense"]["shape"]),
                codec["msb_zero_share"],
                codec["bits_per_activation"],
                codec["bits_per_activation_padded"],
                counts["dense"]["sqnr_db"],
                counts["sparqle q4_1"]["sqnr_db"],
            ]
        )
    columns = ["layer", "tokens x in x out", "s", "bits/act.", "padded", "SQNR dB", "q4_1"]
    table(columns, rows, title="activations in nibbles, G = 64")


def _cycles(results: Sequence[LayerResult], names: dict[str, str]) -> None:
    rows = []
    for result in results:
        counts = {name: simulation.counts for name, simulation in result.simulations.items()}
        sparqle = counts["sparqle"]
        rows.append(
            [
                names[result.layer],
                counts["dense"]["cycles"],
                counts["dense2k"]["cycles"],
                counts["bitmap"]["cycles"],
                sparqle["cycles"],
                sparqle["baselines"][0]["speedup"],
                sparqle["ideal_cycles"] / sparqle["cycles"],
                counts["sparqle q4_1"]["baselines"][0]["speedup"],
                "NO" if result.failures else "yes",
            ]
        )
    columns = ["layer", "dense", "dense2k", "decoder", "sparqle", "x dense", "of ideal"]
    title = "cycles of 16 x 16 arrays and of a decoder, one nibble a cycle"
    table([*columns, "q4_1", "= golden"], rows, title=title)


def _anda(results: Sequence[LayerResult], names: dict[str, str]) -> None:
    rows = []
    for result in results:
        array = result.simulations["anda"].counts
        compressor = result.simulations["compressor"].counts
        rival = array["baselines"][0]
        rows.append(
            [
                names[result.layer],
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


def _nm(results: Sequence[LayerResult], names: dict[str, str]) -> None:
    rows = []
    for result in results:
        array = result.simulations["nm"].counts
        speedups = {rival["unit"]: rival["speedup"] for rival in array["baselines"]}
        rows.append(
            [
                names[result.layer],
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


def _reglu(results: Sequence[LayerResult]) -> None:
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


def _events(results: Sequence[LayerResult], names: dict[str, str]) -> None:
    """Print a paragraph per layer and unit."""
    console.print("events counted by the RTL", style="bold")
    for result in results:
        for name, simulation in sorted(result.simulations.items()):
            events = simulation.counts["events"].items()
            text = " ".join(f"{event}={total:,}" for event, total in events)
            line = f"{names.get(result.layer, result.layer)}, {name}: {text}"
            console.print(textwrap.fill(line, WIDTH, subsequent_indent="  "), markup=False)
