"""``python -m nibbleforge.scripts.studies.area``: areas that the documents compare."""

from collections.abc import Callable, Sequence
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
)
from ...sim.studies.area import Array, Found, measure
from ...sim.tensors.files import Capture, sample_path
from ..main import run_app
from ..options import Markdown
from ..show import Table, markdown_table, progress, table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

Tiny = Annotated[
    bool, typer.Option("--tiny", help="Small arrays instead, one run: what the tables look like.")
]
AREA = "area, 10^6 (min..max)"
PATH = "path, ns"


@app.command()
def sparqle(tiny: Tiny = False, markdown: Markdown = False) -> None:
    """The hybrid array and dense arrays of one lane."""
    show = _shown(markdown)
    found = _measure(area_sparqle.ARRAYS, tiny)
    rows = [
        [each.array.name, each.spread, each.memories / study.SCALE, each.path] for each in found
    ]
    show(["array", AREA, "of it memories", PATH], rows, "area")
    _, dense2k, hybrid, *_ = found
    elements = [area_sparqle.element_row(each, dense2k) for each in (dense2k, hybrid)]
    columns = ["array", "processing element", "over dense2k", "decoders, of all but memories"]
    show(columns, elements, "one processing element, in square micrometres")


@app.command()
def elements(tiny: Tiny = False, markdown: Markdown = False) -> None:
    """Dense arrays of one and of many products an element and cycle, a lane."""
    found = _measure(area_elements.TINY if tiny else area_elements.ARRAYS, False)
    columns = ["lanes", "tree", AREA, "a lane", "over 1 lane", "full adders", PATH]
    rows = [area_elements.row(each, found[0]) for each in found]
    _shown(markdown)(columns, rows, f"dense2k, {found[0].library}")


@app.command()
def nm(tiny: Tiny = False, markdown: Markdown = False) -> None:
    """The N:M array of one lane with other blocks, and other registers between elements."""
    rows = [[each.array.name, each.spread, each.path] for each in _measure(area_nm.ARRAYS, tiny)]
    _shown(markdown)(["array", AREA, PATH], rows, "area")


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
    """Critical paths of small bit-serial and FP16 arrays, and of the compressor."""
    single: list[list[object]] = []
    for found in _measure(area_anda.SINGLE, tiny):
        known = found.report.period
        spread = f"{known.least:.2f}..{known.most:.2f}" if known else None
        single.append([found.array.name, found.spread, found.path, spread])
    columns = ["array", AREA, PATH, "path, min..max"]
    _shown(markdown)(columns, single, "single arrays")


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
