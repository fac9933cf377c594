"""Verilog as Yosys writes it, made readable without a change of cycles or values.

Yosys writes one operator a line, has no name for intermediate results, and splits a register into
its next value and its update. Here

* a field of a record goes by its name, and a record is put together from its fields;
* a register is described where its next value is computed, with those that change as it does;
* what has no name and is used once moves to where it is used;
* states of a state machine, and codes, go by their names;
* values come in the order in which they depend on each other, then registers, then instances.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .cases import simplify
from .codes import Codes, name_codes
from .expressions import Expressions
from .processes import join_registers, merge_registers, shorten, to_expressions, wake
from .verilog_module import (
    NAME,
    SLICE,
    STEP,
    Assign,
    Instance,
    Module,
    Process,
    Statement,
    part_of,
    read,
    write,
)


@dataclass(frozen=True)
class Description:
    """What is known of a module: a line about it, its ports in order, what numbers stand for."""

    summary: str
    ports: Sequence[str]
    states: Codes = field(default_factory=dict)
    codes: Codes = field(default_factory=dict)


def readable(verilog: str, descriptions: Mapping[str, Description]) -> str:
    """Readable Verilog of what Yosys wrote, its modules in the order of the descriptions."""
    modules = {module.name: module for module in read(verilog)}
    for name, description in descriptions.items():
        _order_nets(modules[name], description.ports)
    outputs = {
        name: {port.name for port in module.ports if port.direction == "output"}
        for name, module in modules.items()
    }
    for name, description in descriptions.items():
        module = modules[name]
        _cut_targets(module, outputs)
        _name_fields(module, outputs)
        _name_ports(module)
        _name_outputs(module, outputs)
        _name_results(module, outputs)
        join_registers(module, outputs)
        simplify(module)
        to_expressions(module)
        _name_parts(module, outputs)
        Expressions(module, outputs).inline()
        _forget_unused(module, outputs)
        merge_registers(module)
        module.statements = _ordered(module.statements)
        _order_nets(module, description.ports)
        name_codes(module, description.states, description.codes)
        for statement in module.statements:
            if isinstance(statement, Process):
                shorten(statement)
            elif isinstance(statement, Instance):
                ports = [port.name for port in modules[statement.module].ports]
                statement.pins = {p: statement.pins[p] for p in ports if p in statement.pins}
        wake(module)
    text = "\n".join(
        write(modules[name], description.summary) for name, description in descriptions.items()
    )
    return _BIT.sub(r"1'b\1", _LEADING_ZEROS.sub(r"\1", text))


_LEADING_ZEROS = re.compile(r"(\b\d+'h)0+(?=[0-9a-f]+\b)")
"""Of constants: the width says it all, and wide ones would not fit into a line."""
_BIT = re.compile(r"\b1'h([01])\b")


def _order_nets(module: Module, ports: Sequence[str]) -> None:
    """Ports as given, nets without a name last."""
    rank = {name: number for number, name in enumerate(ports)}
    last = len(rank)
    module.nets = dict(
        sorted(module.nets.items(), key=lambda item: rank.get(item[0], last + item[1].anonymous))
    )


def _cut_targets(module: Module, outputs: Mapping[str, set[str]]) -> None:
    """Assign what is read of a result, not its upper bits, where these alone have no name."""
    wide = [
        (statement, match)
        for statement in module.statements
        if isinstance(statement, Assign)
        and (match := _WIDE.fullmatch(statement.target))
        and _UNSIGNED_SUM.fullmatch(statement.value)
    ]
    reads = set(module.reads(outputs)) if wide else set()
    for statement, match in wide:
        if match[1] not in reads:
            statement.target = match[2]


_WIDE = re.compile(r"\{ (_\d+_)\[\d+(?::\d+)?\], (\w+) \}")
_UNSIGNED_SUM = re.compile(r"[^$?]* [+*-] [^$?]*")


# --- fields of records ------------------------------------------------------------------------


def _name_fields(module: Module, outputs: Mapping[str, set[str]]) -> None:
    """Read fields of records by name, and put records together from their fields."""
    drivers = {s.target: s for s in module.statements if isinstance(s, Assign) and "[" in s.target}
    names: dict[str, str] = {}  # what is read instead of slices and of second names
    views: list[Assign] = []
    statements = []
    instances = tuple(f"{s.name}_" for s in module.statements if isinstance(s, Instance))
    inputs = tuple(
        f"{statement.name}_{pin}"
        for statement in module.statements
        if isinstance(statement, Instance)
        for pin in statement.pins
        if pin not in outputs[statement.module]
    )
    own_first = sorted(
        module.statements,
        key=lambda s: isinstance(s, Assign) and s.target.startswith(instances),
    )
    for statement in own_first:
        if not (isinstance(statement, Assign) and _is_view(module, statement)):
            statements.append(statement)
            continue
        name, part = statement.target, statement.value
        driver = drivers.get(part)
        if part in names:
            names[name] = names[part]
        elif driver is None and name.startswith(inputs):
            names[name] = part  # no name of its own for what an instance takes
        elif driver is None:
            names[part] = name
            views.append(statement)
        elif _has_name(module, driver.value):
            names[part] = names[name] = driver.value
        else:
            names[part] = driver.target = name
    statements += list(_records(module, drivers))
    module.statements = [s for s in statements if not isinstance(s, Assign) or s.target]

    fields: dict[str, list[tuple[int, int, str]]] = {}
    for part in names:
        if (slice_ := SLICE.fullmatch(part)) is not None:
            high, low = int(slice_[2]), int(slice_[3] or slice_[2])
            fields.setdefault(slice_[1], []).append((high, low, part))

    def last(match: re.Match[str]) -> str:
        name = match[0]
        if name not in names and match.re is SLICE:
            name = within(match)
        while name in names:
            name = names[name]
        return name

    def within(match: re.Match[str]) -> str:
        """Bits of a field, by its name."""
        high, low = int(match[2]), int(match[3] or match[2])
        for first, final, part in fields.get(match[1], ()):
            if final <= low and high <= first:
                name = part
                while name in names:
                    name = names[name]
                if name in module.nets:
                    return part_of(name, high - final, low - final)
        return match[0]

    def named(text: str) -> str:
        return NAME.sub(last, SLICE.sub(last, text))

    if names:
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
    read = "\n".join(module.read_texts(outputs))
    sliced = {match[1] for match in SLICE.finditer(read)}
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


def _name_ports(module: Module) -> None:
    """What an output gives goes by the name of the output."""
    names: dict[str, str] = {}
    statements: list[Statement] = []
    for statement in module.statements:
        if isinstance(statement, Assign) and statement.target not in names.values():
            port, net = module.nets.get(statement.target), module.nets.get(statement.value)
            if port and net and port.direction and not net.direction and net.name not in names:
                names[net.name] = port.name
                port.register |= net.register
                port.init = port.init or net.init
                continue
        statements.append(statement)
    module.statements = statements
    module.rename(names)


def _name_outputs(module: Module, outputs: Mapping[str, set[str]]) -> None:
    """What an instance gives and nobody named goes by the instance and its port."""
    names = {}
    for statement in module.statements:
        if isinstance(statement, Instance):
            for pin, connected in statement.pins.items():
                net, name = module.nets.get(connected), f"{statement.name}_{pin}"
                output = pin in outputs[statement.module]
                if output and net is not None and net.anonymous and name not in module.nets:
                    names[net.name] = name
    module.rename(names)
    for old, name in names.items():
        module.nets[name] = replace(module.nets.pop(old), name=name)


# --- bits of vectors --------------------------------------------------------------------------


def _name_parts(module: Module, outputs: Mapping[str, set[str]]) -> None:
    """A vector that has a name, and what has none and is part of it, go by this name.

    No vector comes to depend on itself by that: tools would take it for a loop.
    """
    instances = tuple(f"{s.name}_" for s in module.statements if isinstance(s, Instance))
    own_last = sorted(
        (statement for statement in module.statements if isinstance(statement, Assign)),
        key=lambda s: not s.target.startswith(instances),
    )
    vectors = {
        statement.target: statement
        for statement in own_last
        if _VECTOR.fullmatch(statement.value) and _has_name(module, statement.target)
    }
    if not vectors:
        return
    read = "\n".join(module.read_texts(outputs))
    reads, wholes = Counter(NAME.findall(read)), Counter(_VECTOR.findall(read))
    sources = _sources(module, outputs)
    places: dict[str, tuple[str, int]] = {}  # vector and lowest bit
    names: dict[str, str] = {}
    for name, vector in vectors.items():
        found = dict(_parts(module, vector, reads, places))
        if found and not _reaches(sources, found):
            places |= found
            for part in found:
                sources[part] = {*sources.get(part, ()), *found}
        elif wholes[vector.value] == 1:
            continue
        names[vector.value] = name

    def named(match: re.Match[str]) -> str:
        if match[1] not in places:
            return match[0]
        vector, low = places[match[1]]
        high = int(match[2] or module.nets[match[1]].width - 1)
        return part_of(vector, low + high, low + int(match[3] or match[2] or 0))

    def renamed(text: str) -> str:
        text = _VECTOR.sub(lambda match: names.get(match[0], match[0]), text)
        return _PART.sub(named, text)

    if names:
        vectors_themselves = [
            (statement, statement.value)
            for statement in module.statements
            if isinstance(statement, Assign) and statement.value in names
        ]
        module.rewrite(renamed, outputs)
        for statement, value in vectors_themselves:
            statement.value = value


def _parts(
    module: Module, vector: Assign, reads: Mapping[str, int], places: Mapping[str, object]
) -> Iterator[tuple[str, tuple[str, int]]]:
    """Nets without a name that are read beside the vector, and their places in it."""
    low = module.nets[vector.target].width
    for part in vector.value[2:-2].split(", "):
        low -= module.bits(part) or int(part.partition("'")[0])
        net = module.nets.get(part)
        if net is not None and net.anonymous and part not in places and reads[part] > 1:
            yield part, (vector.target, low)


_VECTOR = re.compile(r"\{ [^{}]* \}")
_PART = re.compile(r"\b(_\d+_)(?:\[(\d+)(?::(\d+))?\])?")


def _sources(module: Module, outputs: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Nets from which others are computed, through other modules as well."""
    sources: dict[str, set[str]] = {}
    for statement in module.statements:
        if isinstance(statement, Instance):
            driven = outputs[statement.module]
            read = {pin: NAME.findall(net) for pin, net in statement.pins.items()}
            inputs = {net for pin, nets in read.items() if pin not in driven for net in nets}
            for net in (net for pin, nets in read.items() if pin in driven for net in nets):
                sources.setdefault(net, set()).update(inputs)
        elif _is_value(statement):
            names = NAME.findall(_read(statement))
            for name in _written(statement):
                sources.setdefault(name, set()).update(names)
    return sources


def _reaches(sources: Mapping[str, set[str]], nets: Collection[str]) -> bool:
    """Whether one of some nets is computed from one of them."""
    seen: set[str] = set()
    waiting = [source for net in nets for source in sources.get(net, ())]
    while waiting:
        name = waiting.pop()
        if name in nets:
            return True
        if name not in seen:
            seen.add(name)
            waiting += sources.get(name, ())
    return False


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


def _ordered(statements: Sequence[Statement]) -> list[Statement]:
    """Values before what is computed from them, then registers, then instances."""
    values = [s for s in statements if _is_value(s)]
    defined: dict[str, list[int]] = {}
    for number, statement in enumerate(values):
        for name in _written(statement):
            defined.setdefault(name, []).append(number)
    placed: dict[int, Statement] = {}
    waiting = list(reversed(range(len(values))))
    begun = set()
    while waiting:
        number = waiting[-1]
        if number in begun or number in placed:
            waiting.pop()
            placed.setdefault(number, values[number])
            continue
        begun.add(number)
        names = NAME.findall(_read(values[number]))
        before = (n for name in names for n in defined.get(name, ()) if n not in begun)
        waiting += sorted(before, reverse=True)
    rest = [s for s in statements if not _is_value(s)]
    return [*placed.values(), *sorted(rest, key=lambda s: isinstance(s, Instance))]


def _is_value(statement: Statement) -> bool:
    return isinstance(statement, Assign) or (
        isinstance(statement, Process) and "@*" in statement.start
    )


def _written(statement: Statement) -> set[str]:
    """Nets that a statement gives a value."""
    if isinstance(statement, Assign):
        return set(NAME.findall(statement.target))
    steps = map(STEP.fullmatch, statement.body) if isinstance(statement, Process) else ()
    return {step[2].partition("[")[0] for step in steps if step}


def _read(statement: Statement) -> str:
    """What a statement is computed from."""
    if isinstance(statement, Assign):
        return statement.value
    return "\n".join(statement.body) if isinstance(statement, Process) else ""
