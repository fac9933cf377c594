"""``python -m nibbleforge.scripts.studies.area``: areas that the documents compare."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from ...sim.studies import area as study
from ...sim.studies import (
    area_anda,
    area_elements,
    area_nm,
    area_nm_lanes,
    area_reglu,
    area_sparqle,
    area_widths,
)
from ...sim.studies.anda_models import LOSSES, geometric_means, speeds
from ...sim.studies.area import Array, Found, measure
from ...sim.tensors.files import Capture, sample_path
from ..main import run_app
from ..options import Markdown, check_number
from ..show import Table, markdown_table, progress, table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

Tiny = Annotated[
    bool, typer.Option("--tiny", help="Small arrays instead, one run: what the tables look like.")
]
AREA = "area, 10^6 (min..max)"
PATH = "path, ns"


@app.command()
def sparqle(
    capture: Annotated[Path, typer.Argument(metavar="F.npz", help="Written by `capture`.")],
    tokens: Annotated[int, typer.Option(metavar="N", help="Tokens of each layer.")] = 512,
    tiny: Tiny = False,
    markdown: Markdown = False,
) -> None:
    """The hybrid array beside both dense arrays, per area on the layers of a capture."""
    check_number("--tokens", tokens, 1)
    layers = Capture.open(capture)
    show = _shown(markdown)
    extents = area_sparqle.EXTENTS[:1] if tiny else area_sparqle.EXTENTS
    measured = [_measure(arrays, tiny) for arrays in (*extents, area_sparqle.GROUP_SCALES)]
    rows: list[list[object]] = [
        [each.array.name, each.spread, each.memories / study.SCALE, each.path]
        for found in measured
        for each in found
    ]
    show(["array", AREA, "of it memories", PATH], rows, "area")
    _, dense2k, hybrid, *_ = measured[0]
    elements = [area_sparqle.element_row(each, dense2k) for each in (dense2k, hybrid)]
    columns = ["array", "processing element", "over dense2k", "decoders, of all but memories"]
    show(columns, elements, "one processing element, in square micrometres")
    per_area = [
        speed.row()
        for found in measured[: len(extents)]
        for speed in area_sparqle.throughputs(found, layers, tokens)
    ]
    rivals = ("dense2k", "dense")
    columns = ["array", "cycles", *(f"per area, x {rival}" for rival in rivals)]
    columns += ["no memories", *(f"break-even, {rival}" for rival in rivals)]
    show(
        columns,
        per_area,
        "speed in cycles over dense2k, throughput per area; break-even: area of a bank bit",
    )


@app.command()
def elements(tiny: Tiny = False, markdown: Markdown = False) -> None:
    """Dense arrays of one and of many products an element and cycle, a lane."""
    found = _measure(area_elements.TINY if tiny else area_elements.ARRAYS, False)
    columns = ["lanes", "tree", AREA, "a lane", "over 1 lane", "full adders", PATH]
    rows = [area_elements.row(each, found[0]) for each in found]
    _shown(markdown)(columns, rows, f"dense2k, {found[0].library}")


@app.command()
def widths(tiny: Tiny = False, markdown: Markdown = False) -> None:
    """Dense arrays of many lanes on operands of fewer bits."""
    found = _measure(area_widths.TINY if tiny else area_widths.ARRAYS, False)
    columns = ["preset", "weights", "activations", AREA, "a lane", "over lanes16", PATH]
    rows = [area_widths.row(each, found[0]) for each in found]
    _shown(markdown)(columns, rows, f"dense2k, {found[0].library}")


@app.command()
def nm(tiny: Tiny = False, markdown: Markdown = False) -> None:
    """The N:M array beside the dense array of the same multipliers, per area."""
    rival, *found = _measure([area_nm.RIVAL, *area_nm.ARRAYS], tiny)
    path = "-" if rival.path is None else f"{rival.path:.2f}"
    rows: list[list[object]] = [["dense2k", rival.spread, "1", path, "1 (dense)", "", ""]]
    rows += [area_nm.row(each, rival) for each in found]
    kept = [f"1 of {number} kept" for number in area_nm.KEPT]
    title = "throughput per area over dense2k at equal clock, in brackets with both paths"
    _shown(markdown)(["array", AREA, "over dense2k", PATH, *kept], rows, title)


@app.command()
def nm_lanes(tiny: Tiny = False, markdown: Markdown = False) -> None:
    """N:M arrays with lanes beside dense arrays of equal work, and of equal bandwidth."""
    extent = area_nm_lanes.TINY if tiny else area_nm_lanes.WHOLE
    found = _measure(extent.arrays, False)
    sample = Capture.open(sample_path())
    *_, layer = sample.layers  # with most input features: the least of them are padding of lanes
    tokens, in_features = sample.activations(layer).shape
    outputs, _ = sample.weights(layer).shape
    measured = area_nm_lanes.runs(found, (tokens, in_features, outputs))
    show = _shown(markdown)
    size = f"{extent.size} x {extent.size}"
    sizes = [area_nm_lanes.size_row(each) for each in found]
    show(["array", "area, 10^6", "a lane", PATH], sizes, f"arrays of {size}, {found[0].library}")
    columns = ["array", "kept", "x, bits a cycle", "w, bits a cycle", "cycles"]
    columns += ["products a cycle", "per 10^6 of area"]
    title = f"{layer} of the sample: {tokens} tokens, {in_features} x {outputs}"
    show(columns, [run.row() for run in measured], title)
    columns = ["array", "kept", "equal work", "per area", "equal bandwidth", "speed", "per area"]
    title = "over dense arrays of equal work and of equal bandwidth, in brackets with both paths"
    show(columns, list(area_nm_lanes.comparisons(measured)), title)


@app.command()
def anda(tiny: Tiny = False, markdown: Markdown = False) -> None:
    """The bit-serial array beside FP16, critical paths of small arrays, the compressor."""
    show = _shown(markdown)
    rival, own = _measure(area_anda.ARRAYS, tiny, timing=False)
    ratio = own.area / rival.area
    _, means = geometric_means(list(speeds()))
    gains = [f"{mean / ratio:.2f}" for mean in means]
    rows: list[list[object]] = [
        [rival.array.name, rival.spread, "1", "1", "1"],
        [own.array.name, own.spread, f"{ratio:.3f}", *gains],
    ]
    names = [f"per area, loss {loss}" for loss in LOSSES]
    show(["array", AREA, "over fp16", *names], rows, "whole arrays, at equal clock")
    single: list[list[object]] = []
    for found in _measure(area_anda.SINGLE, tiny):
        known = found.report.period
        spread = f"{known.least:.2f}..{known.most:.2f}" if known else None
        single.append([found.array.name, found.spread, found.path, spread])
    show(["array", AREA, PATH, "path, min..max"], single, "single arrays")


@app.command()
def processor(markdown: Markdown = False) -> None:
    """One processor of the bit-serial array beside four FP16 multiply-accumulates."""
    arrays = [area_anda.RIVAL, *(processor.array for processor in area_anda.PROCESSORS)]
    rival, *found = _measure(arrays, False, timing=False)
    area = area_anda.rival_area(rival)
    rows = [
        area_anda.processor_row(processor, each, area)
        for processor, each in zip(area_anda.PROCESSORS, found, strict=True)
    ]
    columns = ["processor", "weights held by", "processor alone", "weights", "post-processing"]
    title = f"four FP16 multiply-accumulates take {round(area):,}"
    _shown(markdown)([*columns, "together", "over fp16"], rows, title)


@app.command()
def reglu(tiny: Tiny = False, markdown: Markdown = False) -> None:
    """Every preset of the neuron-skipping FFN."""
    rows = [area_reglu.row(found) for found in _measure(area_reglu.ARRAYS, tiny)]
    columns = ["preset", "lanes", "d, D, r", AREA, "of it memories", PATH]
    _shown(markdown)(columns, rows, "area")


def _shown(markdown: bool) -> Table:
    shown: Callable[..., None] = markdown_table if markdown else table
    return shown


def _measure(arrays: Sequence[Array], tiny: bool, *, timing: bool = True) -> list[Found]:
    """Measure arrays, or the preset tiny in place of each."""
    if tiny:
        arrays = [study.tiny(array) for array in arrays]
    with progress() as report:
        return measure(arrays, report, timing=timing)


if __name__ == "__main__":
    run_app(app)
