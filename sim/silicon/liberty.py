"""What area and timing need to know of a Liberty library: its cells, their areas and pins."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...golden.contract.errors import UserError


@dataclass(frozen=True)
class Pin:
    """A pin of a cell.

    Attributes
    ----------
    direction
        As the library says, ``input`` or ``output`` for logic.
    function
        Boolean expression of an output, else empty.
    clock
        Whether a flip-flop or latch takes its clock or enable here.
    limit
        Largest capacitance the pin may drive, in the library's unit; 0 where it states none.
    """

    direction: str
    function: str
    clock: bool
    limit: float


@dataclass(frozen=True)
class Cell:
    """A cell: its area in the library's unit (0 where it states none) and its pins."""

    name: str
    area: float
    pins: Mapping[str, Pin]
    usable: bool = True

    @property
    def buffer(self) -> tuple[str, str] | None:
        """Input and output pin where the output repeats the only input."""
        inputs = [name for name, pin in self.pins.items() if pin.direction == "input"]
        outputs = [name for name, pin in self.pins.items() if pin.direction == "output"]
        if len(inputs) != 1 or len(outputs) != 1 or len(self.pins) != 2:
            return None
        repeats = self.pins[outputs[0]].function.strip("() ") == inputs[0]
        return (inputs[0], outputs[0]) if repeats else None

    @property
    def full_adder(self) -> tuple[list[str], str, str] | None:
        """Inputs, sum and carry pins where the outputs are those of a full adder."""
        inputs = [name for name, pin in self.pins.items() if pin.direction == "input"]
        outputs = [name for name, pin in self.pins.items() if pin.direction == "output"]
        if len(inputs) != 3 or len(outputs) != 2:
            return None
        tables = {_truth(self.pins[name].function, inputs): name for name in outputs}
        if set(tables) != {_SUM, _CARRY}:
            return None
        return inputs, tables[_SUM], tables[_CARRY]


@dataclass(frozen=True)
class Library:
    """A Liberty library as far as it matters here."""

    name: str
    path: Path
    sha256: str
    cells: Mapping[str, Cell]
    full_adders: bool = False
    """Whether adders are made of the library's full adder."""

    @property
    def full_adder(self) -> Cell | None:
        """The smallest full adder."""
        adders = [cell for cell in self.cells.values() if cell.full_adder and cell.usable]
        return min((cell for cell in adders if cell.area > 0), key=lambda c: c.area, default=None)

    @property
    def buffer(self) -> Cell | None:
        """The buffer that drives most, among those at most twice as large as the smallest."""
        buffers = [cell for cell in self.cells.values() if cell.buffer and cell.usable]
        buffers = [cell for cell in buffers if cell.area > 0]
        if not buffers:
            return None
        bound = 2 * min(cell.area for cell in buffers)
        return max((cell for cell in buffers if cell.area <= bound), key=_strength)


_SUM = tuple(i.bit_count() & 1 for i in range(8))
_CARRY = tuple(int(i.bit_count() > 1) for i in range(8))
_OPERATORS = {"*": "&", "+": "|", "!": "~", "&": "&", "|": "|", "^": "^", "(": "(", ")": ")"}


def _truth(function: str, inputs: list[str]) -> tuple[int, ...] | None:
    """Values of a function of three inputs; None if it is not written with plain operators."""
    tokens = re.findall(r"\w+|\S", function)
    if any(token not in _OPERATORS and token not in inputs for token in tokens):
        return None
    text, before = "", ""
    for token in tokens:
        if before and before not in "(!*&+|^" and token not in ")*&+|^":
            text += " & "  # side by side: and
        text += f" {_OPERATORS.get(token, token)} "
        before = token
    values = []
    for i in range(1 << len(inputs)):
        names = {name: i >> bit & 1 for bit, name in enumerate(inputs)}
        try:
            values.append(eval(text, {"__builtins__": {}}, names) & 1)
        except SyntaxError:
            return None
    return tuple(values)


def _strength(cell: Cell) -> tuple[float, float]:
    _, output = cell.buffer or ("", "")
    return cell.pins[output].limit, -cell.area


def read_library(path: Path) -> Library:
    """Read a Liberty file.

    Raises
    ------
    UserError
        The file cannot be read, is not Liberty, or has no cells.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from error
    try:
        root = _parse(content.decode(errors="replace"))
        cells = [_cell(group) for group in root.groups if group.kind == "cell"]
    except _MalformedError as error:
        raise UserError(f"{path} is not a Liberty library: {error}.") from error
    if not cells:
        raise UserError(f"{path} is not a usable Liberty library: it has no cells.")
    return Library(
        root.name,
        path.absolute(),
        hashlib.sha256(content).hexdigest(),
        {cell.name: cell for cell in cells},
    )


# Parsing


class _MalformedError(Exception):
    """What is wrong, as a clause."""


@dataclass
class _Group:
    kind: str
    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    groups: list["_Group"] = field(default_factory=list)


_SKIPPED = re.compile(r"(?:[\s;]|\\\n|\\\r\n|/\*.*?\*/|//[^\n]*)+", re.DOTALL)
_HEAD = re.compile(r"([A-Za-z_][\w.]*)\s*(?:(:)|\()")
_ARGUMENTS = re.compile(r'(?:"[^"]*"|/\*.*?\*/|[^()"])*', re.DOTALL)
_VALUE = re.compile(r'\s*("[^"]*"|[^;\n}"]*)')
_OPENS = re.compile(r"\s*\{")


def _parse(text: str) -> _Group:
    """The library group with all groups in it."""
    root = _Group("", "")
    open_groups = [root]
    position = 0
    while True:
        skipped = _SKIPPED.match(text, position)
        position = skipped.end() if skipped else position
        if position == len(text):
            break
        if text[position] == "}":
            if len(open_groups) == 1:
                raise _MalformedError(f"line {_line(text, position)} closes what was not opened")
            open_groups.pop()
            position += 1
            continue
        position = _statement(text, position, open_groups)
    if len(open_groups) > 1:
        raise _MalformedError(f"it ends within {open_groups[-1].kind} {open_groups[-1].name}")
    if [group.kind for group in root.groups] != ["library"] or root.attributes:
        raise _MalformedError("it does not consist of one library group")
    return root.groups[0]


def _statement(text: str, position: int, open_groups: list[_Group]) -> int:
    """Take in one attribute or the head of a group; where the next statement begins."""
    head = _HEAD.match(text, position)
    if head is None:
        raise _MalformedError(f"line {_line(text, position)} is neither attribute nor group")
    if head[2]:
        value = _VALUE.match(text, head.end())
        assert value is not None  # it matches the empty string
        open_groups[-1].attributes[head[1]] = value[1].strip().strip('"')
        return value.end()
    arguments = _ARGUMENTS.match(text, head.end())
    end = arguments.end() if arguments else head.end()
    if end == len(text) or text[end] != ")":
        raise _MalformedError(f"line {_line(text, position)} leaves a parenthesis open")
    opens = _OPENS.match(text, end + 1)
    if opens is None:
        return end + 1  # a complex attribute; none matters here
    group = _Group(head[1], text[head.end() : end].strip().strip('"'))
    open_groups[-1].groups.append(group)
    open_groups.append(group)
    return opens.end()


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _cell(group: _Group) -> Cell:
    states = [inner for inner in group.groups if inner.kind in ("ff", "latch", "ff_bank")]
    clocks = {
        word
        for state in states
        for key in ("clocked_on", "enable")
        for word in re.findall(r"\w+", state.attributes.get(key, ""))
    }
    pins = {
        name: Pin(
            pin.attributes.get("direction", ""),
            pin.attributes.get("function", ""),
            pin.attributes.get("clock", "") == "true" or name in clocks,
            _number(pin, "max_capacitance"),
        )
        for pin in group.groups
        if pin.kind == "pin"
        for name in _names(pin.name)
    }
    usable = group.attributes.get("dont_use", "").lower() != "true"
    return Cell(group.name, _number(group, "area"), pins, usable)


def _names(text: str) -> Iterator[str]:
    return (name.strip().strip('"') for name in text.split(","))


def _number(group: _Group, key: str) -> float:
    text = group.attributes.get(key, "0")
    try:
        return float(text)
    except ValueError:
        raise _MalformedError(f"{key} of {group.kind} {group.name} is {text!r}") from None
