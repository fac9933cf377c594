"""Which parameter to lower where a design does not fit."""

import json
from collections.abc import Iterator
from pathlib import Path

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...hw.generate import generate
from ..silicon.synthesis import run_yosys
from ..tools.workers import Workers

_WORTH = 0.8
"""A parameter helps if half of it leaves at most such a share."""
_MEMORIES = ("DP16KD", "TRELLIS_RAMW")


def to_lower(
    design: Design, config: Config, resource: str, workers: Workers, folder: Path
) -> tuple[str, ...]:
    """Parameters whose half needs clearly less of a resource, the most helpful first.

    Found by trying: the operators of the design as emitted are counted, with each parameter halved
    in turn.

    Parameters
    ----------
    design, config
        What does not fit.
    resource
        What there is too little of, as nextpnr calls it.
    workers, folder
        Where to run Yosys, and an existing folder for the files.
    """
    whole = _weight(design, config, resource, workers, folder)
    found = []
    for name, half in _halved(config):
        try:
            weight = _weight(design, half, resource, workers, folder)
        except UserError:  # not a possible design
            continue
        if weight <= _WORTH * whole:
            found.append((weight, name))
    return tuple(name for _, name in sorted(found))


def _halved(config: Config) -> Iterator[tuple[str, Config]]:
    """Configurations with one number halved, as far as they are possible."""
    values = config.model_dump()
    for name in config.parameters():
        field, _, inner = name.partition(".")
        value = (values[field] or {}).get(inner) if inner else values[field]
        if isinstance(value, bool) or not isinstance(value, int) or value < 2:
            continue
        half = value // 2
        try:
            yield name, config.replace(**{field: {inner: half} if inner else half})
        except UserError:
            continue


def _weight(design: Design, config: Config, resource: str, workers: Workers, folder: Path) -> int:
    """How much of a resource a design needs, roughly: products, bits of memory, or of operators."""
    generated = generate(design, config)
    (folder / "whole.v").write_text(generated.verilog)
    commands = (
        "read_verilog whole.v",
        f"hierarchy -check -top {generated.name}",
        "proc",
        "flatten",
        "tee -q -o whole.json stat -width -json",
    )
    run_yosys(commands, workers, folder)
    counted = json.loads((folder / "whole.json").read_text())["design"]
    if resource in _MEMORIES:
        return int(counted["num_memory_bits"])
    cells = counted["num_cells_by_type"].items()
    if resource == "MULT18X18D":
        return sum(number for kind, number in cells if kind.startswith("$mul"))
    return sum(number * _width(kind) for kind, number in cells)


def _width(kind: str) -> int:
    """Bits of an operator, from Yosys' name of its kind with its width."""
    digits = kind.rpartition("_")[2]
    return int(digits) if digits.isdigit() else 1
