"""The folder of a flow: a core, what the flow adds to it, and a README."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...golden import units
from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...golden.soc.config import ShellConfig
from ...hw.soc.generate import GeneratedCore, generate_core
from ..tools.progress import Progress
from .place import Placed
from .timing import TimingReport

README = "README.md"


@dataclass(frozen=True)
class Added:
    """What a flow adds to a core.

    Attributes
    ----------
    files
        File name to content.
    notes
        Lines of the README that say what the files are.
    commands
        What the user types in the folder, one line a tool.
    """

    files: dict[str, str]
    notes: tuple[str, ...]
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Built:
    """What a flow made of a folder.

    Attributes
    ----------
    report
        Clocks of all seeds, cells, critical path.
    fastest
        The seed that was taken.
    files
        Everything that was written.
    added
        What the flow adds to the core, now that it is known what came out.
    """

    report: TimingReport
    fastest: Placed
    files: list[Path]
    added: Added


@dataclass(frozen=True)
class Flow:
    """A way to go on from a core.

    Attributes
    ----------
    name
        As the command line has it.
    add
        ``add(core, design, config)``: what the folder holds beyond the generated core.
    build
        ``build(exported, folder, seeds, progress)``: runs the tools of the flow in a folder that
        was written; None where that is for the user to do.
    on
        ``on(board, baud, clock)``: the same flow for a board, a rate of its serial line and
        cycles a second, None for the usual ones; None where there is no board.
    """

    name: str
    add: Callable[[GeneratedCore, Design, ShellConfig], Added]
    build: Callable[["Export", Path, int, Progress], Built] | None = None
    on: "Callable[[str | None, int | None, int | None], Flow] | None" = None


@dataclass(frozen=True)
class Export:
    """A whole folder, in memory.

    Attributes
    ----------
    core
        All files; those of the flow are documents of the core.
    design, config
        What the core is of.
    commands
        What the user types in the folder.
    """

    core: GeneratedCore
    design: Design
    config: ShellConfig
    commands: tuple[str, ...]

    def check_folder(self, folder: Path, *, replace: bool = False) -> None:
        """See to it that nobody else's files are replaced.

        Parameters
        ----------
        folder
            Where the files are to go; need not exist.
        replace
            Files of the same names may be replaced, whatever they are.

        Raises
        ------
        UserError
            A file of the same name is not known to be of this design, configuration and flow.
        """
        self.core.check_folder(folder, replace=replace)
        readme = folder / README
        title = self.core.documents[README].splitlines()[0]
        if not replace and readme.is_file() and _first_line(readme) != title:
            raise UserError(
                f"{readme} is there already and not of this design and flow: "
                "choose another folder, or replace it (--force)."
            )

    def write(self, folder: Path) -> list[Path]:
        """Write all files; returns their paths, the Verilog first."""
        return self.core.write(folder)


def export(
    flow: Flow, unit: str, config: Any, *, design: str | None = None, name: str | None = None
) -> Export:
    """Make the folder of a flow.

    Parameters
    ----------
    flow
        What the folder is for.
    unit
        Name of a unit that a core takes.
    config
        Of the core around it.
    design
        Name of the core's design where the unit has several.
    name
        Top module; by default the design's name. All other modules and all files but the README
        have it as prefix.

    Raises
    ------
    UserError
        The name is no Verilog identifier, or a keyword; there is no such design, or several; the
        flow cannot take the core.
    """
    chosen = _chosen(unit, units.unit(units.core_name(unit)).designs(config), design)
    core = generate_core(chosen, config, unit, name=name)
    added = flow.add(core, chosen, config)
    documents = {**core.documents, **added.files, README: readme(flow.name, core, added)}
    return Export(replace(core, documents=documents), chosen, config, added.commands)


def _chosen(unit: str, designs: tuple[Design, ...], name: str | None) -> Design:
    """The design of that name, or the only one."""
    found = [design for design in designs if name in (design.name, None)]
    if len(found) == 1:
        return found[0]
    known = " and ".join(design.name for design in designs)
    if name is None:
        raise UserError(f"a flow takes one design, and {unit} has {known}: choose by --design.")
    raise UserError(f"the core around {unit} has no design {name!r}, but {known}.")


def readme(flow: str, core: GeneratedCore, added: Added) -> str:
    """Ten lines or so: what the folder is, what to type, what else there is."""
    manifest = core.manifest
    lines = [
        f"# {core.name}, flow {flow}",
        f"A {manifest['summary']}; config hash {manifest['config_hash'][:16]}, "
        f"made by {manifest['generator']}.",
        "",
        *(f"    {command}" for command in added.commands),
        "",
        *added.notes,
        f"* `{core.name}.v`: the core, whose modules all begin with its name; "
        f"`{core.name}.json`: its manifest; `.vh`: a template to paste; `.vlt`: lint waivers.",
        f"* `{core.name}_registers.md`, `.h`, `_registers.py`: its registers, for readers, C and "
        "Python.",
    ]
    return "\n".join(lines) + "\n"


def _first_line(path: Path) -> str:
    """First line of a file that may be anybody's, as far as it is text."""
    with path.open(errors="replace") as text:
        return text.readline(200).rstrip("\n")
