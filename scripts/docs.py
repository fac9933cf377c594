"""``make docs``: renew every measured block of the documents by the command that it names.

A page carries its numbers in blocks::

    <!-- checked by: nibbleforge units -->
    (what the command printed)
    <!-- end -->

``checked`` blocks are the same on every machine and take seconds: a test compares them. ``renewed``
blocks hold times, speeds, or what takes long: they are renewed here and not compared; one that
cannot be made on this machine stays as it is. A fenced block under ``<!-- run -->`` is run, one
under ``<!-- file: NAME -->`` is written to that file, as a reader would do who follows the page.
All blocks of a page take their turn in one folder, which is empty at first.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..golden.contract.errors import UserError
from ..sim.tools.results import new_files
from .main import run_app
from .show import console, errors

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_PIECE = re.compile(
    r"<!-- (?P<kind>checked|renewed) by: (?P<command>[^\n]+) -->\n(?P<body>.*?)<!-- end -->"
    r"|<!-- run -->\n```(?P<language>python|sh)\n(?P<script>.*?)```"
    r"|<!-- file: (?P<name>\S+) -->\n```\w+\n(?P<content>.*?)```",
    re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A piece of a page that a command makes.

    Attributes
    ----------
    kind
        ``checked``, ``renewed``, ``run`` for a script whose output is not shown, or ``file``.
    command
        What is run, or the name of the file.
    body
        What the page shows now.
    start, end
        Where the body stands in the page.
    """

    kind: Literal["checked", "renewed", "run", "file"]
    command: str
    body: str
    start: int
    end: int


def blocks(page: str) -> Iterator[Block]:
    """Every block of a page, in order."""
    for found in _PIECE.finditer(page):
        if found["name"] is not None:
            yield Block("file", found["name"], found["content"], *found.span("content"))
        elif found["kind"] is None:
            interpreter = "python - <<'END'" if found["language"] == "python" else "sh -e <<'END'"
            command = f"{interpreter}\n{found['script']}END\n"
            yield Block("run", command, "", found.start(), found.start())
        else:
            kind: Literal["checked", "renewed"] = found["kind"]  # type: ignore[assignment]
            yield Block(kind, found["command"], found["body"], *found.span("body"))


def output_of(command: str, folder: Path, *, script: bool = False) -> str:
    """What a command prints, as a page shows it: Markdown as it is, anything else as a console.

    Raises
    ------
    UserError
        The command failed; or it printed nothing, and is no ``script``.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path, "COLUMNS": "100", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"{command!r} ended with {done.returncode}: {done.stderr[-500:].strip()}.")
    text = done.stdout.rstrip("\n")
    if not (text or script):
        raise UserError(f"{command!r} printed nothing.")
    if text.startswith(("|", "#")) or "--markdown" in command:
        return f"\n{text}\n\n"
    return f"```console\n$ {command}\n{text}\n```\n"


def renew(
    page: str,
    kinds: frozenset[str] = frozenset({"checked", "renewed"}),
    note: Callable[[str], None] = lambda sentence: None,
    having: str = "",
) -> str:
    """A page with the blocks of these kinds made anew; scripts of the page run as well.

    Parameters
    ----------
    page
        Its text.
    kinds
        Of ``checked`` and ``renewed``.
    note
        Called with a sentence for every ``renewed`` block that could not be made.
    having
        What the commands of these blocks have in them.

    Raises
    ------
    UserError
        A script or the command of a ``checked`` block failed.
    """
    pieces, done = [], 0
    with tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder:
        for block in blocks(page):
            if block.kind == "file":
                path = Path(folder, block.command)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.body)
            elif block.kind == "run" or (block.kind in kinds and having in block.command):
                try:
                    shown = output_of(block.command, Path(folder), script=block.kind == "run")
                except UserError as error:
                    if block.kind != "renewed":
                        raise
                    note(str(error))
                    continue
                if block.kind != "run":
                    pieces += [page[done : block.start], shown]
                    done = block.end
    return "".join([*pieces, page[done:]])


@app.command()
def command(
    pages: Annotated[list[Path], typer.Argument(metavar="PAGE.md ...", help="Pages to renew.")],
    checked_only: Annotated[
        bool, typer.Option("--checked-only", help="Only what the tests compare.")
    ] = False,
    having: Annotated[
        str, typer.Option(metavar="TEXT", help="Only blocks whose command has this in it.")
    ] = "",
) -> None:
    """Renew the measured blocks of pages."""
    kinds = frozenset({"checked"} if checked_only else {"checked", "renewed"})
    left: list[str] = []
    for page in pages:
        before = page.read_text()
        after = renew(before, kinds, left.append, having)
        if after != before:
            with new_files(page.absolute().parent) as folder:
                (folder / page.name).write_text(after)
        console.print(f"{page}: {'renewed' if after != before else 'as it was'}", markup=False)
    for sentence in left:
        errors.print(f"left as it was: {sentence}", markup=False)
    if left:
        raise UserError(f"{len(left)} of the blocks could not be renewed here.")


if __name__ == "__main__":
    run_app(app)
