"""Netlists of cells: buffers where a net feeds many pins, and Verilog for timing analysis."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .liberty import Cell as LibraryCell
from .library import Library

Bit = int | str
"""A net of a module, or a constant ("0", "1", "x")."""

MOST_PINS = 16
"""A net feeds at most so many pins; beyond that buffers share the load."""


@dataclass
class Instance:
    """An instance in a module: what of, and the bits at its pins."""

    kind: str
    pins: dict[str, list[Bit]]


@dataclass
class Module:
    """A module of a netlist.

    Attributes
    ----------
    ports
        Name to direction and bits, in order.
    instances
        Cells of the library and other modules, by name.
    names
        Readable names of nets.
    """

    name: str
    ports: dict[str, tuple[str, list[Bit]]]
    instances: dict[str, Instance]
    names: dict[Bit, str]

    @property
    def kinds(self) -> Counter[str]:
        """How often each cell and module is instantiated."""
        return Counter(instance.kind for instance in self.instances.values())


@dataclass
class Netlist:
    """A mapped design.

    Attributes
    ----------
    top
        Name of the top module.
    modules
        Modules with contents by name, children before parents.
    boxes
        Modules without contents: name to direction and width of their ports.
    """

    top: str
    modules: dict[str, Module]
    boxes: dict[str, dict[str, tuple[str, int]]] = field(default_factory=dict)


def read_netlist(text: str, top: str) -> Netlist:
    """Netlist from Yosys' JSON."""
    modules, boxes = {}, {}
    for name, content in json.loads(text)["modules"].items():
        ports = {key: (p["direction"], p["bits"]) for key, p in content["ports"].items()}
        if "blackbox" in content.get("attributes", {}):
            boxes[name] = {key: (way, len(bits)) for key, (way, bits) in ports.items()}
            continue
        instances = {
            key: Instance(cell["type"], cell["connections"])
            for key, cell in content["cells"].items()
        }
        modules[name] = Module(name, ports, instances, _names(content["netnames"]))
    return Netlist(top, dict(_leaves_first(modules, top, set())), boxes)


def _names(nets: Mapping[str, Any]) -> dict[Bit, str]:
    """The shortest name that somebody chose, for every bit that has one."""
    names: dict[Bit, str] = {}
    for name, net in sorted(nets.items(), key=lambda item: len(item[0]), reverse=True):
        if net["hide_name"]:
            continue
        for i, bit in enumerate(net["bits"]):
            names[bit] = name if len(net["bits"]) == 1 else f"{name}_{i}"
    return names


def _leaves_first(
    modules: Mapping[str, Module], name: str, done: set[str]
) -> Iterator[tuple[str, Module]]:
    done.add(name)
    for kind in modules[name].kinds:
        if kind in modules and kind not in done:
            yield from _leaves_first(modules, kind, done)
    yield name, modules[name]


# Buffers


@dataclass(frozen=True)
class _Sink:
    """A pin that a net feeds: instance, pin, place within the pin, and how much it loads."""

    instance: str
    pin: str
    place: int
    load: int


def insert_buffers(netlist: Netlist, library: Library) -> dict[str, int]:
    """Put trees of buffers where a net feeds more than :data:`MOST_PINS` pins.

    Pins are counted through the hierarchy: a port of a module loads the net outside with as many
    pins as it feeds directly inside. Clock nets are left alone: their tree is a matter of layout.
    The buffer is the one that :attr:`Library.buffer` names.

    Returns
    -------
    Buffers added to each module; the netlist is changed.
    """
    cell = library.buffer
    if cell is None or cell.buffer is None:
        return dict.fromkeys(netlist.modules, 0)
    loads: dict[str, dict[tuple[str, int], int]] = {}  # what ports of modules load
    return {
        module.name: _buffer_module(module, netlist, library, cell, loads)
        for module in netlist.modules.values()
    }


_CLOCK = 0  # load of a pin that wants no buffers


def _buffer_module(
    module: Module,
    netlist: Netlist,
    library: Library,
    cell: LibraryCell,
    loads: dict[str, dict[tuple[str, int], int]],
) -> int:
    numbers = iter(range(1 << 30))
    used = max((bit for bit in _bits(module) if isinstance(bit, int)), default=0)
    fresh = iter(range(used + 1, 1 << 30))
    load_of: dict[Bit, int] = {}
    for bit, sinks in _sinks(module, netlist, library, loads).items():
        if any(sink.load == _CLOCK for sink in sinks):
            load_of[bit] = _CLOCK
            continue
        while sum(sink.load for sink in sinks) > MOST_PINS:
            sinks = [
                _buffered(module, group, bit, next(fresh), f"buffer_{next(numbers)}", cell)
                for group in _groups(sinks)
            ]
        load_of[bit] = sum(sink.load for sink in sinks)
    loads[module.name] = {
        (port, place): load_of.get(bit, 1)
        for port, (direction, bits) in module.ports.items()
        if direction == "input"
        for place, bit in enumerate(bits)
    }
    return next(numbers)


def _bits(module: Module) -> Iterator[Bit]:
    for _, bits in module.ports.values():
        yield from bits
    for instance in module.instances.values():
        for bits in instance.pins.values():
            yield from bits


def _sinks(
    module: Module,
    netlist: Netlist,
    library: Library,
    loads: Mapping[str, Mapping[tuple[str, int], int]],
) -> dict[Bit, list[_Sink]]:
    """Pins that each net feeds within a module."""
    found: dict[Bit, list[_Sink]] = {}
    for name, instance in module.instances.items():
        inside = loads.get(instance.kind)
        for pin, bits in instance.pins.items():
            for place, bit in enumerate(bits):
                if isinstance(bit, str):
                    continue
                if inside is not None:
                    load = inside.get((pin, place))
                else:
                    load = _pin_load(instance.kind, pin, netlist, library)
                if load is not None:
                    found.setdefault(bit, []).append(_Sink(name, pin, place, load))
    return found


def _pin_load(kind: str, pin: str, netlist: Netlist, library: Library) -> int | None:
    """Load of a cell's or box's input, None for an output."""
    if kind in netlist.boxes:
        clock = pin.endswith("_CLK")
        return None if netlist.boxes[kind][pin][0] == "output" else _CLOCK if clock else 1
    description = library.cells[kind].pins[pin]
    if description.direction != "input":
        return None
    return _CLOCK if description.clock else 1


def _groups(sinks: Iterable[_Sink]) -> list[list[_Sink]]:
    """Sinks in order, as many a group as one buffer may feed."""
    groups: list[list[_Sink]] = [[]]
    load = 0
    for sink in sinks:
        if groups[-1] and load + sink.load > MOST_PINS:
            groups.append([])
            load = 0
        groups[-1].append(sink)
        load += sink.load
    return groups


def _buffered(
    module: Module, sinks: Iterable[_Sink], bit: Bit, fresh: Bit, name: str, cell: LibraryCell
) -> _Sink:
    """Feed some sinks through a new buffer."""
    for sink in sinks:
        module.instances[sink.instance].pins[sink.pin][sink.place] = fresh
    source, output = cell.buffer or ("", "")
    module.instances[name] = Instance(cell.name, {source: [bit], output: [fresh]})
    return _Sink(name, source, 0, 1)


# Verilog


def to_verilog(netlist: Netlist, library: Library) -> tuple[str, dict[str, str]]:
    """Structural Verilog in which every port is one bit wide.

    A flip-flop is named after its register: bit i of ``r`` is ``r_i_reg``, behind an inverter too.

    Returns
    -------
    The text, and the ports of the top module: Verilog name to direction.
    """
    names = {module.name: _scalar_ports(module) for module in netlist.modules.values()}
    boxes = {
        box: {
            (port, i): scalar_name(port, i, n) for port, (_, n) in ports.items() for i in range(n)
        }
        for box, ports in netlist.boxes.items()
    }
    outputs = {
        cell.name: next(iter(cell.outputs), "")
        for cell in library.cells.values()
        if any(pin.clock for pin in cell.pins.values())
    }
    for module in netlist.modules.values():
        _name_inverted(module, library)
    text = "".join(
        _module(module, {**names, **boxes}, outputs) for module in netlist.modules.values()
    )
    top = netlist.modules[netlist.top]
    directions = {name: top.ports[port][0] for (port, _), name in names[netlist.top].items()}
    return text, directions


def scalar_name(port: str, i: int, width: int) -> str:
    """Name of bit i of a port, if nothing else has it."""
    return port if width == 1 else f"{port}_{i}"


_Scalars = dict[tuple[str, int], str]  # a name for every bit of every port


class _Names:
    """Distinct plain identifiers."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def new(self, wish: str) -> str:
        plain = re.sub(r"\W", "_", wish)
        name = plain if re.match(r"[A-Za-z_]", plain) else f"n_{plain}"
        number = 1
        while name in self.taken:
            number += 1
            name = f"{plain}_n{number}"
        self.taken.add(name)
        return name


def _scalar_ports(module: Module) -> _Scalars:
    names = _Names()
    return {
        (port, i): names.new(scalar_name(port, i, len(bits)))
        for port, (_, bits) in module.ports.items()
        for i in range(len(bits))
    }


def _name_inverted(module: Module, library: Library) -> None:
    """Give nameless nets of registers the names of their inverses."""
    inverters = {
        cell.name: (cell.inputs[0], cell.outputs[0])
        for cell in library.cells.values()
        if cell.computes((1, 0))
    }
    for instance in module.instances.values():
        if instance.kind in inverters:
            source, output = (instance.pins[pin][0] for pin in inverters[instance.kind])
            if output in module.names:
                module.names.setdefault(source, module.names[output])


def _module(module: Module, ports_of: Mapping[str, _Scalars], outputs: Mapping[str, str]) -> str:
    ports = ports_of[module.name]
    names = _Names()
    names.taken |= set(ports.values())
    nets: dict[Bit, str] = {"0": "1'b0", "1": "1'b1", "x": "1'b0", "z": "1'b0"}
    declarations: list[str] = []
    assignments: list[str] = []
    instances: list[str] = []
    for port, (direction, bits) in module.ports.items():
        for i, bit in enumerate(bits):
            declarations.append(f"{direction} {ports[port, i]};")
            if direction == "input":
                nets[bit] = ports[port, i]
    for bit in _bits(module):
        if bit not in nets:
            nets[bit] = names.new(f"net_{bit}")
            declarations.append(f"wire {nets[bit]};")
    for port, (direction, bits) in module.ports.items():
        if direction == "output":
            for i, bit in enumerate(bits):
                assignments.append(f"assign {ports[port, i]} = {nets[bit]};")
    for number, (name, instance) in enumerate(module.instances.items()):
        ports = ports_of.get(instance.kind, {})
        connections = [
            f".{ports.get((pin, i), pin)}({nets[bit]})"
            for pin, bits in instance.pins.items()
            for i, bit in enumerate(bits)
        ]
        if name.startswith("$"):  # Yosys chose it
            register = instance.pins.get(outputs.get(instance.kind, ""), [""])[0]
            known = module.names.get(register)
            name = f"{known}_reg" if known else f"cell_{number}"
        instances.append(f"{instance.kind} {names.new(name)} ({', '.join(connections)});")
    head = f"module {module.name} ({', '.join(ports_of[module.name].values())});"
    return "\n".join([head, *declarations, *assignments, *instances, "endmodule\n"])
