"""Which full adders get inverted inputs, where the library's cell inverts both outputs.

Such a cell gives true sums from inverted inputs. So adders in a row may take turns, and only those
that do not fit need inverters. The choice is greedy: at first all inputs are inverted, for gates
that feed adders are smaller so (NAND, not AND); then each adder takes the side that needs fewer
inverters, until none changes.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from .netlist import Bit, Module

_INPUTS = ("A", "B", "C")
_OUTPUTS = ("X", "Y")
_FULL_ADDER = "$fa"


@dataclass
class _Net:
    """A net at full adders.

    Attributes
    ----------
    driver
        Full adder that drives it; empty for others.
    sinks
        Full adders that it feeds.
    true
        Whether something else wants it as it is.
    """

    driver: str = ""
    sinks: list[str] = field(default_factory=list)
    true: bool = False


def dual_adders(module: Module) -> list[str]:
    """Names of the ``$fa`` of a module that should get inverted inputs."""
    nets = _nets(module)
    touched: dict[str, list[_Net]] = {}
    for net in nets:
        for name in {net.driver, *net.sinks} - {""}:
            touched.setdefault(name, []).append(net)
    dual = dict.fromkeys(touched, True)
    changed = True
    while changed:
        changed = False
        for name, around in touched.items():
            before = _inverters(around, dual)
            dual[name] = not dual[name]
            if _inverters(around, dual) < before:
                changed = True
            else:
                dual[name] = not dual[name]
    return [name for name, chosen in dual.items() if chosen]


def _inverters(nets: list[_Net], dual: dict[str, bool]) -> int:
    """Inverters that some nets need."""
    number = 0
    for net in nets:
        wanted = {dual[name] for name in net.sinks} | ({False} if net.true else set())
        if net.driver:  # gives one polarity for nothing
            wanted.discard(not dual[net.driver])
            number += bool(wanted)
        else:  # gates and registers give either
            number += len(wanted) > 1
    return number


def _nets(module: Module) -> list[_Net]:
    """Nets at full adders."""
    nets: dict[Bit, _Net] = {}
    for name, pins in _adders(module):
        for pin in _INPUTS:
            nets.setdefault(pins[pin][0], _Net()).sinks.append(name)
        for pin in _OUTPUTS:
            nets.setdefault(pins[pin][0], _Net()).driver = name
    others = Counter(_others(module))
    for bit, net in nets.items():
        net.true = others[bit] > (0 if net.driver else 1)  # one of them drives it
    return [net for bit, net in nets.items() if isinstance(bit, int)]


def _adders(module: Module) -> Iterator[tuple[str, dict[str, list[Bit]]]]:
    for name, instance in module.instances.items():
        if instance.kind == _FULL_ADDER:
            yield name, instance.pins


def _others(module: Module) -> Iterator[Bit]:
    """Bits at ports and at all other pins; twice those of input ports, which come as they are."""
    for direction, bits in module.ports.values():
        yield from bits if direction == "output" else bits * 2
    for instance in module.instances.values():
        if instance.kind != _FULL_ADDER:
            for bits in instance.pins.values():
                yield from bits
