"""Prices of memories from a vendor's macros: read from Liberty, fitted to words and width."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...golden.contract.errors import UserError
from ..silicon.liberty import Group, MalformedError, parse
from ..silicon.library import contents
from ..silicon.prices import Macro, MemoryPrice

PORTS = 2
"""Our memories read and write in the same cycle: that takes two ports."""

_FEWEST = 4  # macros that four prices can be fitted to


@dataclass(frozen=True)
class Fit:
    """Prices that come closest to some macros.

    Attributes
    ----------
    price
        The prices, with the macros in it.
    area_error, access_error
        Largest relative differences.
    """

    price: MemoryPrice
    area_error: float
    access_error: float


def fit(paths: Sequence[Path], source: str) -> Fit:
    """Fit prices to the macros of two ports in Liberty files, by least squares of relative errors.

    Parameters
    ----------
    paths
        Liberty files, which may be compressed; macros of other numbers of ports are passed over.
    source
        Where they come from.

    Raises
    ------
    UserError
        A file that cannot be used; too few macros.
    """
    macros = [macro for path in paths for macro in read_macros(path)]
    if len(macros) < _FEWEST:
        raise UserError(
            f"prices take at least {_FEWEST} macros of {PORTS} ports, got {len(macros)}."
        )
    macros.sort(key=lambda macro: (macro.words, macro.width))
    fixed, word, column, bit = _least_squares(
        [(1.0, m.words, m.width, m.words * m.width) for m in macros], [m.area for m in macros]
    )
    access, access_word = _least_squares(
        [(1.0, m.words) for m in macros], [m.access_ns for m in macros]
    )
    price = MemoryPrice(
        kind="sram",
        source=source,
        fixed=round(fixed, 1),
        word=round(word, 2),
        column=round(column, 2),
        bit=round(bit, 3),
        access_ns=round(access, 3),
        access_word_ns=round(access_word, 6),
        most_words=max(macro.words for macro in macros),
        most_width=max(macro.width for macro in macros),
        most_reads=1,
        most_writes=1,
        synchronous=True,
        macro=macros,
    )
    return Fit(
        price,
        _largest(macros, lambda m: price.area_of(m.words, m.width) / m.area),
        _largest(macros, lambda m: price.access_of(m.words) / m.access_ns),
    )


def _least_squares(rows: Sequence[tuple[float, ...]], values: Sequence[float]) -> list[float]:
    """Coefficients that are least wrong, each value's error taken relative to it."""
    scale = 1 / np.array(values)
    found, *_ = np.linalg.lstsq(np.array(rows) * scale[:, None], np.ones(len(values)))
    return [float(value) for value in found]


def _largest(macros: Sequence[Macro], ratio: Callable[[Macro], float]) -> float:
    return max(abs(ratio(macro) - 1) for macro in macros)


# Liberty


def read_macros(path: Path) -> list[Macro]:
    """Memories of two ports in a Liberty file.

    Raises
    ------
    UserError
        The file cannot be read or is not Liberty; a memory lacks its area or its delays.
    """
    _, text = contents(path)
    try:
        library = parse(text.decode(errors="replace"), kept=("values",))
    except MalformedError as error:
        raise UserError(f"{path} is not a Liberty library: {error}.") from error
    found = []
    for cell in library.groups:
        reads = [bus for bus in cell.groups if _inside(bus, "memory_read")]
        if cell.kind == "cell" and len(reads) == PORTS:
            found.append(_macro(cell, reads, path))
    return found


def _macro(cell: Group, reads: Sequence[Group], path: Path) -> Macro:
    try:
        (memory,) = _inside(cell, "memory")
        return Macro(
            words=2 ** int(memory.attributes["address_width"]),
            width=int(memory.attributes["word_width"]),
            area=float(cell.attributes["area"]),
            access_ns=max(_delays(reads)),
        )
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} says too little of the memory {cell.name}: {error}.") from error


def _delays(reads: Sequence[Group]) -> list[float]:
    """All delays from the clock to the data, whatever the slope and the load."""
    return [
        float(number)
        for bus in reads
        for arc in _inside(bus, "timing")
        if arc.attributes.get("timing_type") == "rising_edge"
        for table in (*_inside(arc, "cell_rise"), *_inside(arc, "cell_fall"))
        for number in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", table.attributes["values"])
    ]


def _inside(group: Group, kind: str) -> list[Group]:
    return [inner for inner in group.groups if inner.kind == kind]
