"""Modules of Verilog as Yosys writes them, read into statements and written for engineers.

Yosys puts one statement on a line and one operator into an expression, and states signedness where
it matters (``$signed``), so that declarations need not.
"""

import re
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

WIDTH = 100
"""Columns of a line."""

NAME = re.compile(r"(?<![\w'$.])[A-Za-z_]\w*")
"""A name, but no pin, no literal and no system function."""

SLICE = re.compile(r"\b([A-Za-z_]\w*)\[(\d+)(?::(\d+))?\]")
"""A constant slice of a net."""

_MODULE = re.compile(r"^module (\S+)\(.*?\);\n(.*?)^endmodule$", re.MULTILINE | re.DOTALL)
_DECLARATION = re.compile(
    r"  (input|output|wire|reg) (?:signed )?"
    r"(?:\[(\d+):\d+\] )?(\w+)(?: (\[\d+:\d+\]))?(?: = (.*))?;"
)
_DECLARES = ("  input ", "  output ", "  wire ", "  reg ")
_ALIAS = re.compile(r"^  assign (\w+) = ([A-Za-z_]\w*);\n", re.MULTILINE)
_INSTANCE = re.compile(r"^  (\w+) (\w+) \($", re.MULTILINE)
_PORT = re.compile(r"^  (input|output) (?:signed )?(?:\[\d+:\d+\] )?(\w+);$", re.MULTILINE)
_DOUBLE = re.compile(r"(?<![\w.\\])\w+?__\w+")
_KICK = re.compile(
    r"^  reg \\\$auto\$\S+  = 0;\n|^    if \(\\\$auto\$\S+ \) begin end\n", re.MULTILINE
)
"""A register that is written once, and that every ``always @*`` waits for as well."""
_ESCAPED = re.compile(r"\\(\S+) ")
_NUMBERED = re.compile(r"(\w+)\$(\d+)")
_PIN = re.compile(r"\s*\.(\w+)\((.*)\),?")
STEP = re.compile(r"( *)(\S+) (<?=) (.*);")
"""An assignment within a process."""
_COMPUTED = re.compile(r"\[(?!\d+(:\d+)?\]).*\]")
"""A place in a target that is no constant."""
_NAMES = re.compile(f"({NAME.pattern})")


def renamed(text: str, names: Mapping[str, str]) -> str:
    """A text in which some nets have other names."""
    parts = _NAMES.split(text)
    parts[1::2] = [names.get(name, name) for name in parts[1::2]]
    return "".join(parts)


def part_of(name: str, high: int, low: int) -> str:
    """Bits of a net that has more of them."""
    return f"{name}[{high}:{low}]" if high > low else f"{name}[{high}]"


@dataclass
class Net:
    """A port, wire, register or memory."""

    name: str
    width: int = 1
    direction: str = ""
    register: bool = False
    words: str = ""
    init: str = ""

    @property
    def anonymous(self) -> bool:
        """Whether Yosys had no name for it."""
        return self.name[0] == "_" and self.name[-1] == "_"

    @property
    def initialised(self) -> bool:
        """Whether it is a register that has a value from the start."""
        return self.register and bool(self.init) and not self.words

    def declaration(self) -> str:
        """As in a port list or, with a semicolon, as a statement."""
        kind = "reg" if self.register else "" if self.direction else "wire"
        bits = f"[{self.width - 1}:0]" if self.width > 1 else ""
        init = f"= {self.init}" if self.init else ""
        return " ".join(filter(None, (self.direction, kind, bits, self.name, self.words, init)))


@dataclass
class Assign:
    """``assign target = value;``."""

    target: str
    value: str


@dataclass
class Process:
    """``always`` or ``initial``; the body without its ``begin`` and ``end``."""

    start: str
    body: list[str]
    label: str = ""
    comment: str = ""  # a line above it


@dataclass
class Instance:
    """An instance of a module: pin to what is connected."""

    module: str
    name: str
    pins: dict[str, str]


Statement = Assign | Process | Instance


@dataclass
class Module:
    """A module: nets by name, ports first, and statements in order."""

    name: str
    nets: dict[str, Net] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    constants: dict[str, tuple[int, int]] = field(default_factory=dict)  # widths and values

    @property
    def ports(self) -> list[Net]:
        """Ports in order."""
        return [net for net in self.nets.values() if net.direction]

    def bits(self, text: str) -> int | None:
        """Width of a net or of a constant slice of one; None for anything else."""
        found = self.nets.get(text)
        if found is not None:
            return None if found.words else found.width
        match = SLICE.fullmatch(text)
        if match is None or match[1] not in self.nets or self.nets[match[1]].words:
            return None
        return int(match[2]) - int(match[3] or match[2]) + 1

    def new_net(self, width: int) -> str:
        """A net without a name of its own."""
        name = f"_{len(self.nets)}_"
        while name in self.nets:
            name = f"_0{name[1:]}"
        self.nets[name] = Net(name, width)
        return name

    def rename(self, names: Mapping[str, str]) -> None:
        """Give nets other names wherever they occur."""
        for statement in self.statements if names else ():
            if isinstance(statement, Assign):
                statement.target = renamed(statement.target, names)
                statement.value = renamed(statement.value, names)
            elif isinstance(statement, Process):
                statement.body = renamed("\n".join(statement.body), names).split("\n")
            else:
                statement.pins = {pin: renamed(net, names) for pin, net in statement.pins.items()}

    def reads(self, outputs: Mapping[str, set[str]]) -> list[str]:
        """Names that are read, as often as they are; ``outputs`` are those of every module."""
        return NAME.findall("\n".join(self.read_texts(outputs)))

    def read_texts(self, outputs: Mapping[str, set[str]]) -> Iterator[str]:
        """What statements read: values, conditions, places that are computed."""
        for statement in self.statements:
            if isinstance(statement, Assign):
                yield statement.value
            elif isinstance(statement, Process):
                for line in statement.body:
                    if (step := STEP.fullmatch(line)) is None:
                        yield line
                    else:
                        yield from (match[0] for match in _COMPUTED.finditer(step[2]))
                        yield step[4]
            else:
                driven = outputs[statement.module]
                yield from (net for pin, net in statement.pins.items() if pin not in driven)

    def names(self) -> list[str]:
        """Names that occur in statements."""
        texts: list[str] = []
        for statement in self.statements:
            if isinstance(statement, Assign):
                texts += [statement.target, statement.value]
            else:
                texts += (
                    statement.body if isinstance(statement, Process) else statement.pins.values()
                )
        return NAME.findall("\n".join(texts))

    def rewrite(self, reading: Callable[[str], str], outputs: Mapping[str, set[str]]) -> None:
        """Replace whatever a statement reads; ``outputs`` are those of every module."""
        for statement in self.statements:
            if isinstance(statement, Assign):
                statement.value = reading(statement.value)
            elif isinstance(statement, Process):
                statement.body = [_rewrite_step(line, reading) for line in statement.body]
            else:
                for pin, value in statement.pins.items():
                    if pin not in outputs[statement.module]:
                        statement.pins[pin] = reading(value)


def _rewrite_step(line: str, reading: Callable[[str], str]) -> str:
    """The same for a line of a process."""
    step = STEP.fullmatch(line)
    if step is None:
        return reading(line)
    target = _COMPUTED.sub(lambda match: reading(match[0]), step[2])
    return f"{step[1]}{target} {step[3]} {reading(step[4])};"


def read(verilog: str) -> list[Module]:
    """Modules of a text that Yosys wrote."""
    modules = _MODULE.findall(verilog)
    ports = {name: _PORT.findall(body) for name, body in modules}
    return [_read_module(name, body, ports) for name, body in modules]


Ports = Mapping[str, Collection[tuple[str, str]]]
"""Module to directions and names of its ports."""


def _read_module(name: str, body: str, ports: Ports) -> Module:
    """A module; ``ports`` are those of every module."""
    module = Module(name)
    body = _plain_names(_KICK.sub("", body))
    for line in body.splitlines():
        if line.startswith(_DECLARES) and (match := _DECLARATION.fullmatch(line)):
            kind, high, net, words, init = match.groups()
            declared = module.nets.setdefault(net, Net(net, int(high or 0) + 1))
            declared.direction = kind if kind in ("input", "output") else declared.direction
            declared.register |= kind == "reg"
            declared.words = words or declared.words
            declared.init = init or declared.init
    lines = iter(_without_aliases(module, body, ports).splitlines())
    for line in lines:
        if line.startswith("  assign "):
            target, _, value = line[len("  assign ") : -1].partition(" = ")
            module.statements.append(Assign(target, value))
        elif line.endswith(" ("):
            kind, instance = line.split()[:2]
            pins = [_PIN.fullmatch(pin) for pin in iter(lines.__next__, "  );")]
            module.statements.append(Instance(kind, instance, {p[1]: p[2] for p in pins if p}))
        elif line.startswith(("  always", "  initial")):
            start = line.removesuffix(" begin")
            body_lines = list(iter(lines.__next__, "  end")) if start != line else [next(lines)]
            module.statements.append(Process(start, body_lines))
        elif not line.startswith(_DECLARES):
            raise AssertionError(f"Yosys wrote what is not understood: {line}")
    return module


def _plain_names(body: str) -> str:
    """Names that need no escape, all of them different."""
    taken = set(NAME.findall(body))
    found: dict[str, str] = {}
    singles = {name: name.replace("__", "_") for name in sorted(taken) if "__" in name}
    singles = {name: single for name, single in singles.items() if single not in taken}
    taken |= set(singles.values())
    if singles:
        body = _DOUBLE.sub(lambda match: singles.get(match[0], match[0]), body)

    def plain(name: str) -> str:
        name = _NUMBERED.sub(numbered, name)
        name = re.sub(r"\W+", "_", name.replace("__", "_")).strip("_")
        while name in taken:
            name += "_"
        taken.add(name)
        return name

    numbers: dict[str, list[str]] = {}

    def numbered(match: re.Match[str]) -> str:
        """Amaranth numbers all names of a module, we those that are equal."""
        same = numbers.setdefault(match[1], [])
        if match[2] not in same:
            same.append(match[2])
        return f"{match[1]}_{same.index(match[2]) + 2}"

    def replaced(match: re.Match[str]) -> str:
        if match[1] not in found:
            found[match[1]] = plain(match[1])
        return found[match[1]]

    return _ESCAPED.sub(replaced, body)


def _without_aliases(module: Module, body: str, ports: Ports) -> str:
    """One name for nets that are equal: a port's, else one of its own, else one of an instance.

    Of several instances it is that of the one that drives the net; ``ports`` are those of every
    module.
    """
    best: dict[str, str] = {}
    pins = {
        f"{name}_{pin}": 2 if direction == "output" else 3
        for kind, name in _INSTANCE.findall(body)
        for direction, pin in ports[kind]
    }

    def rank(net: Net) -> int:
        if net.direction:
            return 0
        return 4 if net.anonymous else pins.get(net.name, 1)

    def root(name: str) -> str:
        while name in best:
            name = best[name]
        return name

    kept = set()
    for target, source in _ALIAS.findall(body):
        one, other = module.nets[root(target)], module.nets[root(source)]
        if one is other or (one.direction and other.direction):
            kept.add((target, source))
            continue
        if rank(other) <= rank(one):
            one, other = other, one
        best[other.name] = one.name
        one.register |= other.register
        one.init = one.init or other.init
        del module.nets[other.name]

    body = _ALIAS.sub(lambda match: match[0] if match.groups() in kept else "", body)
    names = {name: root(name) for name in best}
    return renamed(body, names) if names else body


def write(module: Module, comment: str) -> str:
    """Verilog of a module below a comment."""
    lines = [f"// {line}" for line in textwrap.wrap(comment, WIDTH - 3)]
    ports = ",\n".join(f"  {net.declaration()}" for net in module.ports)
    lines.append(f"module {module.name} (\n{ports}\n);")
    for name, (width, value) in module.constants.items():
        lines.append(f"  localparam [{width - 1}:0] {name} = {width}'h{value:x};")
    lines += [f"  {net.declaration()};" for net in module.nets.values() if not net.direction]
    for statement in module.statements:
        lines += lines_of(statement)
    return "\n".join([*lines, "endmodule"]) + "\n"


def lines_of(statement: Statement) -> list[str]:
    """A statement as lines of a module."""
    if isinstance(statement, Assign):
        choices = _choices(statement.value)
        if len(choices) >= _CHAIN:
            lines = [f"  assign {statement.target} =", *(f"    {choice}" for choice in choices)]
            return [part for line in lines for part in _wrap(line)]
        return _wrap(f"  assign {statement.target} = {statement.value};")
    if isinstance(statement, Process):
        comment = [f"  // {statement.comment}"] if statement.comment else []
        body = [part for line in statement.body for part in _wrap(line)]
        first, *others = [line for line in statement.body if line[4:5] != " "]
        if not others or (
            first.startswith(("    if (", "    case"))
            and all(line.startswith("    end") for line in others)
        ):  # it is a single statement
            return [*comment, statement.start, *body]
        label = f" : {statement.label}" if statement.label else ""
        return [*comment, f"{statement.start} begin{label}", *body, "  end"]
    pins = [part for pin, net in statement.pins.items() for part in _wrap(f"    .{pin}({net}),")]
    if pins:
        pins[-1] = pins[-1].removesuffix(",")
    return [f"  {statement.module} {statement.name} (", *pins, "  );"]


def _choices(value: str) -> list[str]:
    """A choice whose last alternative is a choice again, as a line for each."""
    lines = []
    while " : " in value:
        end = _top(value, " : ")
        if not end:
            break
        lines.append(value[: end + 2])
        value = value[end + 3 :]
        if value[0] == "(" and _top(value + " ", " ") == len(value):
            value = value[1:-1]
    return [*lines, f"{value};"]


def _top(text: str, wanted: str) -> int:
    """Where something comes outside of brackets; 0 if it does not."""
    depth, start, place = 0, 0, text.find(wanted)
    while place >= 0:
        passed = text[start:place]
        depth += passed.count("(") + passed.count("{") - passed.count(")") - passed.count("}")
        if not depth:
            return place
        start, place = place, text.find(wanted, place + 1)
    return 0


def _wrap(line: str) -> list[str]:
    """Lines that end after a comma or before an operator."""
    if len(line) <= WIDTH:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    lines = textwrap.wrap(
        _TOGETHER.sub(lambda match: match[0].replace(" ", _TIE), _tied(line.lstrip())),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [part.replace(_TIE, " ") for part in lines]


def _tied(text: str) -> str:
    """A text whose short groups in brackets, and short parts of concatenations, stay together."""
    pieces = list(text)
    begun: list[int] = []  # where a group, or a part of a concatenation, begins
    for end, letter in enumerate(text):
        if letter in "({":
            begun.append(end + 1)
        elif letter in ")}" or (letter == "," and begun):
            start = begun.pop()
            if end - start <= _SHORT:
                inside = slice(start + text[start].isspace(), end - text[end - 1].isspace())
                pieces[inside] = [_TIE if piece == " " else piece for piece in pieces[inside]]
            if letter == ",":
                begun.append(end + 1)
    return "".join(pieces)


_SHORT = 60  # columns of a group within which no line ends
_CHAIN = 4  # lines of choices that are one each

_TIE = "\0"  # a space at which no line ends
_TOGETHER = re.compile(r" (?:[=!<>]=|<<|>>>?|[<>*]) |(?<= )[-+&|^?:] |\{ | \}")
