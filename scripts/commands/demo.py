"""``nibbleforge demo``: the main job on the embedded sample."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ...golden.contract.errors import DifferenceError
from ...sim import demo, demo_brief, demo_ffn
from ...sim.demo import LayerResult
from ...sim.tensors.files import Capture, sample_path
from ..demo_full import WIDTH, show
from ..options import check_number, check_tools
from ..show import console, errors, progress, table

NEXT = """\
Where to look next:
  README.md                         generate Verilog, run the regression, run your own tensors
  docs/sparqle.md  docs/nm.md  docs/anda.md  docs/reglu.md     what each system does and gains
  docs/verification.md              what was verified, and how
  nibbleforge demo --full           four layers on arrays of 16 x 16, and what the RTL counts
"""


def command(
    full: Annotated[
        bool, typer.Option("--full", help="All layers of the sample on all units, 16 x 16.")
    ] = False,
    capture: Annotated[
        Path | None,
        typer.Option(metavar="F.npz", help="Another capture than the embedded sample, in full."),
    ] = None,
    jobs: Annotated[int, typer.Option(metavar="J", help="Simulations at once.")] = 2,
) -> None:
    """Run real LLM layers through generated RTL and compare with golden in every cycle."""
    check_number("--jobs", jobs, 1)
    check_tools()
    if full or capture:
        _full(capture, jobs)
    else:
        _brief(jobs)


def _brief(jobs: int) -> None:
    """One layer through each system."""
    with progress() as report:
        layer, ffn = demo_brief.run(jobs, report)
    counts = layer.simulations["sparqle"].counts
    name, model = layer.layer.rpartition(".")[2], Capture.open(sample_path()).meta["model"]
    console.print(
        "{0}: linear layer of {1}, {tokens} tokens, {in_features} inputs, {out_features} outputs,"
        " on arrays of {2} x {2}".format(name, model, demo_brief.EXTENT, **counts["shape"]),
        markup=False,
    )
    counts = ffn.simulations["reglu"].counts
    console.print(
        "FFN: of a tiny ReGLU model, {tokens} tokens, {in_features} features, {neurons} neurons,"
        " on {lanes} multipliers".format(**counts["shape"], lanes=counts["config"]["lanes"]),
        markup=False,
    )
    columns = ["layer", "system", "how", "cycles", "times faster", "bits an\nactivation"]
    table(
        [*columns, "equal to\ngolden"],
        [
            [
                row.layer,
                row.system,
                row.idea,
                row.cycles,
                f"{row.speedup:.2f} x {row.rival}" if row.rival else "",
                row.bits_per_activation,
                row.verdict,
            ]
            for row in demo_brief.rows(layer, ffn)
        ],
        width=WIDTH,
    )
    corner = demo_brief.SCOPE.corner
    _judge(
        [layer, ffn],
        "all outputs of these tokens in the native harness, "
        f"{corner} tokens x {corner} outputs (FFN: {demo_ffn.CORNER} tokens) in cocotb. "
        "Rivals that are counted did not run: their cycles are golden's.",
    )
    console.print(NEXT, markup=False, end="")


def _full(capture: Path | None, jobs: int) -> None:
    """All layers through all units."""
    meta = Capture.open(capture or sample_path()).meta
    console.print(
        f"Activations and weights of {meta['model']}, {meta['tokens']['count']} tokens.",
        markup=False,
    )
    with progress() as report:
        results = demo.run(capture, jobs, report)
        ffns = demo_ffn.run(jobs, report)
    show(results, ffns)
    _judge(
        [*results, *ffns],
        "whole layers in the native harness, the first tokens and outputs in cocotb.",
    )


def _judge(results: Sequence[LayerResult], checked: str) -> None:
    """Name what differs from golden, or say what was found equal.

    Raises
    ------
    DifferenceError
        Something differs.
    """
    for result in results:
        for failure in result.failures:
            errors.print(f"{result.layer}: {failure}", markup=False)
    if different := sum(bool(result.failures) for result in results):
        raise DifferenceError(f"RTL and golden differ in {different} of {len(results)} layers.")
    sentence = f"Every beat, event and cycle of the RTL equals golden: {checked}"
    console.print(textwrap.fill(sentence, WIDTH))
