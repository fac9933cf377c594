"""What commands show: tables and progress, plain lines where there is no terminal."""

import contextlib
import platform
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table as Grid

from ..sim.tools.toolchain import versions

_WIDTH = None if sys.stdout and sys.stdout.isatty() else 200  # columns where no terminal sets them

PROSE = 100
"""Columns of text in documents."""
LINE = 120
"""Columns of the longest line."""

console = Console(highlight=False, soft_wrap=True, width=_WIDTH)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

Report = Callable[[str, int, int], None]
Table = Callable[[Sequence[str], Sequence[Sequence[object]], str], None]


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    title: str | None = None,
    width: int | None = None,
) -> None:
    """Print a table, at most so wide; numbers are aligned to the right."""
    if title:
        console.print(title, style="bold", markup=False)
    grid = Grid(header_style="bold")
    for i, column in enumerate(columns):
        numeric = bool(rows) and all(_is_number(row[i]) for row in rows)
        grid.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(_text(cell) for cell in row))
    console.print(grid, soft_wrap=False, width=width and min(width, console.width))


def markdown_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None
) -> None:
    """Print a table as documents show it."""
    if title:
        console.print(textwrap.fill(f"{title}:", PROSE), markup=False)
        console.print()
    lines = [columns, ["---"] * len(columns), *([_text(cell) for cell in row] for row in rows)]
    for cells in lines:
        console.print(f"| {' | '.join(cells)} |", markup=False)
    console.print()


def page_row(first: str, *cells: str) -> list[str]:
    """A row of a page's table; a first cell that makes it too long goes on in rows of its own."""
    rest = f" | {' | '.join(cells)} |"
    parts = textwrap.wrap(first, LINE - len(f"| {rest}"), break_on_hyphens=False)
    more = [f"| … {part} |{' |' * len(cells)}" for part in parts[1:]]
    return [f"| {parts[0]}{rest}", *more]


def page_end() -> list[str]:
    """Machine and tools, the last paragraph of a page of measurements."""
    tools = ", ".join(f"{name} {version}" for name, version in versions().items())
    machine = f"Machine: {platform.machine()}, {platform.system()}. Tools: {tools}."
    return textwrap.wrap(machine, PROSE)


def _is_number(cell: object) -> bool:
    return cell is None or isinstance(cell, int | float)


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.3f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


@contextlib.contextmanager
def progress() -> Iterator[Report]:
    """A function ``report(stage, done, total)``: a bar on a terminal, else a line per stage."""
    if not errors.is_terminal:
        yield _lines()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as bars:
        task = bars.add_task("", total=None)

        def report(stage: str, done: int, total: int) -> None:
            bars.update(task, description=stage, completed=done, total=total or None)

        yield report


def _lines() -> Report:
    """Print a stage once, when it begins, and its tenths where it takes many steps."""
    shown: set[tuple[str, int]] = set()

    def report(stage: str, done: int, total: int) -> None:
        tenth = 10 * done // total if total else 0
        if (stage, tenth) not in shown:
            if not any(name == stage for name, _ in shown):
                errors.print(stage)
            elif tenth < 10:
                errors.print(f"{stage}: {10 * tenth} %")
            shown.add((stage, tenth))

    return report
