"""Generation: Verilog, manifest, instantiation template and lint waivers of a design."""

import json
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ..golden.contract.config import Config
from ..golden.contract.design import Design
from ..golden.contract.errors import UserError
from ..golden.contract.events import Event
from ..golden.contract.ports import Port
from ..golden.version import VERSION
from .lib.emission import to_verilog
from .lib.verilog_module import Net
from .units import component

Reset = Literal["high", "low"]
RESETS: tuple[Reset, ...] = get_args(Reset)

# What Verilog written by Yosys always trips, whatever the design.
WAIVED = {
    "DECLFILENAME": "one file holds all modules of a design",
    "PROCASSINIT": "registers have initial values and are assigned in processes",
    "WIDTHEXPAND": "operands of unequal width are extended implicitly, as Verilog defines",
    "UNUSEDSIGNAL": "some bits of intermediate results are not needed",
}

# No keywords, and yet no names for a top module.
RESERVED = {
    "TOP": "Verilator's own top level",
    "std": "SystemVerilog's standard package",
}


@dataclass(frozen=True)
class Generated:
    """The files of one design, in memory.

    Attributes
    ----------
    name
        Top module and stem of the files.
    verilog, manifest, template, waivers
        Contents of ``NAME.v``, ``NAME.json``, ``NAME.vh`` and ``NAME.vlt``.
    """

    name: str
    verilog: str
    manifest: dict[str, Any]
    template: str
    waivers: str

    @property
    def files(self) -> dict[str, str]:
        """File name to content."""
        return {
            f"{self.name}.v": self.verilog,
            f"{self.name}.json": json.dumps(self.manifest, indent=2) + "\n",
            f"{self.name}.vh": self.template,
            f"{self.name}.vlt": self.waivers,
        }

    def check_folder(self, folder: Path, *, replace: bool = False) -> None:
        """See to it that nobody else's files are replaced, and that no two modules clash.

        The files of this very design, configuration and reset level may be replaced.

        Parameters
        ----------
        folder
            Where the files are to go; need not exist.
        replace
            Files of the same names may be replaced, whatever they are.

        Raises
        ------
        UserError
            A file of the same name is not known to be of this design and configuration, or a
            neighbour has a module of the same name.
        """
        files = [folder / name for name in self.files]
        there = [path for path in files if path.is_file() or path.is_symlink()]
        before = _read_manifest(folder / f"{self.name}.json")
        same = before is not None and all(before[key] == self.manifest[key] for key in _IDENTITY)
        if there and not same and not replace:
            raise UserError(
                f"{there[0]} is there already and not of this design and configuration: "
                "choose another name (--name) or folder, or replace it (--force)."
            )
        for path in sorted(folder.glob("*.json")):
            other = _read_manifest(path) if path.stem != self.name else None
            clash = set(self.manifest["modules"]) & set(other["modules"] if other else ())
            if clash:
                raise UserError(
                    f"{path.with_suffix('.v')} has a module {min(clash)}, too: "
                    "choose another name (--name) or folder."
                )

    def write(self, folder: Path) -> list[Path]:
        """Write all files; returns their paths, the Verilog first."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for name, content in self.files.items():
            partial = folder / f".{name}.partial"
            partial.write_text(content)
            paths.append(partial.rename(folder / name))
        return paths


_IDENTITY = ("design", "top", "config_hash", "reset")
"""What the manifests of two runs have in common if one may replace the files of the other."""


def _read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest beside generated Verilog; None if there is none."""
    if not path.is_file() or not path.with_suffix(".v").is_file():
        return None  # any other file, which may be large
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    wanted = {*_IDENTITY, "modules"}
    return content if isinstance(content, dict) and wanted <= content.keys() else None


def generate(
    design: Design, config: Config, *, name: str | None = None, reset: Reset = "high"
) -> Generated:
    """Generate a design.

    Parameters
    ----------
    design, config
        What to generate.
    name
        Top module; by default the design's name. All other modules have it as prefix.
    reset
        Active level of the synchronous reset: ``rst`` when high, ``rst_n`` when low.

    Raises
    ------
    UserError
        The name is no Verilog identifier, or one that tools refuse.
    """
    top = design.name if name is None else name
    check_name(top, [name for _, name in _signals(design, config, reset)])
    verilog, modules = to_verilog(component(design, config), top, active_low=reset == "low")
    return Generated(
        name=top,
        verilog=header(design, config, top) + verilog,
        manifest=_manifest(design, config, top, reset, modules),
        template=_template(design, config, top, reset),
        waivers=waivers(top),
    )


def check_name(top: str, signals: Iterable[str]) -> None:
    """Raise :class:`UserError` unless a module with these signals can have the name."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", top):
        raise UserError(f"a module name must be a Verilog identifier, got {top!r}.")
    if top in RESERVED:
        raise UserError(f"a module name must not be that of {RESERVED[top]}, got {top!r}.")
    if top in signals:
        raise UserError(f"a module name must not be that of one of its ports, got {top!r}.")


def header(design: Design, config: Config, top: str) -> str:
    """Comment at the beginning of the Verilog."""
    lines = [
        f"{top}: {design.summary}",
        f"Generated by nibbleforge {VERSION}; this file belongs to whoever generated it.",
        f"Cycles of a free-flowing run: {design.law}",
        f"Configuration: {json.dumps(json.loads(config.canonical_json()))}",
        f"Configuration hash: {config.config_hash}",
        *(f"Port {port.name} ({port.direction}): {port.meaning}" for port in design.ports(config)),
    ]
    wrapped = [part for line in lines for part in textwrap.wrap(line, 97, subsequent_indent="  ")]
    return "".join(f"// {line}\n" for line in wrapped) + "\n"


def describe_design(
    design: Design, config: Config, top: str, clock: str, reset_name: str, reset: Reset
) -> dict[str, Any]:
    """What every manifest begins with: what was generated, its clock and its reset."""
    return {
        "generator": f"nibbleforge {VERSION}",
        "design": design.name,
        "summary": design.summary,
        "top": top,
        "config": json.loads(config.canonical_json()),
        "config_hash": config.config_hash,
        "clock": {"name": clock, "edge": "rising"},
        "reset": {"name": reset_name, "active": reset, "synchronous": True},
    }


def _manifest(
    design: Design, config: Config, top: str, reset: Reset, modules: tuple[str, ...]
) -> dict[str, Any]:
    return {
        **describe_design(design, config, top, "clk", _reset_name(reset), reset),
        "ports": [_describe_port(port) for port in design.ports(config)],
        "events": describe_events(design.events(config)),
        "law": design.law,
        "input_bits_per_cycle": design.bandwidth(config),
        "modules": list(modules),
        "files": [f"{top}.v", f"{top}.vh", f"{top}.vlt"],
    }


def _describe_port(port: Port) -> dict[str, Any]:
    fields, offset = [], 0
    for field in port.fields:
        fields.append(
            {
                "name": field.name,
                "offset": offset,
                "width": field.width,
                "count": field.count,
                "signed": field.signed,
                "meaning": field.meaning,
            }
        )
        offset += field.bits
    return {
        "name": port.name,
        "direction": port.direction,
        "meaning": port.meaning,
        "signals": {part: f"{port.name}_{part}" for part in ("valid", "ready", "payload")},
        "width": port.width,
        "fields": fields,
    }


def describe_events(events: tuple[Event, ...]) -> dict[str, Any]:
    """Events as the manifest has them."""
    fields, offset = [], 0
    for event in events:
        fields.append(
            {
                "name": event.name,
                "offset": offset,
                "width": event.width,
                "kind": event.kind,
                "meaning": event.meaning,
            }
        )
        offset += event.width
    return {"signal": "events", "width": offset, "fields": fields}


def _template(design: Design, config: Config, top: str, reset: Reset) -> str:
    """An instance with every port connected to a wire of the same name, to be pasted."""
    clock, level, *wires = _signals(design, config, reset)
    declarations = "".join(f"{Net(name, width).declaration()};\n" for width, name in wires)
    connections = ",\n".join(f"  .{name}({name})" for _, name in (clock, level, *wires))
    return (
        f"// Instantiation template of {top}\n{declarations}\n{top} {top}_0 (\n{connections}\n);\n"
    )


def _signals(design: Design, config: Config, reset: Reset) -> list[tuple[int, str]]:
    """Width and name of the top module's Verilog ports: clock, reset, streams, events."""
    found = [(1, "clk"), (1, _reset_name(reset))]
    for port in design.ports(config):
        found += [
            (1, f"{port.name}_valid"),
            (1, f"{port.name}_ready"),
            (port.width, f"{port.name}_payload"),
        ]
    return [*found, (sum(event.width for event in design.events(config)), "events")]


def waivers(top: str) -> str:
    """Lint waivers of a design: rules that Verilog written by Yosys always trips."""
    rules = "".join(
        f"// {why}\n"
        + "".join(f'lint_off -rule {rule} -file "{file}"\n' for file in (f"{top}.v", f"*/{top}.v"))
        for rule, why in WAIVED.items()
    )
    return (
        "`verilator_config\n"
        "// Rules that Verilog written by Yosys always trips, in this file by any path.\n"
        f"{rules}"
    )


def _reset_name(reset: Reset) -> str:
    return "rst" if reset == "high" else "rst_n"
