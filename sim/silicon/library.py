"""A library of one or several Liberty files, and which of its cells the flow takes."""

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from ...golden.contract.errors import UserError
from .liberty import Cell, MalformedError, read_cells

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class LibraryFile:
    """A file of a library.

    Attributes
    ----------
    path, sha256
        The file as it was given.
    plain
        Where its text stands uncompressed.
    modelled
        Whether its cells are ours: only for areas and delays, not for logic.
    """

    path: Path
    sha256: str
    plain: Path
    modelled: bool = False


@dataclass(frozen=True)
class Library:
    """A library as far as it matters here.

    Attributes
    ----------
    name
        What all of its files' libraries begin with.
    files
        Where it comes from.
    cells
        All cells by name.
    """

    name: str
    files: tuple[LibraryFile, ...]
    cells: Mapping[str, Cell]

    @property
    def paths(self) -> str:
        """Its files, for sentences."""
        return ", ".join(str(file.path) for file in self.files if not file.modelled)

    @property
    def buffer(self) -> Cell | None:
        """The buffer that drives most, among those at most twice as large as the smallest."""
        buffers = [cell for cell in self._offered() if cell.buffer]
        if not buffers:
            return None
        bound = 2 * min(cell.area for cell in buffers)
        return max((cell for cell in buffers if cell.area <= bound), key=_strength)

    @property
    def full_adder(self) -> Cell | None:
        """The smallest full adder."""
        return _smallest(cell for cell in self._offered() if cell.full_adder)

    @property
    def clock_gate(self) -> Cell | None:
        """The smallest clock gate.

        Libraries mark clock gates ``dont_use`` to keep them out of logic: that counts for nothing
        here.
        """
        gates = (cell for cell in self.cells.values() if cell.clock_gate and cell.area > 0)
        return _smallest(gates)

    @property
    def inverter(self) -> Cell | None:
        """The smallest inverter."""
        return self.smallest((1, 0))

    @property
    def passed_over(self) -> tuple[str, ...]:
        """Registers that are larger than one with an inverted output and an inverter.

        Yosys would take them wherever the other polarity is not needed.
        """
        registers = [cell for cell in self._offered() if cell.register is not None]
        inverted = _smallest(cell for cell in registers if cell.register)
        if inverted is None or self.inverter is None:
            return ()
        bound = inverted.area + self.inverter.area
        direct = [cell for cell in registers if not cell.register]
        if any(cell.area <= bound for cell in direct):
            return ()
        return tuple(cell.name for cell in direct)

    def smallest(self, table: Sequence[int]) -> Cell | None:
        """The smallest cell with one output that has a table of values, see :class:`Cell`."""
        return _smallest(cell for cell in self._offered() if cell.computes(tuple(table)))

    def link(self, folder: Path) -> dict[str, LibraryFile]:
        """Link the files into a folder by plain names, for their own may hold anything.

        Returns
        -------
        The names with the files.
        """
        names = {f"library_{i}.lib": file for i, file in enumerate(self.files)}
        for name, file in names.items():
            Path(folder, name).unlink(missing_ok=True)
            Path(folder, name).symlink_to(file.plain)
        return names

    def with_model(self, text: str, folder: Path) -> "Library":
        """The library with modelled cells, whose Liberty text is written to a folder."""
        plain = folder / "modelled.lib"
        plain.write_text(text)
        name, cells = read_cells(text)
        file = LibraryFile(Path(name), _digest(text.encode()), plain.absolute(), modelled=True)
        added = {cell.name: cell for cell in cells}
        return replace(self, files=(*self.files, file), cells={**self.cells, **added})

    def _offered(self) -> list[Cell]:
        """Cells that may be used and whose area is known."""
        return [cell for cell in self.cells.values() if cell.usable and cell.area > 0]


def _smallest(cells: Iterable[Cell]) -> Cell | None:
    return min(cells, key=lambda cell: cell.area, default=None)


def _strength(cell: Cell) -> tuple[float, float]:
    _, output = cell.buffer or ("", "")
    return cell.pins[output].limit, -cell.area


def read_library(paths: Sequence[Path], folder: Path) -> Library:
    """Read a library of one or several Liberty files, which may be compressed by gzip.

    Parameters
    ----------
    paths
        The files.
    folder
        An existing folder that outlives the library; compressed files are unpacked there.

    Raises
    ------
    UserError
        A file cannot be read, is not Liberty, or has no cells; two have the same cell; there is no
        flip-flop.
    """
    names: list[str] = []
    files: list[LibraryFile] = []
    cells: dict[str, Cell] = {}
    homes: dict[str, Path] = {}
    for i, path in enumerate(paths):
        content, text = contents(path)
        plain = path.absolute()
        if text is not content:
            plain = folder / f"unpacked_{i}.lib"
            plain.write_bytes(text)
        name, found = _cells(text, path)
        for cell in found:
            if cell.name in cells:
                both = f"{homes[cell.name]} and {path}"
                raise UserError(f"{both} both have the cell {cell.name}: give one of them.")
            cells[cell.name] = cell
            homes[cell.name] = path
        names.append(name)
        files.append(LibraryFile(path, _digest(content), plain))
    library = Library(_common(names), tuple(files), cells)
    if not any(cell.flip_flop for cell in cells.values()):
        raise UserError(
            f"the library {library.paths} has no flip-flop: if it has several files, give "
            "--liberty for each."
        )
    return library


def contents(path: Path) -> tuple[bytes, bytes]:
    """Content of a file as it is, and decompressed where it is compressed.

    Raises
    ------
    UserError
        It cannot be read or is not a whole gzip file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from error
    if path.suffix != ".gz" and not content.startswith(_GZIP):
        return content, content
    try:
        return content, gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        reason = str(error).rstrip(".")
        raise UserError(f"{path} is not a whole gzip file: {reason}.") from error


def _cells(text: bytes, path: Path) -> tuple[str, list[Cell]]:
    try:
        name, cells = read_cells(text.decode(errors="replace"))
    except MalformedError as error:
        raise UserError(f"{path} is not a Liberty library: {error}.") from error
    if not cells:
        raise UserError(f"{path} is not a usable Liberty library: it has no cells.")
    return name, cells


def _common(names: Sequence[str]) -> str:
    """Words that all names begin with; the first name where there are none."""
    words = [name.split("_") for name in names]
    same = takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False))
    return "_".join(column[0] for column in same) or names[0]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
