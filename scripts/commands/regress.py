"""``nibbleforge regress``: the cocotb regression."""

from typing import Annotated

import typer

from ...golden.contract.config import Config
from ...golden.contract.errors import DifferenceError, UserError
from ...golden.units import UNITS, unit
from ...sim.tools.results import check_output, new_files, write_json
from ...sim.verify.regress import DEFAULT_PRESETS, Report, Variation, junit, regress, variations
from ..options import Output, Settings, check_number, check_tools, configure, with_cores
from ..show import console, errors, progress, table

MOST_SEEDS = 1_000_000  # each takes a second


def command(
    output: Output,
    units: Annotated[
        list[str] | None, typer.Argument(metavar="[UNIT ...]", help="Units; default: all.")
    ] = None,
    inner: Annotated[
        list[str] | None,
        typer.Option(
            "--unit", metavar="UNIT", help="Unit of a `core`; may be given several times."
        ),
    ] = None,
    preset: Annotated[
        list[str] | None,
        typer.Option(metavar="P", help="Preset, or `all`; may be given several times."),
    ] = None,
    settings: Settings = None,
    seeds: Annotated[int, typer.Option(metavar="N", help="Random seeds per design.")] = 5,
    first_seed: Annotated[int, typer.Option(metavar="S", help="First seed.")] = 0,
    jobs: Annotated[int, typer.Option(metavar="J", help="Simulations at once.")] = 2,
    waves: Annotated[
        bool, typer.Option("--waves", help="Write a waveform for every seed.")
    ] = False,
) -> None:
    """Run the cocotb regression; writes JUnit XML."""
    check_number("--seeds", seeds, 1, MOST_SEEDS)
    check_number("--first-seed", first_seed, 0)
    check_number("--jobs", jobs, 1)
    names = with_cores(units or list(UNITS), inner or [])
    presets = _presets(names, preset)
    chosen = varied(names, presets, settings or [])
    check_output(output)
    check_tools()
    with new_files(output) as folder, progress() as report:
        reports = regress(
            chosen,
            range(first_seed, first_seed + seeds),
            jobs,
            waves=folder if waves else None,
            progress=report,
        )
        junit(reports).write(str(folder / "junit.xml"), pretty=True)
        write_json(
            folder / "summary.json", {found.variation.name: _summary(found) for found in reports}
        )
    _show(reports)
    console.print(f"results in {output}", markup=False)
    if failed := sum(len(found.failures) for found in reports):
        raise DifferenceError(f"RTL and golden differ in {failed} tests.")


def _presets(names: list[str], wanted: list[str] | None) -> list[str]:
    if wanted == ["all"]:
        return sorted({preset for name in names for preset in unit(name).presets})
    return wanted or list(DEFAULT_PRESETS)


def varied(names: list[str], presets: list[str], assignments: list[str]) -> list[Variation]:
    """Every design of the units in the presets that each of them has, with parameters changed."""

    def configuration(name: str, preset: str) -> Config:
        return _configuration(name, preset, assignments)

    return variations(names, presets, configuration, assignments)


def _configuration(name: str, preset: str, assignments: list[str]) -> Config:
    """A preset with parameters changed; what is chosen at run time is drawn with the operands."""
    _, config, runtime = configure(name, preset, None, assignments)
    if drawn := sorted(runtime.model_fields_set):
        raise UserError(f"regress draws {', '.join(drawn)} with the operands: it cannot be set.")
    return config


def _summary(report: Report) -> dict[str, object]:
    return {
        "config": report.variation.config.model_dump(mode="json"),
        "config_hash": report.variation.config.config_hash,
        "seeds": report.seeds,
        "tests": len(report.verdicts),
        "failures": [f"{verdict.test}: {verdict.message}" for verdict in report.failures],
        "scalars": report.scalars,
        "cycles": report.cycles,
        "bins_hit": sorted(name for name, hit in report.bins.items() if hit),
        "bins_missed": sorted(name for name, hit in report.bins.items() if not hit),
    }


def _show(reports: list[Report]) -> None:
    rows = [
        [
            report.variation.name,
            len(report.seeds),
            len(report.verdicts),
            len(report.failures),
            report.scalars,
            report.cycles,
            round(report.cycles / max(report.seconds, 1e-9)),
            f"{sum(report.bins.values())}/{len(report.bins)}",
        ]
        for report in reports
    ]
    table(
        ["design", "seeds", "tests", "failed", "scalars compared", "cycles", "cycles/s", "bins"],
        rows,
    )
    for report in reports:
        for verdict in report.failures:
            seed = int(verdict.test.rpartition("=")[2]) if "=" in verdict.test else report.seeds[0]
            errors.print(f"{report.variation.name} {verdict.test}: {verdict.message}", markup=False)
            errors.print(f"  repeat: {report.variation.command(seed)}", markup=False)
