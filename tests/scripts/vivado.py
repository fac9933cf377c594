"""A stand-in for Vivado that runs scripts in the language Tcl.

It has the commands, options, pins and bus definitions of Vivado's manuals that exported scripts
use. It refuses what it does not know, files that are not there and names that nothing has.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

tkinter = pytest.importorskip("tkinter", reason="needs tkinter, which has the language Tcl.")

ZYNQ, ULTRASCALE, ARTIX = "xc7z020clg400-1", "xczu3eg-sbva484-1-e", "xc7a35tcpg236-1"
FAMILIES = {ZYNQ: "zynq", ULTRASCALE: "zynquplus", ARTIX: "artix7"}

LITE = {
    *("AWADDR", "AWPROT", "AWVALID", "AWREADY", "WDATA", "WSTRB", "WVALID", "WREADY"),
    *("BRESP", "BVALID", "BREADY"),
    *("ARADDR", "ARPROT", "ARVALID", "ARREADY", "RDATA", "RRESP", "RVALID", "RREADY"),
}
READS = {
    *("ARID", "ARADDR", "ARLEN", "ARSIZE", "ARBURST", "ARLOCK", "ARCACHE", "ARPROT", "ARVALID"),
    *("ARREADY", "RID", "RDATA", "RRESP", "RLAST", "RVALID", "RREADY"),
}
SIGNALS = {
    "s_axi": LITE,
    "s_axis": {"TDATA", "TVALID", "TREADY"},
    "m_axis": {"TDATA", "TVALID", "TREADY", "TLAST"},
    "m_axi": READS,
    "axi_aclk": {"CLK"},
    "axi_aresetn": {"RST"},
    "irq": {"INTERRUPT"},
}
"""Signals of every interface, as its bus definition has them."""

DRIVEN_BY_SLAVES = {
    *("AWREADY", "WREADY", "BRESP", "BVALID", "ARREADY", "TREADY"),
    *("RID", "RDATA", "RRESP", "RLAST", "RVALID"),
}

# Pins of Xilinx's IPs: "m" and "s" interfaces, "o" and "i" signals. Sources: PG082, PG201, PG021,
# PG164, PG247.
PINS = {
    "xilinx.com:ip:processing_system7": {
        "m": "M_AXI_GP0", "s": "S_AXI_HP0", "o": "FCLK_CLK0 FCLK_RESET0_N",
        "i": "M_AXI_GP0_ACLK S_AXI_HP0_ACLK IRQ_F2P",
    },
    "xilinx.com:ip:zynq_ultra_ps_e": {
        "m": "M_AXI_HPM0_FPD", "s": "S_AXI_HP0_FPD", "o": "pl_clk0 pl_resetn0",
        "i": "maxihpm0_fpd_aclk saxihp0_fpd_aclk pl_ps_irq0",
    },
    "xilinx.com:ip:axi_dma": {
        "m": "M_AXI_MM2S M_AXI_S2MM M_AXIS_MM2S", "s": "S_AXI_LITE S_AXIS_S2MM",
        "o": "mm2s_introut s2mm_introut",
        "i": "s_axi_lite_aclk m_axi_mm2s_aclk m_axi_s2mm_aclk axi_resetn",
    },
    "xilinx.com:ip:proc_sys_reset": {
        "o": "peripheral_aresetn interconnect_aresetn",
        "i": "slowest_sync_clk ext_reset_in",
    },
    "xilinx.com:ip:smartconnect": {"i": "aclk aresetn"},
}  # fmt: skip
CONFIG = {
    "xilinx.com:ip:processing_system7": {
        *("PCW_USE_M_AXI_GP0", "PCW_USE_S_AXI_HP0", "PCW_USE_FABRIC_INTERRUPT"),
        *("PCW_IRQ_F2P_INTR", "PCW_FPGA0_PERIPHERAL_FREQMHZ"),
    },
    "xilinx.com:ip:zynq_ultra_ps_e": {
        *("PSU__USE__M_AXI_GP0", "PSU__USE__M_AXI_GP1", "PSU__USE__M_AXI_GP2"),
        *("PSU__USE__S_AXI_GP2", "PSU__USE__IRQ0", "PSU__FPGA_PL0_ENABLE"),
        "PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ",
    },
    "xilinx.com:ip:axi_dma": {
        *("c_include_sg", "c_sg_include_stscntrl_strm", "c_sg_length_width"),
        *("c_m_axi_mm2s_data_width", "c_m_axis_mm2s_tdata_width", "c_m_axi_s2mm_data_width"),
    },
    "xilinx.com:ip:smartconnect": {"NUM_SI", "NUM_MI"},
}
AUTOMATION = {
    "xilinx.com:bd_rule:processing_system7": {
        "make_external",
        "apply_board_preset",
        "Master",
        "Slave",
    },
    "xilinx.com:bd_rule:zynq_ultra_ps_e": {"apply_board_preset"},
}

# Options of commands: those of themselves, and those with a value. Source: UG835.
OPTIONS = {
    "create_project": ("-force -in_memory", "-part"),
    "close_project": ("", ""),
    "current_project": ("", ""),
    "add_files": ("-norecurse", "-fileset"),
    "read_verilog": ("", ""),
    "read_xdc": ("", "-mode"),
    "get_files": ("", ""),
    "get_filesets": ("", ""),
    "get_parts": ("-quiet", ""),
    "get_property": ("", ""),
    "set_property": ("-dict", "-name -value -objects"),
    "update_compile_order": ("", "-fileset"),
    "synth_design": ("", "-top -part -mode"),
    "opt_design": ("", ""),
    "place_design": ("", ""),
    "route_design": ("", ""),
    "report_utilization": ("-hierarchical", "-file"),
    "report_timing_summary": ("", "-max_paths -file"),
    "check_timing": ("-verbose", "-file"),
    "write_checkpoint": ("-force", ""),
    "get_timing_paths": ("-setup -hold", "-max_paths"),
    "ipx::package_project": ("-import_files -force", "-root_dir -vendor -library -taxonomy"),
    "ipx::current_core": ("", ""),
    "ipx::get_bus_interfaces": ("", "-of_objects"),
    "ipx::get_memory_maps": ("", "-of_objects"),
    "ipx::add_memory_map": ("", ""),
    "ipx::add_address_block": ("", ""),
    "ipx::create_xgui_files": ("", ""),
    "ipx::update_checksums": ("", ""),
    "ipx::save_core": ("", ""),
    "update_ip_catalog": ("", ""),
    "create_bd_design": ("", ""),
    "create_bd_cell": ("", "-type -vlnv"),
    "apply_bd_automation": ("", "-rule -config"),
    "get_bd_pins": ("", ""),
    "get_bd_intf_pins": ("", ""),
    "connect_bd_net": ("", ""),
    "connect_bd_intf_net": ("", ""),
    "assign_bd_address": ("", ""),
    "validate_bd_design": ("", ""),
    "save_bd_design": ("", ""),
    "generate_target": ("", ""),
    "make_wrapper": ("-top", "-files"),
    "launch_runs": ("", "-to_step"),
    "wait_on_run": ("", ""),
    "get_runs": ("", ""),
    "create_clock": ("", "-name -period"),
    "get_ports": ("", "-filter"),
    "set_input_delay": ("-max", "-clock"),
    "set_output_delay": ("-max", "-clock"),
}


@dataclass
class Port:
    """A port of a Verilog module, with Vivado's attributes."""

    name: str
    way: str
    bits: int
    info: str
    parameters: dict[str, str]


def ports_of(verilog: str, module: str) -> list[Port]:
    """Ports of a module whose every port has attributes."""
    (body,) = re.findall(rf"^module {module} \((.*?)^\);$", verilog, re.MULTILINE | re.DOTALL)
    found = []
    for attributes, way, bits, name in re.findall(
        r"((?:\s*\(\*.*?\*\)\n)*)\s*(input|output) wire (?:\[(\d+):0\] )?(\w+)", body
    ):
        (info,) = re.findall(r'X_INTERFACE_INFO = "([^"]*)"', attributes)
        parameters = re.findall(r'X_INTERFACE_PARAMETER = "([^"]*)"', attributes)
        pairs = dict(p.split(" ", 1) for text in parameters for p in text.split(", "))
        found.append(Port(name, way, int(bits or 0) + 1, info, pairs))
    return found


@dataclass
class Project:
    """A project, or none on disk."""

    name: str
    folder: Path | None
    part: str
    files: dict[str, list[Path]] = field(default_factory=lambda: {"sources_1": [], "constrs_1": []})
    top: str = ""
    settings: dict[str, str] = field(default_factory=dict)


@dataclass
class Vivado:
    """As much of Vivado as the scripts use. All objects are their names."""

    slack: str = "0.5"
    hold: str = "0.25"
    progress: str = "100%"
    log: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    project: Project | None = None
    clocked: dict[str, set[str]] = field(default_factory=dict)  # by kind of constraint
    ips: dict[str, list[Port]] = field(default_factory=dict)  # in repositories
    maps: dict[str, str] = field(default_factory=dict)
    core: dict[str, str] = field(default_factory=dict)
    cells: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    joined: dict[str, str] = field(default_factory=dict)  # pin to what drives it or its partner
    steps: list[str] = field(default_factory=list)

    def source(self, script: Path, *arguments: str) -> None:
        """Run a script as ``vivado -mode batch -source SCRIPT -tclargs ...`` does."""
        self.interpreter = interpreter = tkinter.Tcl()
        interpreter.createcommand("vivado", self._call)
        interpreter.eval("namespace eval ipx {}; rename puts written")
        for name in (*OPTIONS, "puts"):
            interpreter.eval(
                f"proc ::{name} args {{lassign [vivado {name} {{*}}$args] sound value;"
                " if {!$sound} {error $value}; return $value}"
            )
        interpreter.setvar("argv", arguments)
        interpreter.eval(f"source {{{script}}}")

    def _call(self, name: str, *arguments: object) -> tuple[bool, object]:
        """A command: whether it is sound, and what it gives or what is wrong."""
        words = [str(argument) for argument in arguments]
        if name == "puts":
            self.printed.append(words[-1])
            return True, ""
        self.log.append(" ".join([name, *words]))
        try:
            options, rest = self._options(name, words)
            method: Callable = getattr(self, name.replace("::", "_"))
            return True, method(options, *rest) or ""
        except (AssertionError, KeyError, ValueError, TypeError) as error:
            return False, f"{name}: {error!r}"

    def _options(self, name: str, words: list[str]) -> tuple[dict[str, str], list[str]]:
        alone, valued = (text.split() for text in OPTIONS[name])
        options, rest, words = {}, [], list(words)
        while words:
            word = words.pop(0)
            if word in alone:
                options[word] = ""
            elif word in valued:
                options[word] = words.pop(0)
            else:
                assert not re.match(r"-[a-z]", word), f"no option {word}"
                rest.append(word)
        return options, rest

    def _list(self, text: str) -> list[str]:
        return [str(item) for item in self.interpreter.splitlist(text)]

    @property
    def now(self) -> Project:
        assert self.project is not None, "no project is open"
        return self.project

    def _text(self) -> str:
        return "\n".join(path.read_text() for path in self.now.files["sources_1"])

    # --- projects and files ---------------------------------------------------------------------

    def create_project(self, options, name="", folder="") -> None:
        assert self.project is None, "a project is open"
        assert options["-part"] in FAMILIES
        if "-in_memory" in options:
            self.project = Project("", None, options["-part"])
            return
        path = Path(folder)
        assert path.is_absolute()
        assert "-force" in options or not (path / f"{name}.xpr").exists(), "there already"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        (path / f"{name}.xpr").touch()
        self.project = Project(name, path, options["-part"])

    def close_project(self, options) -> None:
        assert self.now
        self.project = None

    def current_project(self, options) -> str:
        return f"project {self.now.name}"

    def add_files(self, options, files) -> None:
        fileset = self.now.files[options.get("-fileset", "sources_1")]
        for name in self._list(files):
            path = Path(name)
            assert path.is_absolute(), name
            assert path.is_file(), name
            fileset.append(path)

    def read_verilog(self, options, files) -> None:
        self.add_files({}, files)

    def read_xdc(self, options, name) -> None:
        assert options == {"-mode": "out_of_context"}
        self.now.files["constrs_1"].append(Path(name))

    def get_files(self, options, name) -> str:
        known = [path for paths in self.now.files.values() for path in paths]
        (found,) = (path for path in known if name in (str(path), path.name))
        return str(found)

    def get_filesets(self, options, name) -> str:
        assert name in self.now.files
        return name

    def get_parts(self, options, name) -> str:
        return name if name in FAMILIES else ""

    def update_compile_order(self, options) -> None:
        assert re.search(rf"^module {self.now.top} ", self._text(), re.MULTILINE), "no top module"

    def set_property(self, options, *rest) -> None:
        if "-name" in options:
            assert options["-name"] == "STEPS.SYNTH_DESIGN.ARGS.MORE OPTIONS"
            assert options["-value"] == "-mode out_of_context"
            assert options["-objects"] == "synth_1"
            return
        if "-dict" in options:
            pairs, target = self._list(rest[0]), rest[1]
            for name, value in zip(pairs[::2], pairs[1::2], strict=True):
                self.set_property({}, name, value, target)
            return
        name, value, target = rest
        if target in self.cells:
            setting = name.removeprefix("CONFIG.")
            assert setting in CONFIG[self.cells[target]], name
            self.values[target][setting] = value
        elif target == "packaged":
            assert name in ("name", "version", "display_name", "description")
            self.core[name] = value
        elif name == "top":
            assert target == "sources_1"
            self.now.top = value
        elif name == "slave_memory_map_ref":
            assert (target, value) == ("s_axi", "s_axi")
        elif name == "range":
            self.maps[target] = value
        elif name == "USED_IN":
            assert Path(target) in self.now.files["constrs_1"]
            assert set(value.split()) <= {"synthesis", "implementation", "out_of_context"}
        else:
            assert target == self.current_project({})
            assert name in ("board_part", "ip_repo_paths")
            self.now.settings[name] = value

    def get_property(self, options, name, target) -> str:
        if target in FAMILIES:
            return {"FAMILY": FAMILIES[target]}[name]
        if target in ("path -setup", "path -hold"):
            return {"SLACK": self.slack if target.endswith("setup") else self.hold}[name]
        if target == "impl_1":
            run = self.now.folder / f"{self.now.name}.runs" / target
            return {
                "PROGRESS": self.progress,
                "STATUS": "route_design ERROR",
                "DIRECTORY": str(run),
                "STATS.WNS": self.slack,
                "STATS.WHS": self.hold,
            }[name]
        assert target == self.current_project({})
        return {"DIRECTORY": str(self.now.folder)}[name]

    # --- synthesis and constraints --------------------------------------------------------------

    def synth_design(self, options) -> None:
        assert options["-mode"] == "out_of_context"
        assert options["-part"] == self.now.part
        self.now.top = options["-top"]
        self.update_compile_order({})
        for path in self.now.files["constrs_1"]:
            self.interpreter.eval(f"source {{{path}}}")
        self.steps.append("synth")

    def opt_design(self, options) -> None:
        self.steps.append("opt")

    def place_design(self, options) -> None:
        self.steps.append("place")

    def route_design(self, options) -> None:
        assert self.steps == ["synth", "opt", "place"]
        self.steps.append("route")

    def report_utilization(self, options) -> None:
        Path(options["-file"]).write_text("utilization")

    def report_timing_summary(self, options) -> None:
        assert self.steps[-1] == "route"
        Path(options["-file"]).write_text("timing")

    def check_timing(self, options) -> None:
        Path(options["-file"]).write_text("unconstrained")

    def write_checkpoint(self, options, name) -> None:
        Path(name).write_text("checkpoint")

    def get_timing_paths(self, options) -> str:
        (kind,) = options.keys() - {"-max_paths"}
        return f"path {kind}"

    def get_ports(self, options, name="") -> str:
        ports = ports_of(self._text(), self.now.top)
        if name:
            (found,) = (port.name for port in ports if port.name == name)
            return found
        way, but = re.fullmatch(
            r"DIRECTION == (IN|OUT)(?: && NAME != (\w+))?", options["-filter"]
        ).groups()
        assert but is None or but in {port.name for port in ports}
        return " ".join(p.name for p in ports if p.way == f"{way.lower()}put" and p.name != but)

    def create_clock(self, options, ports) -> None:
        assert float(options["-period"]) > 0
        self.clocked["clock"] = {ports}
        self.clock = options["-name"]

    def set_input_delay(self, options, delay, ports) -> None:
        assert (options["-clock"], float(delay)) == (self.clock, 0)
        self.clocked["in"] = set(ports.split())

    def set_output_delay(self, options, delay, ports) -> None:
        assert (options["-clock"], float(delay)) == (self.clock, 0)
        self.clocked["out"] = set(ports.split())

    # --- packaging ------------------------------------------------------------------------------

    def ipx_package_project(self, options) -> None:
        self.repository = Path(options["-root_dir"])
        self.repository.mkdir(exist_ok=True)
        self.core = {"vendor": options["-vendor"], "library": options["-library"]}
        self.inferred = inferred(ports_of(self._text(), self.now.top))

    def ipx_current_core(self, options) -> str:
        assert self.core
        return "packaged"

    def ipx_get_bus_interfaces(self, options, name) -> str:
        assert options["-of_objects"] == "packaged"
        return name if name in self.inferred else ""

    def ipx_get_memory_maps(self, options, name) -> str:
        assert options["-of_objects"] == "packaged"
        return name if name in self.maps else ""

    def ipx_add_memory_map(self, options, name, core) -> str:
        assert core == "packaged"
        return f"map {name}"

    def ipx_add_address_block(self, options, name, owner) -> str:
        assert owner == "map s_axi"
        return f"block {name}"

    def ipx_create_xgui_files(self, options, core) -> None:
        assert core == "packaged"

    def ipx_update_checksums(self, options, core) -> None:
        assert core == "packaged"

    def ipx_save_core(self, options, core) -> None:
        assert core == "packaged"
        (self.repository / "component.xml").write_text("component")
        vlnv = ":".join(self.core[part] for part in ("vendor", "library", "name"))
        self.ips[vlnv] = ports_of(self._text(), self.now.top)

    # --- block designs --------------------------------------------------------------------------

    def update_ip_catalog(self, options) -> None:
        assert Path(self.now.settings["ip_repo_paths"], "component.xml").is_file()

    def create_bd_design(self, options, name) -> None:
        self.design = name
        self.cells, self.values, self.joined = {}, {}, {}

    def create_bd_cell(self, options, name) -> str:
        assert options["-type"] == "ip"
        assert name not in self.cells
        assert options["-vlnv"] in {*PINS, *self.ips}, options["-vlnv"]
        self.cells[name] = options["-vlnv"]
        self.values[name] = {}
        return name

    def apply_bd_automation(self, options, cell) -> None:
        config = self._list(options["-config"])
        assert set(config[::2]) <= AUTOMATION[options["-rule"]]
        assert options["-rule"].rpartition(":")[2] == self.cells[cell].rpartition(":")[2]

    def _pins(self, cell: str, kinds: str) -> dict[str, str]:
        """Pins of some kinds and each pin's kind."""
        vlnv = self.cells[cell]
        if vlnv in self.ips:
            return {name: kind for name, kind in inferred(self.ips[vlnv]).items() if kind in kinds}
        pins = {name: kind for kind, names in PINS[vlnv].items() for name in names.split()}
        for kind, setting in (("s", "NUM_SI"), ("m", "NUM_MI")):
            for i in range(int(self.values[cell].get(setting, 0))):
                pins[f"{kind.upper()}{i:02}_AXI"] = kind
        return {name: kind for name, kind in pins.items() if kind in kinds}

    def _pin(self, path: str, kinds: str) -> str:
        cell, name = path.split("/")
        assert name in self._pins(cell, kinds), f"no pin {path}"
        return path

    def get_bd_pins(self, options, path) -> str:
        return self._pin(path, "io")

    def get_bd_intf_pins(self, options, path) -> str:
        return self._pin(path, "ms")

    def _join(self, one: str, other: str, kinds: str) -> None:
        cell, name = one.split("/")
        assert self._pins(cell, kinds)[name] == kinds[0], f"{one} drives nothing"
        cell, name = other.split("/")
        assert self._pins(cell, kinds)[name] == kinds[1], f"{other} is not driven"
        assert other not in self.joined, f"{other} is driven twice"
        self.joined[other] = one

    def connect_bd_net(self, options, source, sink) -> None:
        self._join(source, sink, "oi")

    def connect_bd_intf_net(self, options, one, other) -> None:
        assert one not in self.joined.values(), f"{one} is connected twice"
        self._join(one, other, "ms")

    def assign_bd_address(self, options) -> None:
        self.assigned = True

    def validate_bd_design(self, options) -> None:
        """Nothing hangs in the air, and streams are equally wide at both ends."""
        assert self.assigned
        ends = {*self.joined, *self.joined.values()}
        for cell in self.cells:
            needed = self._pins(cell, "msi")
            missing = {f"{cell}/{name}" for name in needed} - ends
            assert not missing, missing
        words = int(self.values["axi_dma_0"]["c_m_axis_mm2s_tdata_width"])
        (ports,) = self.ips.values()
        for port in ports:
            assert not port.name.endswith("axis_tdata") or port.bits == words
        self.steps.append("valid")

    def save_bd_design(self, options) -> None:
        path = self.now.folder / f"{self.design}.bd"
        path.touch()
        self.now.files["sources_1"].append(path)

    def generate_target(self, options, what, file) -> None:
        assert self.steps[-1] == "valid"
        assert Path(file).is_file()
        place = self.now.folder / f"{self.now.name}.gen/sources_1/bd/{self.design}/hw_handoff"
        place.mkdir(parents=True)
        (place / f"{self.design}.hwh").write_text("hwh")

    def make_wrapper(self, options) -> str:
        path = self.now.folder / f"{self.design}_wrapper.v"
        path.write_text(f"module {self.design}_wrapper ();\nendmodule\n")
        return str(path)

    def launch_runs(self, options, name) -> None:
        assert (name, options["-to_step"]) == ("impl_1", "write_bitstream")
        assert self.now.top == f"{self.design}_wrapper"
        run = self.now.folder / f"{self.now.name}.runs" / name
        run.mkdir(parents=True)
        (run / f"{self.now.top}.bit").write_text("bit")
        self.steps.append("launched")

    def wait_on_run(self, options, name) -> None:
        assert self.steps[-1] == "launched"

    def get_runs(self, options, name) -> str:
        assert name in ("synth_1", "impl_1")
        return name


def inferred(ports: list[Port]) -> dict[str, str]:
    """Interfaces and single signals that attributes give: master, slave, output or input."""
    found: dict[str, dict[str, Port]] = {}
    for port in ports:
        vlnv, interface, signal = port.info.split()
        kind = {"axi_aclk": "signal:clock", "axi_aresetn": "signal:reset"}.get(interface)
        kind = kind or ("signal:interrupt" if interface == "irq" else None)
        kind = kind or ("interface:axis" if interface.endswith("axis") else "interface:aximm")
        assert vlnv == f"xilinx.com:{kind}:1.0", port.info
        found.setdefault(interface, {})[signal] = port
    kinds = {}
    for interface, signals in found.items():
        if set(signals) != SIGNALS[interface]:
            continue  # Vivado leaves such ports alone
        if len(signals) == 1:
            (port,) = signals.values()
            kinds[port.name] = port.way[0]
            continue
        ways = {
            (port.way == "input") ^ (name in DRIVEN_BY_SLAVES) for name, port in signals.items()
        }
        assert len(ways) == 1, f"{interface} is neither master nor slave"
        kinds[interface] = "s" if ways.pop() else "m"
    check_parameters(found)
    return kinds


def check_parameters(found: dict[str, dict[str, Port]]) -> None:
    """The clock names all buses and the reset, and every interface itself."""
    for interface, signals in found.items():
        named = [p.parameters for p in signals.values() if p.parameters]
        assert [one["XIL_INTERFACENAME"] for one in named] == [interface]
    clock = found["axi_aclk"]["CLK"].parameters
    buses = found.keys() - {"axi_aclk", "axi_aresetn", "irq"}
    assert set(clock["ASSOCIATED_BUSIF"].split(":")) == buses
    assert clock["ASSOCIATED_RESET"] == "axi_aresetn"
    assert found["axi_aresetn"]["RST"].parameters["POLARITY"] == "ACTIVE_LOW"
    first = found["s_axi"]["AWADDR"].parameters
    assert first["PROTOCOL"] == "AXI4LITE"
