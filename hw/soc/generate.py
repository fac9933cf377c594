"""Generation of a core: Verilog with AXI names, and its registers for software and readers."""

from dataclasses import dataclass, field, replace
from typing import Any

from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...golden.contract.ports import Port
from ...golden.soc.config import CoreConfig, Packing, ResultPacking, ShellConfig
from ...golden.soc.memory import Rows
from ...golden.soc.packets import words_a_beat
from ...golden.soc.registers import RegisterMap, in_packets, result_port, result_ports, stored
from ...golden.soc.unit import pass_beats, registers
from ..generate import Generated, check_name, describe_design, describe_events, header, waivers
from ..lib.emission import to_verilog
from ..lib.verilog_module import Net
from ..units import component
from .axi import CLOCK, RESET, AxiCore, signals
from .core import Core
from .documents import c_header, markdown, python_accessors


@dataclass(frozen=True)
class GeneratedCore(Generated):
    """The files of a core: those of every design, and its registers.

    Attributes
    ----------
    documents
        File name to content of what describes the registers.
    """

    documents: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, str]:
        """File name to content."""
        return {**super().files, **self.documents}


def generate_core(
    design: Design, config: ShellConfig, unit: str, *, name: str | None = None
) -> GeneratedCore:
    """Generate a core.

    Parameters
    ----------
    design, config
        What to generate: a design that is a core around another.
    unit
        Name of the unit inside, by which the manifest is understood.
    name
        Top module; by default the design's name. All other modules have it as prefix.

    Raises
    ------
    UserError
        The name is no Verilog identifier, or a keyword.
    """
    top = design.name if name is None else name
    if design.inner is None:
        raise UserError(f"{design.name} is no core.")
    members = signals(config, design.inner)
    check_name(top, members)
    core = component(design, config)
    assert isinstance(core, Core)
    verilog, modules = to_verilog(AxiCore(core), top)
    known = registers(design.inner, config)
    named = replace(known, name=top)
    return GeneratedCore(
        name=top,
        verilog=header(design, config, top) + verilog,
        manifest={"unit": unit, **_manifest(design, config, top, named, modules)},
        template=_template(members, top),
        waivers=waivers(top),
        documents={
            f"{top}.h": c_header(named),
            f"{top}_registers.py": python_accessors(named),
            f"{top}_registers.md": markdown(named),
        },
    )


def _manifest(
    design: Design,
    config: ShellConfig,
    top: str,
    known: RegisterMap,
    modules: tuple[str, ...],
) -> dict[str, Any]:
    assert design.inner is not None
    ports = design.inner.ports(config.unit)
    rows = Rows.of(ports)
    return {
        **describe_design(design, config, top, CLOCK, RESET, "low"),
        "interfaces": {
            "s_axi": {"kind": "AXI4-Lite slave", "registers": f"{top}_registers.md"},
            "s_axis": {"kind": "AXI4-Stream slave", "bits": config.bus_width},
            "m_axis": {"kind": "AXI4-Stream master", "bits": config.bus_width},
            **({"m_axi": {"kind": "AXI4 master, reads", "bits": rows.data_bits}} if rows else {}),
            "irq": {"kind": "interrupt", "active": "high"},
        },
        "signals": {
            name: {"direction": way, "width": bits}
            for name, (way, bits) in signals(config, design.inner).items()
        },
        "packets": [
            {
                "port": number,
                "name": port.name,
                "belongs_to": port.belongs,
                "length": port.block,
                "most_beats": config.depth(port),
                "bits_a_beat": port.sent.width,
                "beats_a_word": Packing(port.sent.width, config.bus_width).lanes,
                "words_a_beat": Packing(port.sent.width, config.bus_width).words,
                "fields": _fields(port.sent),
            }
            for number, port in enumerate(stored(ports))
        ],
        **_results(config, ports),
        **({"rows": _rows(rows)} if rows else {}),
        "registers": [
            {"name": r.name, "offset": r.offset, "access": r.access} for r in known.registers
        ],
        "events": describe_events(known.events)["fields"],
        "law": design.law,
        "modules": list(modules),
    }


def _rows(rows: Rows) -> dict[str, Any]:
    """How rows lie in memory."""
    return {
        "bytes_a_beat": rows.beat_bytes,
        "fields": [
            {"name": f.name, "width": f.width, "count": f.count, "meaning": f.meaning}
            for f in rows.answers.fields
            if f.made in ("", "word")
        ],
        "matrices": [
            {"name": matrix.name, "most_beats": matrix.most, "beats": f"{matrix.family}_beats"}
            for matrix in rows.request.asks
        ],
    }


def _results(config: ShellConfig, ports: tuple[Port, ...]) -> dict[str, Any]:
    """How results leave: in packets, or as rows of one port."""
    if in_packets(ports):
        packets = [
            {
                "port": number,
                "name": port.name,
                "most_beats": _most_beats(config, ports, port),
                "bits_a_beat": port.sent.width,
                "words_a_beat": words_a_beat(config, port),
                "fields": _fields(port.sent),
            }
            for number, port in enumerate(result_ports(ports))
        ]
        return {"result_packets": packets}
    results = ResultPacking(result_port(ports).sent, config.bus_width)
    return {"results": {"words_a_row": results.words, "fields": _fields(results.widened)}}


def _most_beats(config: ShellConfig, ports: tuple[Port, ...], port: Port) -> int:
    """Most beats of a packet of results."""
    if isinstance(config, CoreConfig):
        return pass_beats(config, ports, port)
    return config.depth(port)


def _fields(port: Port) -> list[dict[str, Any]]:
    """Fields of what passes the bus, the first in the least significant bits."""
    return [
        {
            "name": field.name,
            "width": field.width,
            "count": field.count,
            "signed": field.signed,
            "meaning": field.meaning,
        }
        for field in port.fields
    ]


def _template(members: dict[str, tuple[str, int]], top: str) -> str:
    """An instance with every signal connected to a wire of the same name, to be pasted."""
    wires = "".join(f"{Net(name, bits).declaration()};\n" for name, (_, bits) in members.items())
    connections = ",\n".join(f"  .{name}({name})" for name in members)
    return f"// Instantiation template of {top}\n{wires}\n{top} {top}_0 (\n{connections}\n);\n"
