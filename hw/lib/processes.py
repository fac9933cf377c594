"""Processes of Verilog: a register in one block, registers of equal conditions together.

Yosys splits a register into a process that computes its next value and one that takes it over. A
value that depends on a condition is a process, too, even where an expression says it in a line.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from .cases import CASE, LABEL
from .verilog_module import NAME, STEP, Assign, Module, Net, Process, Statement

_CLEARED = 4  # equal words of a memory from which on a loop sets them
_CHOICES = 5  # conditions of a process that are too many for an expression
_LABELS = 3  # labels of a case that are too many

_IF = re.compile(r" *(?:end else )?if \((.*)\) begin")


def join_registers(module: Module, outputs: Mapping[str, set[str]]) -> None:
    """Describe registers where their next value is computed."""
    reads = Counter(module.reads(outputs))
    processes = [s for s in module.statements if isinstance(s, Process)]
    computed: dict[str, Process] = {}
    for process in filter(_is_combinational, processes):
        targets = _targets(process)
        if len(targets) == 1:
            computed[targets.pop()] = process
    joined = set()
    for process in processes:
        update = STEP.fullmatch(process.body[0])
        if (
            update is None
            or len(process.body) > 1
            or _is_combinational(process)
            or reads[update[4]] != 1
        ):
            continue
        register, following = update[2], update[4]
        if following in computed and module.nets[following].anonymous:
            joined.add(id(computed[following]))
            process.body = _chosen(list(_joined(computed[following].body, register)))
    module.statements = [s for s in module.statements if id(s) not in joined]


def _is_combinational(process: Process) -> bool:
    return "@*" in process.start


def _targets(process: Process) -> set[str]:
    """Names of what a process assigns."""
    return {step[2].partition("[")[0] for step in map(STEP.fullmatch, process.body) if step}


def _joined(body: list[str], register: str) -> Iterator[str]:
    """Lines that compute a next value, as lines that update the register."""
    for line in body:
        step = STEP.fullmatch(line)
        if step is None:
            yield line
            continue
        _, bracket, place = step[2].partition("[")
        if len(step[1]) == 4 and step[4] == register + bracket + place:
            continue  # it holds otherwise
        yield f"{step[1]}{register}{bracket}{place} <= {step[4]};"


def _chosen(body: list[str]) -> list[str]:
    """A case of one bit as an expression."""
    if len(body) == 6 and (case := CASE.fullmatch(body[0])):
        low, high = STEP.fullmatch(body[2]), STEP.fullmatch(body[4])
        labels = body[1].strip(), body[3].strip()
        if low and high and low[2] == high[2] and labels == ("1'h0:", "1'h1:"):
            return [f"    {low[2]} {low[3]} {case[1]} ? {high[4]} : {low[4]};"]
    return body


# --- values -----------------------------------------------------------------------------------


def to_expressions(module: Module) -> None:
    """Assign what depends on a condition or two, rather than compute it in a process."""
    writers: dict[str, list[Process]] = {}
    for statement in module.statements:
        if isinstance(statement, Process):
            for target in _targets(statement):
                writers.setdefault(target, []).append(statement)
    found: dict[int, list[Assign]] = {}
    for target, processes in writers.items():
        if module.nets[target].words or not all(map(_is_combinational, processes)):
            continue
        assigned = [_Value(module, process).assigned() for process in processes]
        if all(assigned):
            module.nets[target].register = False
            found.update(zip(map(id, processes), assigned, strict=True))
    module.statements = [s for old in module.statements for s in found.get(id(old), [old])]


class _Value:
    """What a process computes, read line by line into one expression."""

    def __init__(self, module: Module, process: Process):
        self.module = module
        self.body = _chosen(process.body)
        self.lines = iter(self.body)
        self.steps: list[Assign] = []

    def assigned(self) -> list[Assign]:
        """Assignments that give the value; none where a process says it better."""
        places = {step[2] for step in map(STEP.fullmatch, self.body) if step}
        choices = sum(_IF.fullmatch(line) is not None for line in self.body)
        labels = sum(LABEL.fullmatch(line) is not None for line in self.body)
        if len(places) > 1 or choices >= _CHOICES or labels >= _LABELS:
            return []
        value = self._last()
        return [*self.steps, Assign(places.pop(), value)] if value else []

    def _last(self) -> str:
        """The value after all lines, empty if it is unknown."""
        value = ""
        for line in self.lines:
            if step := STEP.fullmatch(line):
                value = step[4]
            elif choice := _IF.fullmatch(line):
                value = self._choice(choice[1], value)
            elif case := CASE.fullmatch(line):
                value = self._entry(case[1], value)
            else:
                return ""
        return value

    def _choice(self, condition: str, otherwise: str) -> str:
        """The value after an ``if`` whose first line has been read."""
        step, end = STEP.fullmatch(next(self.lines)), next(self.lines).strip()
        if step is None:
            return ""
        if following := _IF.fullmatch(end):
            otherwise = self._choice(following[1], otherwise)
        elif end == "end else begin":
            last = STEP.fullmatch(next(self.lines))
            otherwise = last[4] if last and next(self.lines).strip() == "end" else ""
        elif end != "end":
            return ""
        return otherwise and f"{condition} ? {step[4]} : {self._operand(otherwise, step[2])}"

    def _entry(self, selector: str, otherwise: str) -> str:
        """The value after the rest of a case, whose last label stands for all others."""
        label = next(self.lines).strip().removesuffix(":")
        if label == "endcase":
            return otherwise
        step = STEP.fullmatch(next(self.lines))
        if step is None or "?" in label or "," in label:
            return ""
        value = self._entry(selector, otherwise)
        if not value or label == "default":
            return step[4]
        condition = self._net(f"{selector} == {label}", 1)
        return f"{condition} ? {step[4]} : {self._operand(value, step[2])}"

    def _operand(self, value: str, target: str) -> str:
        """The value, or a net of its own where it is an expression."""
        return self._net(value, self.module.bits(target) or 1) if " ? " in value else value

    def _net(self, value: str, width: int) -> str:
        """A net without a name for an expression."""
        name = self.module.new_net(width)
        self.steps.append(Assign(name, value))
        return name


# --- the first run ----------------------------------------------------------------------------

_AWAITED = "Changes at time 0, on which every always @* waits."


def wake(module: Module) -> None:
    """See to it that simulators run every process at first, which waits for a change.

    SystemVerilog gives registers the values of their declarations before any process waits, and
    then no wire need change either. So every process reads a register that an ``initial`` block
    sets: one of those that it reads anyway, as few as there can be, else one for that purpose.
    """
    processes = [s for s in module.statements if isinstance(s, Process) and _is_combinational(s)]
    readers: dict[str, set[int]] = {}
    for number, process in enumerate(processes):
        for name in NAME.findall("\n".join(process.body)):
            if name in module.nets and module.nets[name].initialised:
                readers.setdefault(name, set()).add(number)
    asleep = set(range(len(processes)))
    chosen: list[str] = []
    while any(asleep & numbers for numbers in readers.values()):
        chosen.append(max(readers, key=lambda name: len(readers[name] & asleep)))
        asleep -= readers[chosen[-1]]
    if asleep:
        chosen.append(_add_start(module, [processes[number] for number in asleep]))
    body = []
    for name in chosen:
        net = module.nets[name]
        body.append(f"    {name} = {net.init};")
        net.init = ""
    if body:
        module.statements.append(Process("  initial", body, comment=_AWAITED))


def _add_start(module: Module, processes: list[Process]) -> str:
    """A register that processes read to no other end."""
    name = "at_start"
    while name in module.nets:
        name += "_"
    module.nets[name] = Net(name, register=True, init="1'b0")
    for process in processes:
        process.body.insert(0, f"    if ({name}) begin end")
    return name


# --- what is left of them ---------------------------------------------------------------------


def merge_registers(module: Module) -> None:
    """Describe registers that change under the same conditions in one process."""
    memories = {name for name, net in module.nets.items() if net.words}
    merged: dict[tuple[str, ...], tuple[Process, list[list[str]]]] = {}
    statements: list[Statement] = []
    for statement in module.statements:
        if isinstance(statement, Process) and "posedge" in statement.start:
            body = _without_repetition(statement.body)
            if not memories or memories.isdisjoint(NAME.findall("\n".join(body))):
                frame, runs = _runs(body)
                if frame in merged:
                    for run, more in zip(merged[frame][1], runs, strict=True):
                        run += more
                    continue
                merged[frame] = statement, runs
            statement.body = body
        statements.append(statement)
    for frame, (process, runs) in merged.items():
        process.body = list(_merged(frame, iter(runs)))
    module.statements = statements


def _merged(frame: tuple[str, ...], runs: Iterator[list[str]]) -> Iterator[str]:
    """Lines of a process, assignments in their places; several below a label are a block."""
    label = ""
    for line in frame:
        run = [] if line else next(runs)
        block = label[: -len(label.lstrip())] if label and len(run) > 1 else None
        if block is not None:
            run = [f"{block}begin", *run, f"{block}end"]
        yield from run
        label = line if LABEL.fullmatch(line) else ""
        if line:
            yield line


def _without_repetition(body: list[str]) -> list[str]:
    """One block for a condition that comes twice in a row."""
    lines: list[str] = []
    opened = ""
    for line in body:
        if line == opened and lines[-1] == "    end":
            del lines[-1]
            continue
        if not line.startswith("     "):
            opened = line if line.startswith("    if (") else "" if "else" in line else opened
        lines.append(line)
    return lines


def _runs(body: list[str]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Lines of a process, and what it assigns between them, empty lines in its place."""
    frame: list[str] = []
    runs: list[list[str]] = []
    for line in body:
        if STEP.fullmatch(line) is None:
            frame.append(line)
        elif frame and not frame[-1]:
            runs[-1].append(line)
        else:
            frame.append("")
            runs.append([line])
    return tuple(frame), runs


def shorten(process: Process) -> None:
    """A single line needs no ``begin`` and a label no line; a loop fills a memory."""
    body: list[str] = []
    exact = not any("?" in line for line in process.body if LABEL.fullmatch(line))
    for line in process.body:
        last = body[-1] if body else ""
        if exact and CASE.fullmatch(line):
            line = line.replace("casez", "case")
        elif LABEL.fullmatch(last) and (STEP.fullmatch(line) or line.strip() in ("begin", ";")):
            line = f"{body.pop()} {line.strip()}"
        elif line.lstrip().startswith("end else if (") and _IF.fullmatch(last):
            line = _unless(body.pop(), line)
        body.append(line)
    text = _SINGLE.sub(_without_begin, "\n".join(body))
    body = _NESTED.sub(_both, text).split("\n")
    if "initial" in process.start and len(body) > _CLEARED:
        body = _filled(process, body)
    process.body = body


_SINGLE = re.compile(
    r"^( *)if \(.*\) begin\n"
    r"( *\S+ <?= .*;\n"
    r"\1end else (?:if \(.*\) )?begin\n)*"
    r" *\S+ <?= .*;\n\1end$",
    re.MULTILINE,
)
"""A condition, or several in turn, below each of which there is a single line."""


_NESTED = re.compile(
    r"^( *)if \((.*)\) begin\n\1  if \((.*)\)\n\1    (\S+ <?= .*;)\n\1end$", re.MULTILINE
)
"""A condition below which there is nothing but another one, with a single line."""


def _both(nested: re.Match[str]) -> str:
    """One condition for two."""
    indent, outer, inner, step = nested.groups()
    return f"{indent}if ({_conjunct(outer)} && {_conjunct(inner)})\n{indent}  {step}"


def _conjunct(condition: str) -> str:
    """A condition beside others of which all must hold."""
    return condition if re.fullmatch(r"!?\w+(?: && !?\w+)*", condition) else f"({condition})"


def _without_begin(choice: re.Match[str]) -> str:
    """Conditions without ``begin`` and ``end``."""
    lines = choice[0].split("\n")[:-1]
    return "\n".join(line.replace("end else", "else").removesuffix(" begin") for line in lines)


def _unless(empty: str, choice: str) -> str:
    """The line of a choice whose first block, before it, is empty."""
    no, yes = (_IF.sub(r"\1", line) for line in (empty, choice))
    no = no if no.isidentifier() else f"({no})"
    return f"{empty[: empty.index('if')]}if (!{no} && {_conjunct(yes)}) begin"


def _filled(process: Process, body: list[str]) -> list[str]:
    """Lines that set the words of a memory, as a loop where most get the same."""
    words = [step for step in map(STEP.fullmatch, body) if step]
    if len(words) < len(body):
        return body
    common, times = Counter(step[4] for step in words).most_common(1)[0]
    if times <= _CLEARED:
        return body
    memory = words[0][2].partition("[")[0]
    others = [step for step in words if step[4] != common]
    process.label = f"{'fill' if others else 'clear'}_{memory}"
    return [
        "    integer i;",
        f"    for (i = 0; i < {len(words)}; i = i + 1)",
        f"      {memory}[i] = {common};",
        *(f"    {step[2]} = {_hexadecimal(step[4])};" for step in others),
    ]


def _hexadecimal(constant: str) -> str:
    """A constant in base 16, whichever base it is in."""
    width, _, value = constant.partition("'d")
    return f"{width}'h{int(value):x}" if value else constant
