"""Verilog as Yosys writes it, made readable without a change of cycles or values.

Yosys writes one operator a line, has no name for intermediate results, and splits a register into
its next value and its update. Here

* a field of a record goes by its name, and a record is put together from its fields;
* a register is described by one ``always @(posedge clk)``;
* what has no name and is used once moves to where it is used.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .expressions import Expressions
from .verilog_module import (
    NAME,
    SLICE,
    STEP,
    Assign,
    Instance,
    Module,
    Process,
    read,
    write,
)

_CLEARED = 4  # equal words of a memory from which on a loop sets them


@dataclass(frozen=True)
class Description:
    """What is known of a module: a line about it, and its ports in order."""

    summary: str
    ports: Sequence[str]


def readable(verilog: str, descriptions: Mapping[str, Description]) -> str:
    """Readable Verilog of what Yosys wrote, its modules in the order of the descriptions."""
    modules = {module.name: module for module in read(verilog)}
    for name, description in descriptions.items():
        _order_nets(modules[name], description.ports)
    outputs = {
        name: {port.name for port in module.ports if port.direction == "output"}
        for name, module in modules.items()
    }
    for module in modules.values():
        _name_fields(module, outputs)
        _name_results(module, outputs)
        _join_registers(module, outputs)
        Expressions(module, outputs).inline()
        _forget_unused(module, outputs)
        for statement in module.statements:
            if isinstance(statement, Process):
                _shorten(statement)
            elif isinstance(statement, Instance):
                ports = [port.name for port in modules[statement.module].ports]
                statement.pins = {p: statement.pins[p] for p in ports if p in statement.pins}
    text = "\n".join(
        write(modules[name], description.summary) for name, description in descriptions.items()
    )
    return _LEADING_ZEROS.sub(r"\1", text)


_LEADING_ZEROS = re.compile(r"(\b\d+'h)0+(?=[0-9a-f]+\b)")
"""Of constants: the width says it all, and wide ones would not fit into a line."""


def _order_nets(module: Module, ports: Sequence[str]) -> None:
    """Ports as given, nets without a name last."""
    rank = {name: number for number, name in enumerate(ports)}
    last = len(rank)
    module.nets = dict(
        sorted(module.nets.items(), key=lambda item: rank.get(item[0], last + item[1].anonymous))
    )


# --- fields of records ------------------------------------------------------------------------


def _name_fields(module: Module, outputs: Mapping[str, set[str]]) -> None:
    """Read fields of records by name, and put records together from their fields."""
    drivers = {s.target: s for s in module.statements if isinstance(s, Assign) and "[" in s.target}
    names: dict[str, str] = {}  # what is read instead of slices and of second names
    views: list[Assign] = []
    statements = []
    for statement in module.statements:
        if not (isinstance(statement, Assign) and _is_view(module, statement)):
            statements.append(statement)
            continue
        name, part = statement.target, statement.value
        driver = drivers.get(part)
        if part in names:
            names[name] = names[part]
        elif driver is None:
            names[part] = name
            views.append(statement)
        elif _has_name(module, driver.value):
            names[part] = names[name] = driver.value
        else:
            names[part] = driver.target = name
    statements += list(_records(module, drivers))
    module.statements = [s for s in statements if not isinstance(s, Assign) or s.target]

    def last(match: re.Match[str]) -> str:
        name = match[0]
        while name in names:
            name = names[name]
        return name

    def named(text: str) -> str:
        return NAME.sub(last, SLICE.sub(last, text))

    module.rewrite(named, outputs)
    module.statements = [*views, *module.statements]


def _is_view(module: Module, statement: Assign) -> bool:
    """Whether a statement gives a name to a slice."""
    match = SLICE.fullmatch(statement.value)
    return match is not None and match[1] in module.nets and _has_name(module, statement.target)


def _has_name(module: Module, text: str) -> bool:
    net = module.nets.get(text)
    return net is not None and not net.anonymous and net.direction != "output"


def _records(module: Module, drivers: Mapping[str, Assign]) -> Iterator[Assign]:
    """Assignments of records whose fields now have names, as a whole where all of it is known."""
    records: dict[str, list[tuple[int, str, Assign]]] = {}
    for part, driver in drivers.items():
        match = SLICE.fullmatch(part)
        if match is not None:
            records.setdefault(match[1], []).append((int(match[3] or match[2]), part, driver))
    for record, fields in records.items():
        fields.sort(key=lambda entry: -entry[0])
        widths = [module.bits(part) or 0 for _, part, _ in fields]
        whole = sum(widths) == module.nets[record].width
        simple = all(d.target != part or _is_operand(module, d.value) for _, part, d in fields)
        if whole and simple:
            items = [d.value if d.target == part else d.target for _, part, d in fields]
            yield Assign(record, f"{{ {', '.join(items)} }}")
            for _, part, driver in fields:
                if driver.target == part:
                    driver.target = ""  # it is part of the whole now
        else:
            yield from (Assign(part, d.target) for _, part, d in fields if d.target != part)


def _is_operand(module: Module, text: str) -> bool:
    return module.bits(text) is not None or re.fullmatch(r"\d+'\w+", text) is not None


def _name_results(module: Module, outputs: Mapping[str, set[str]]) -> None:
    """What has no name takes that of the field it becomes, or gives way to what it is."""
    names: dict[str, str] = {}
    statements = []
    sliced: set[str] = set()

    def note(text: str) -> str:
        sliced.update(match[1] for match in SLICE.finditer(text))
        return text

    module.rewrite(note, outputs)
    for statement in module.statements:
        if (
            isinstance(statement, Assign)
            and statement.target in module.nets
            and module.nets[statement.target].anonymous
            and statement.target not in sliced
            and statement.target not in names
            and _is_operand(module, statement.value)
        ):
            names[statement.target] = statement.value
        elif (
            isinstance(statement, Assign)
            and _has_name(module, statement.target)
            and statement.value in module.nets
            and module.nets[statement.value].anonymous
            and statement.value not in names
        ):
            names[statement.value] = statement.target
            module.nets[statement.target].register |= module.nets[statement.value].register
        else:
            statements.append(statement)
    module.statements = statements
    for name, value in names.items():  # one may stand for another
        while value in names:
            value = names[value]
        names[name] = value
    module.rename(names)


# --- registers --------------------------------------------------------------------------------


def _join_registers(module: Module, outputs: Mapping[str, set[str]]) -> None:
    """Describe registers where their next value is computed."""
    reads = Counter(module.reads(outputs))
    processes = [s for s in module.statements if isinstance(s, Process)]
    computed: dict[str, Process] = {}
    for process in processes:
        if "@*" in process.start:
            targets = {
                step[2].partition("[")[0] for step in map(STEP.fullmatch, process.body) if step
            }
            if len(targets) == 1:
                computed[targets.pop()] = process
    joined = set()
    for process in processes:
        update = STEP.fullmatch(process.body[0])
        if update is None or len(process.body) > 1 or reads[update[4]] != 1:
            continue
        register, following = update[2], update[4]
        if following in computed and module.nets[following].anonymous:
            joined.add(id(computed[following]))
            process.body = list(_joined(computed[following].body, register))
    module.statements = [s for s in module.statements if id(s) not in joined]


def _joined(body: list[str], register: str) -> Iterator[str]:
    """Lines that compute a next value, as lines that update the register."""
    for line in body:
        step = STEP.fullmatch(line)
        if step is not None and line.startswith("    ") and line[4] != " " and step[4] == register:
            continue  # it holds otherwise
        if step is not None:
            place = step[2].partition("[")
            yield f"{step[1]}{register}{''.join(place[1:])} <= {step[4]};"
        elif "at_start" not in line:
            yield line


def _shorten(process: Process) -> None:
    """A single line needs no ``begin``; a loop gives equal words of a memory their contents."""
    body: list[str] = []
    for line in process.body:
        body.append(line)
        if line.strip() == "end" and len(body) > 2 and STEP.fullmatch(body[-2]):
            opening = body[-3]
            if opening.lstrip().startswith("if (") and opening.endswith(" begin"):
                body[-3:] = [opening.removesuffix(" begin"), body[-2]]
    words = [step for step in map(STEP.fullmatch, body) if step]
    if "initial" in process.start and len(words) == len(body) > _CLEARED:
        common, times = Counter(step[4] for step in words).most_common(1)[0]
        if times > _CLEARED:
            memory = words[0][2].partition("[")[0]
            filled = [step for step in words if step[4] != common]
            process.label = f"{'fill' if filled else 'clear'}_{memory}"
            body = [
                "    integer i;",
                f"    for (i = 0; i < {len(words)}; i = i + 1)",
                f"      {memory}[i] = {common};",
                *(f"    {step[2]} = {_hexadecimal(step[4])};" for step in filled),
            ]
    process.body = body


def _hexadecimal(constant: str) -> str:
    """A constant in base 16, whichever base it is in."""
    width, _, value = constant.partition("'d")
    return f"{width}'h{int(value):x}" if value else constant


# --- what is left over ------------------------------------------------------------------------


def _forget_unused(module: Module, outputs: Mapping[str, set[str]]) -> None:
    """Remove what nobody reads."""
    reads = Counter(module.reads(outputs))
    drivers: dict[str, list[Assign]] = {}
    for statement in module.statements:
        if isinstance(statement, Assign) and "{" not in statement.target:
            drivers.setdefault(statement.target.partition("[")[0], []).append(statement)
    unread = [name for name in drivers if not reads[name] and not module.nets[name].direction]
    forgotten = set()
    for name in unread:  # grows
        for driver in drivers.get(name, ()):
            forgotten.add(id(driver))
            for read_there in NAME.findall(driver.value):
                reads[read_there] -= 1
                if not reads[read_there] and not module.nets[read_there].direction:
                    unread.append(read_there)
    module.statements = [s for s in module.statements if id(s) not in forgotten]
    used = set(module.names())
    module.nets = {name: net for name, net in module.nets.items() if net.direction or name in used}
