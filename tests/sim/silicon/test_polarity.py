"""Full adders with inverted outputs take turns."""

from nibbleforge.sim.silicon.netlist import Instance, Module
from nibbleforge.sim.silicon.polarity import dual_adders


def adder(a, b, c, x, y):
    return Instance("$fa", {"A": [a], "B": [b], "C": [c], "X": [x], "Y": [y]})


def test_every_other_adder_of_a_row_gets_inverted_inputs():
    """Carries 10, 20 .. go from one to the next; a gate drives every other input."""
    adders = {f"fa{i}": adder(10 * i + 1, 10 * i + 2, 10 * i, 10 * i + 10, 0) for i in range(1, 6)}
    gates = {
        f"gate{bit}": Instance("$_AND_", {"A": [1], "B": [2], "Y": [bit]})
        for i in range(1, 6)
        for bit in (10 * i + 1, 10 * i + 2)
    }
    gates["first"] = Instance("$_AND_", {"A": [1], "B": [2], "Y": [10]})
    dual = dual_adders(Module("row", {}, gates | adders, {}))
    assert dual in (["fa1", "fa3", "fa5"], ["fa2", "fa4"])


def test_an_adder_between_ports_keeps_its_inputs():
    """Three inverters before it would be more than two behind it."""
    ports = {name: ("input", [i + 1]) for i, name in enumerate("abc")}
    ports |= {"x": ("output", [4]), "y": ("output", [5])}
    assert dual_adders(Module("one", ports, {"fa": adder(1, 2, 3, 4, 5)}, {})) == []


def test_an_adder_between_gates_gets_inverted_inputs():
    """Gates give either polarity for nothing, and the sum then needs no inverter."""
    gates = {f"in{i}": Instance("$_AND_", {"A": [8], "B": [9], "Y": [i]}) for i in (1, 2, 3)}
    gates["out"] = Instance("$_OR_", {"A": [4], "B": [5], "Y": [6]})
    assert dual_adders(Module("one", {}, gates | {"fa": adder(1, 2, 3, 4, 5)}, {})) == ["fa"]
