"""Text of files that flows write, with a design's own names and numbers in it."""

from pathlib import Path
from string import Template


class _Text(Template):
    """Text with ``@@{name}`` where a value goes; Verilog and Tcl use ``$`` themselves."""

    delimiter = "@@"


def filled(name: str, **values: object) -> str:
    """A file of this folder with every value in its place."""
    return _Text((Path(__file__).parent / name).read_text()).substitute(values)
