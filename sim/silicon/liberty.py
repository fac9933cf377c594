"""The cells of a Liberty file: their areas, their pins, and what they do."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations


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
        Whether a flip-flop, latch or clock gate takes its clock or enable here.
    limit
        Largest capacitance the pin may drive, in the library's unit; 0 where it states none.
    gate
        What a clock gate has the pin for: ``clock``, ``enable``, ``test`` or ``out``; else empty.
    """

    direction: str
    function: str
    clock: bool
    limit: float
    gate: str = ""


@dataclass(frozen=True)
class FlipFlop:
    """What a flip-flop stores, as far as it matters here.

    Attributes
    ----------
    clock
        Expression of the clock, true after the edge.
    data
        Expression of what is stored.
    state
        Variables of what is stored and of its inverse.
    plain
        Whether it has neither clear nor preset.
    """

    clock: str
    data: str
    state: tuple[str, ...]
    plain: bool


@dataclass(frozen=True)
class Adder:
    """Pins of a full adder.

    Attributes
    ----------
    inputs, total, carry
        Input pins, and the outputs of sum and carry.
    inverted
        Whether both outputs are inverted.
    """

    inputs: tuple[str, ...]
    total: str
    carry: str
    inverted: bool


@dataclass(frozen=True)
class ClockGate:
    """Pins of a clock gate with a latch for clocks that rise; ``tied`` ones are for tests."""

    enable: str
    clock: str
    output: str
    tied: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """A cell: its area in the library's unit (0 where it states none) and its pins."""

    name: str
    area: float
    pins: Mapping[str, Pin]
    usable: bool = True
    flip_flop: FlipFlop | None = None
    gating: str = ""
    """Kind of clock gate as the library names it; empty for other cells."""

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Input pins."""
        return tuple(name for name, pin in self.pins.items() if pin.direction == "input")

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Output pins."""
        return tuple(name for name, pin in self.pins.items() if pin.direction == "output")

    @property
    def buffer(self) -> tuple[str, str] | None:
        """Input and output pin where the output repeats the only input."""
        if len(self.inputs) != 1 or len(self.outputs) != 1 or len(self.pins) != 2:
            return None
        (source,), (output,) = self.inputs, self.outputs
        repeats = self.pins[output].function.strip("() ") == source
        return (source, output) if repeats else None

    @property
    def full_adder(self) -> Adder | None:
        """Its pins where the outputs are those of a full adder, both as they are or inverted."""
        if len(self.inputs) != 3 or len(self.outputs) != 2:
            return None
        tables = {self._table(output, self.inputs): output for output in self.outputs}
        for inverted in (False, True):
            total, carry = (_inverse(t) if inverted else t for t in (_SUM, _CARRY))
            if set(tables) == {total, carry}:
                return Adder(self.inputs, tables[total], tables[carry], inverted)
        return None

    @property
    def clock_gate(self) -> ClockGate | None:
        """Its pins where it holds back rising edges of a clock."""
        if not re.fullmatch("latch_posedge(_.*)?", self.gating):
            return None
        pins = {role: self._with_role(role) for role in ("enable", "clock", "out", "test")}
        if any(len(pins[role]) != 1 for role in ("enable", "clock", "out")):
            return None
        return ClockGate(pins["enable"][0], pins["clock"][0], pins["out"][0], pins["test"])

    @property
    def register(self) -> bool | None:
        """Whether the output is inverted, where the cell only stores an input at a rising edge."""
        if self.flip_flop is None or len(self.inputs) != 2 or len(self.outputs) != 1:
            return None
        stored, (output,) = self.flip_flop, self.outputs
        data = self._inversion(stored.data, tuple(n for n in self.inputs if n != stored.clock))
        shown = self._inversion(self.pins[output].function, stored.state[:1])
        if shown is None:  # the second variable is the inverse
            inverse = self._inversion(self.pins[output].function, stored.state[1:])
            shown = None if inverse is None else not inverse
        if not stored.plain or stored.clock not in self.inputs or data is None or shown is None:
            return None
        return data != shown

    def computes(self, table: Sequence[int]) -> tuple[tuple[str, ...], str] | None:
        """Input pins in the order in which the only output has a table of values, and the output.

        Value ``i`` is for inputs that have the bits of ``i``, the first the least significant.
        """
        if len(self.outputs) != 1 or 1 << len(self.inputs) != len(table):
            return None
        orders = permutations(self.inputs)
        (output,) = self.outputs
        found = next((order for order in orders if self._table(output, order) == table), None)
        return None if found is None else (found, output)

    def _table(self, output: str, inputs: Sequence[str]) -> tuple[int, ...] | None:
        return _truth(self.pins[output].function, inputs)

    def _inversion(self, function: str, names: Sequence[str]) -> bool | None:
        """Whether a function of one name inverts it; None if it is no such function."""
        if len(names) != 1:
            return None
        table = _truth(function, names)
        return table == (1, 0) if table in ((0, 1), (1, 0)) else None

    def _with_role(self, role: str) -> tuple[str, ...]:
        return tuple(name for name, pin in self.pins.items() if pin.gate == role)


_SUM = tuple(i.bit_count() & 1 for i in range(8))
_CARRY = tuple(int(i.bit_count() > 1) for i in range(8))
_OPERATORS = {"*": "&", "+": "|", "!": "~", "&": "&", "|": "|", "^": "^", "(": "(", ")": ")"}


def _inverse(table: Sequence[int]) -> tuple[int, ...]:
    return tuple(1 - value for value in table)


def _truth(function: str, inputs: Sequence[str]) -> tuple[int, ...] | None:
    """Values of a function of some inputs; None if it is not written with plain operators."""
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


# Parsing


class MalformedError(Exception):
    """What is wrong with a text, as a clause."""


def read_cells(text: str) -> tuple[str, list[Cell]]:
    """Name and cells of the library in a Liberty file.

    Raises
    ------
    MalformedError
        The text is not Liberty.
    """
    root = parse(text)
    return root.name, [_cell(group) for group in root.groups if group.kind == "cell"]


@dataclass
class Group:
    """A group: its kind, its argument, its attributes and what is in it."""

    kind: str
    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    groups: list["Group"] = field(default_factory=list)


_SKIPPED = re.compile(r"(?:[\s;]|\\\n|\\\r\n|/\*.*?\*/|//[^\n]*)+", re.DOTALL)
_HEAD = re.compile(r"([A-Za-z_][\w.]*)\s*(?:(:)|\()")
_ARGUMENTS = re.compile(r'(?:"[^"]*"|/\*.*?\*/|[^()"])*', re.DOTALL)
_VALUE = re.compile(r'\s*("[^"]*"|[^;\n}"]*)')
_OPENS = re.compile(r"\s*\{")


def parse(text: str, kept: Collection[str] = ()) -> Group:
    """The library group with all groups in it.

    Parameters
    ----------
    text
        Liberty.
    kept
        Attributes in parentheses to keep; others are passed over.

    Raises
    ------
    MalformedError
        The text is not Liberty.
    """
    root = Group("", "")
    open_groups = [root]
    position = 0
    while True:
        skipped = _SKIPPED.match(text, position)
        position = skipped.end() if skipped else position
        if position == len(text):
            break
        if text[position] == "}":
            if len(open_groups) == 1:
                raise MalformedError(f"line {_line(text, position)} closes what was not opened")
            open_groups.pop()
            position += 1
            continue
        position = _statement(text, position, open_groups, kept)
    if len(open_groups) > 1:
        raise MalformedError(f"it ends within {open_groups[-1].kind} {open_groups[-1].name}")
    if [group.kind for group in root.groups] != ["library"] or root.attributes:
        raise MalformedError("it does not consist of one library group")
    return root.groups[0]


def _statement(text: str, position: int, open_groups: list[Group], kept: Collection[str]) -> int:
    """Take in one attribute or the head of a group; where the next statement begins."""
    head = _HEAD.match(text, position)
    if head is None:
        raise MalformedError(f"line {_line(text, position)} is neither attribute nor group")
    if head[2]:
        value = _VALUE.match(text, head.end())
        assert value is not None  # it matches the empty string
        open_groups[-1].attributes[head[1]] = value[1].strip().strip('"')
        return value.end()
    arguments = _ARGUMENTS.match(text, head.end())
    end = arguments.end() if arguments else head.end()
    if end == len(text) or text[end] != ")":
        raise MalformedError(f"line {_line(text, position)} leaves a parenthesis open")
    opens = _OPENS.match(text, end + 1)
    if opens is None:
        if head[1] in kept:
            open_groups[-1].attributes[head[1]] = text[head.end() : end]
        return end + 1
    group = Group(head[1], text[head.end() : end].strip().strip('"'))
    open_groups[-1].groups.append(group)
    open_groups.append(group)
    return opens.end()


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _cell(group: Group) -> Cell:
    states = [inner for inner in group.groups if inner.kind in ("ff", "latch", "ff_bank")]
    clocks = {
        word
        for state in states
        for key in ("clocked_on", "enable")
        for word in re.findall(r"\w+", state.attributes.get(key, ""))
    }
    pins = {
        name: _pin(pin, name in clocks)
        for pin in group.groups
        if pin.kind == "pin"
        for name in _names(pin.name)
    }
    return Cell(
        group.name,
        _number(group, "area"),
        pins,
        not _flag(group, "dont_use"),
        next((_flip_flop(state) for state in states if state.kind == "ff"), None),
        group.attributes.get("clock_gating_integrated_cell", ""),
    )


def _pin(group: Group, clock: bool) -> Pin:
    roles = (role for role in _ROLES if _flag(group, f"clock_gate_{role}_pin"))
    role = next(roles, "")
    return Pin(
        group.attributes.get("direction", ""),
        group.attributes.get("function", ""),
        clock or _flag(group, "clock") or role == "clock",
        _number(group, "max_capacitance"),
        role,
    )


_ROLES = ("clock", "enable", "test", "out")


def _flip_flop(group: Group) -> FlipFlop:
    return FlipFlop(
        group.attributes.get("clocked_on", ""),
        group.attributes.get("next_state", ""),
        tuple(_names(group.name)),
        not {"clear", "preset"} & group.attributes.keys(),
    )


def _flag(group: Group, key: str) -> bool:
    return group.attributes.get(key, "").lower() == "true"


def _names(text: str) -> Iterator[str]:
    return (name.strip().strip('"') for name in text.split(","))


def _number(group: Group, key: str) -> float:
    text = group.attributes.get(key, "0")
    try:
        return float(text)
    except ValueError:
        raise MalformedError(f"{key} of {group.kind} {group.name} is {text!r}") from None


# Writing


def write_library(name: str, cells: str) -> str:
    """Liberty text of a library of some cells, with delays in ns and capacitances in pF."""
    return (
        f'library({name}) {{\n time_unit : "1ns";\n voltage_unit : "1V";\n current_unit : "1mA";\n'
        ' pulling_resistance_unit : "1kohm";\n capacitive_load_unit (1,pf);\n'
        f" delay_model : table_lookup;\n{_THRESHOLDS}{cells}}}\n"
    )


_THRESHOLDS = "".join(
    f" {threshold}_pct_{edge} : {percent};\n"
    for edge in ("rise", "fall")
    for threshold, percent in (
        ("slew_lower_threshold", 20),
        ("slew_upper_threshold", 80),
        ("input_threshold", 50),
        ("output_threshold", 50),
    )
)
