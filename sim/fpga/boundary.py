"""A register on every port, so that paths begin and end at registers and not at pins."""

from typing import Any

from ...hw.generate import Generated
from ...hw.lib.verilog_module import Instance, Net, lines_of

UNIT = "unit"
"""Instance of the design within the boundary."""


def boundary(design: Generated) -> tuple[str, str]:
    """A module around a design that has a register on every port but the clock.

    Returns
    -------
    Its name, and the Verilog of both.
    """
    top = f"{design.name}_boundary"
    clock = design.manifest["clock"]["name"]
    ports = [f"input {clock}"]
    body = []
    pins = {clock: clock}
    for name, (way, bits) in _signals(design.manifest).items():
        inside = pins[name] = f"{name}_inside"
        ports.append(Net(name, bits, f"{way}put", register=way == "out").declaration())
        declared = f"{Net(inside, bits, register=way == 'in').declaration()};"
        if way == "in":
            body.append(f"  (* keep *) {declared}")  # not to be drawn into a memory
            body.append(f"  always @(posedge {clock}) {inside} <= {name};")
        else:
            body.append(f"  {declared}")
            body.append(f"  always @(posedge {clock}) {name} <= {inside};")
    separator = ",\n  "
    lines = [
        f"module {top} (\n  {separator.join(ports)}\n);",
        *body,
        *lines_of(Instance(design.name, UNIT, pins)),
        "endmodule",
    ]
    return top, "\n".join([design.verilog, *lines, ""])


def _signals(manifest: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """Signals of a generated design beside its clock: direction and bits."""
    clock = manifest["clock"]["name"]
    if "signals" in manifest:
        named = manifest["signals"].items()
        return {name: (s["direction"], s["width"]) for name, s in named if name != clock}
    found = {manifest["reset"]["name"]: ("in", 1)}
    for port in manifest["ports"]:
        way = port["direction"]
        back = "out" if way == "in" else "in"
        names = port["signals"]
        found[names["valid"]] = (way, 1)
        found[names["ready"]] = (back, 1)
        found[names["payload"]] = (way, port["width"])
    events = manifest["events"]
    return {**found, events["signal"]: ("out", events["width"])}
