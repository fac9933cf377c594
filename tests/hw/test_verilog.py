"""Emitted files of every preset of every unit, as the tools of a user see them."""

import functools
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from nibbleforge.golden.bitmap import BitmapConfig
from nibbleforge.golden.contract.config import Config
from nibbleforge.golden.contract.design import Design, Unit
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.dense import ARRAY, DenseConfig
from nibbleforge.golden.dequantizer import DequantizerConfig
from nibbleforge.golden.reglu.config import RegluConfig
from nibbleforge.golden.units import UNITS
from nibbleforge.golden.version import VERSION
from nibbleforge.hw.generate import Generated, generate
from nibbleforge.sim.run import verilator
from nibbleforge.sim.tools import toolchain

WAIVABLE = {"DECLFILENAME", "PROCASSINIT", "WIDTHEXPAND", "UNUSEDSIGNAL"}
TINY = DenseConfig(rows=2, columns=2, max_k=16)
SMALL_FFN = {"lanes": 2, "max_features": 8, "max_neurons": 16, "survivors": 2, "in_flight": 2}

# Reads Verilog, elaborates it and tells the ports of the top module: name to width and direction.
YOSYS = """
import json, sys
from pyosys import libyosys
design = libyosys.Design()
for command in (f"read_verilog {sys.argv[1]}", f"hierarchy -check -top {sys.argv[2]}",
                "proc", "check -assert"):
    libyosys.Pass.call(design, f"tee -q {command}")
wires = design.top_module().wires_.values()
print(json.dumps({str(w.name)[1:]: [w.width, "in" if w.port_input else "out"]
                  for w in wires if w.port_id}))
"""


IDLE = [
    (
        DenseConfig(rows=2, columns=2, max_k=16, passes=1),
        {"recode": "twos", "activation_bits": 8, "weight_bits": 4},
    ),
    (DequantizerConfig(rows=2, columns=2), {"ones_bits": 20}),
    (BitmapConfig(group=8, beat=2, mode="scatter"), {"width": 2}),
    (BitmapConfig(group=8, beat=2, value_width=0), {"beat": 4}),
    (RegluConfig(**SMALL_FFN, predictor=False), {"mask_group": 4}),
]
"""Configurations, and changes that change nothing."""


@pytest.mark.parametrize(("config", "changes"), IDLE, ids=str)
def test_parameters_left_out_of_the_hash_change_nothing(config, changes):
    other = config.replace(**changes)
    assert set(changes) == config.idle == other.idle
    unit = next(unit for unit in UNITS.values() if unit.config is type(config))
    for design in unit.designs(config):
        one, two = generate(design, config), generate(design, other)
        assert one == two


@dataclass(frozen=True)
class Case:
    unit: str
    preset: str
    design: Design
    config: Config
    reset: str

    @property
    def files(self) -> Generated:
        return _generated(self.design, self.config, self.reset)


@functools.cache
def _generated(design, config, reset) -> Generated:
    return generate(design, config, reset=reset)


def mark(unit: Unit, design: Design, preset: str, reset: str):
    """The mark of a case that takes seconds to emit and to lint, and shows little more."""
    having = [name for name, config in unit.presets.items() if design in unit.designs(config)]
    some = [name for name in having if name in ("tiny", "fpga")] or having[-1:]
    if preset == "tiny":
        return () if reset == "high" or unit is UNITS["dense"] else pytest.mark.deep
    return pytest.mark.deep if preset in some and reset == "high" else pytest.mark.slow


CASES = [
    pytest.param(
        Case(unit.name, preset, design, config, reset),
        marks=mark(unit, design, preset, reset),
        id=f"{unit.name}-{preset}-{design.name}-{reset}",
    )
    for unit in UNITS.values()
    for preset, config in unit.presets.items()
    for design in unit.designs(config)
    for reset in ("high", "low")
]


@pytest.fixture(scope="module", params=CASES)
def case(request) -> Case:
    """One case after the other, so that each is generated once."""
    return request.param


def modules(verilog: str) -> dict[str, str]:
    """Module name to text."""
    found = re.findall(r"^module (\w+) \((.*?)^endmodule", verilog, re.M | re.S)
    assert len(found) == verilog.count("endmodule")
    return dict(found)


def without_body(files: Generated) -> str:
    """The top module with its ports alone: what is inside is linted by another test."""
    text = modules(files.verilog)[files.name]
    names = re.match(r".*?\);", text, re.S)[0]
    ports = re.findall(r"^  (?:input|output) .*;$", text, re.M)
    return "\n".join([f"module {files.name}({names}", *ports, "endmodule", ""])


def expected_ports(manifest: dict) -> dict[str, list]:
    """What the manifest says of the Verilog's ports."""
    found = {manifest["clock"]["name"]: [1, "in"], manifest["reset"]["name"]: [1, "in"]}
    for port in manifest["ports"]:
        back = "out" if port["direction"] == "in" else "in"
        found[port["signals"]["valid"]] = [1, port["direction"]]
        found[port["signals"]["payload"]] = [port["width"], port["direction"]]
        found[port["signals"]["ready"]] = [1, back]
    return found | {manifest["events"]["signal"]: [manifest["events"]["width"], "out"]}


def test_lint_is_silent(case, tmp_path):
    files = case.files
    files.write(tmp_path)
    source, waivers = tmp_path / f"{files.name}.v", tmp_path / f"{files.name}.vlt"
    assert verilator.lint([source], files.name, [waivers]) == []


def test_waivers_name_only_what_yosys_always_trips(case):
    name = case.files.name
    rules = [line for line in case.files.waivers.splitlines() if not line.startswith("//")]
    assert rules.pop(0) == "`verilator_config"
    found = [re.fullmatch(r'lint_off -rule (\w+) -file "(.*)"', rule) for rule in rules]
    assert all(found)
    assert {match[1] for match in found} <= WAIVABLE
    assert {match[2] for match in found} == {f"{name}.v", f"*/{name}.v"}


def test_yosys_reads_it_and_finds_the_ports_of_the_manifest(case, tmp_path):
    files = case.files
    files.write(tmp_path)
    command = [sys.executable, "-c", YOSYS, str(tmp_path / f"{files.name}.v"), files.name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((tmp_path / f"{files.name}.json").read_text())
    assert json.loads(done.stdout) == expected_ports(manifest)


@pytest.mark.needs("iverilog")
def test_icarus_reads_it(case, tmp_path):
    found = toolchain.require("iverilog")
    case.files.write(tmp_path)
    name = case.files.name
    command = [*found.command, "-g2005", "-Wall", "-t", "null", "-s", name, f"{name}.v"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_manifest_describes_the_design(case):
    files, config = case.files, case.config
    manifest = files.manifest
    assert json.loads(files.files[f"{files.name}.json"]) == manifest
    assert manifest["config_hash"] == config.config_hash
    parameters = config.model_dump(mode="json", exclude=set(config.idle))
    assert {"type": type(config).__name__, **parameters} == manifest["config"]
    assert manifest["reset"]["name"] == {"high": "rst", "low": "rst_n"}[case.reset]
    assert manifest["reset"]["active"] == case.reset
    assert [port["name"] for port in manifest["ports"]] == [
        port.name for port in case.design.ports(config)
    ]
    assert sorted([*manifest["files"], f"{files.name}.json"]) == sorted(files.files)
    for port in (*manifest["ports"], manifest["events"]):
        end = 0
        for field in port["fields"]:
            assert field["offset"] == end
            end += field["width"] * (field.get("count") or 1)
        assert end == port["width"]


def test_every_distinct_module_comes_once(case):
    names = re.findall(r"^module (\w+) \(", case.files.verilog, re.M)
    assert len(set(names)) == len(names)
    assert sorted(case.files.manifest["modules"]) == sorted(names)
    bodies = modules(case.files.verilog)
    assert len(set(bodies.values())) == len(bodies)
    for name, body in bodies.items():
        used = name == case.files.name or any(
            re.search(rf"^  {name} ", other, re.M) for other in bodies.values()
        )
        assert used, f"{name} has no instance"
        assert name.startswith(case.files.name)
        assert "$auto$" not in body


def test_the_header_tells_where_it_comes_from(case):
    header = re.match(r"(//.*\n)+", case.files.verilog)[0]
    assert f"// Configuration hash: {case.config.config_hash}\n" in header
    assert f"nibbleforge {VERSION}" in header
    text = re.sub(r"\n//\s*", " ", header)
    (config,) = re.findall(r"Configuration: (\{.*?\}) Configuration hash", text)
    assert json.loads(config) == json.loads(case.config.canonical_json())
    for port in case.design.ports(case.config):
        assert f"// Port {port.name} ({port.direction}): " in header


def test_it_reads_well(case):
    """Clock and reset first, a comment above each module, plain names, lines of 100 columns."""
    verilog = case.files.verilog
    clocked = {name: "clk" in body for name, body in modules(verilog).items()}
    for name, is_clocked in clocked.items():
        start = rf"^// \S.*\nmodule {name} \(\n"
        pins = r"  input clk,\n  input rst(_n)?,\n" if is_clocked else ""
        assert re.search(start + pins, verilog, re.M), name
    assert "\\" not in verilog  # no name needs an escape
    assert "$" not in re.sub(r"\$signed\(", "", re.sub(r"//.*", "", verilog))
    assert "Yosys" not in verilog
    assert "/*" not in verilog  # what Yosys writes where nothing happens
    names = re.findall(r"^module (\w+)", verilog, re.M)
    assert not [name for name in names if re.search(r"_[0-9a-f]{6}$", name)]
    assert not re.findall(r"\b[A-Za-z]\w*_\b", verilog)  # a keyword that became a name
    assert not re.findall(r"\bsignal\b", re.sub(r"//.*", "", verilog))  # nobody gave it a name
    long = [line for line in verilog.splitlines() if len(line) > 100]
    assert not [line for line in long if " " in line.strip()]  # nothing that could be wrapped


def anonymous(verilog: str) -> tuple[int, int]:
    """Nets without a name, and all nets."""
    nets = re.findall(r"^  (?:(?:input|output|wire|reg) )+(?:\[\d+:0\] )?(\w+)", verilog, re.M)
    return sum(re.fullmatch(r"_\d+_", net) is not None for net in nets), len(nets)


MOST_ANONYMOUS = {"tiny": 0.06, "paper": 0.20}
"""Share of all nets."""
ALL_NAMED = {"anda", "dense2k", "reglu"}
"""Units of which every net has a name in the smallest configuration."""


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=f"{case.design.name}-{case.preset}",
            marks=() if case.preset == "tiny" else pytest.mark.deep,
        )
        for case in (parameters.values[0] for parameters in CASES)
        if case.reset == "high"
        and (case.preset == "tiny" or (case.unit, case.preset) == ("sparqle", "paper"))
    ],
)
def test_few_nets_have_no_name(case, record_property):
    found, of = anonymous(case.files.verilog)
    record_property("nets without a name", f"{found} of {of}")
    most = 0 if case.unit in ALL_NAMED and case.preset == "tiny" else MOST_ANONYMOUS[case.preset]
    assert found <= most * of


def test_a_processing_element_multiplies_once():
    for preset in ("dense", "sparqle", "nm"):
        config = UNITS[preset].presets["tiny"]
        (design,) = UNITS[preset].designs(config)
        for name, body in modules(_generated(design, config, "high").verilog).items():
            products = re.findall(r"= (\S+ \* \S+);", body)
            assert len(set(products)) == len(products), name


def test_the_instantiation_template_elaborates(case, tmp_path):
    """In a module that has nothing but clock and reset, every port at its own width."""
    files = case.files
    wrapper, shell = tmp_path / "wrapper.v", tmp_path / "shell.v"
    reset = files.manifest["reset"]["name"]
    wrapper.write_text(f"module wrapper(input clk, input {reset});\n{files.template}endmodule\n")
    shell.write_text(without_body(files))
    found = verilator.lint([wrapper, shell], "wrapper")
    rules = {re.match(r"%Warning-(\w+)", warning)[1] for warning in found}
    assert rules <= {"DECLFILENAME", "UNDRIVEN", "UNUSEDSIGNAL"}  # the user's part
    connected = set(re.findall(r"^  \.(\w+)\(\1\),?$", files.template, re.M))
    assert connected == set(expected_ports(files.manifest))


def test_lint_notices_a_width_that_does_not_fit(tmp_path):
    """The negative control of the test above."""
    files = generate(ARRAY, TINY)
    narrow = re.sub(
        r"^wire \[\d+:0\] y_payload", "wire [1:0] y_payload", files.template, flags=re.M
    )
    assert narrow != files.template
    wrapper = tmp_path / "wrapper.v"
    wrapper.write_text(f"module wrapper(input clk, input rst);\n{narrow}endmodule\n")
    shell = tmp_path / "shell.v"
    shell.write_text(without_body(files))
    found = verilator.lint([wrapper, shell], "wrapper")
    assert any(re.match(r"%Warning-WIDTH", warning) for warning in found)


def test_the_name_is_the_prefix_of_every_module():
    files = generate(ARRAY, TINY, name="mine")
    assert set(files.files) == {"mine.v", "mine.json", "mine.vh", "mine.vlt"}
    assert all(name.startswith("mine") for name in files.manifest["modules"])
    assert re.search(r"^mine mine_0 \($", files.template, re.M)


def test_two_configurations_live_in_one_project(tmp_path):
    """Of one design, in one compilation of Verilator and of Icarus."""
    for name, columns in (("one", 2), ("other", 3)):
        generate(ARRAY, TINY.replace(columns=columns), name=name).write(tmp_path)
    instances = "".join(f"  {name} {name}_0(.clk(clk), .rst(rst));\n" for name in ("one", "other"))
    (tmp_path / "project.v").write_text(
        f"module project(input clk, input rst);\n{instances}endmodule\n"
    )
    sources = [tmp_path / f"{name}.v" for name in ("project", "one", "other")]
    waivers = [tmp_path / "one.vlt", tmp_path / "other.vlt"]
    found = verilator.lint(sources, "project", waivers)
    assert {re.match(r"%Warning-(\w+)", warning)[1] for warning in found} == {"PINMISSING"}
    icarus = toolchain.find("iverilog")
    if icarus is not None:
        command = [*icarus.command, "-g2005", "-t", "null", "-s", "project", *map(str, sources)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.deep
def test_no_two_units_share_a_module():
    """Of the smallest configurations of every unit, group scales included."""
    presets = {"tiny", "q4_0", "q4_1"}
    cases = [case.values[0] for case in CASES]
    chosen = [case for case in cases if case.preset in presets and case.reset == "high"]
    smallest = {case.design.name: case for case in reversed(chosen)}
    owners = {name: {c.unit for c in chosen if c.design.name == name} for name in smallest}
    assert all(len(units) == 1 for units in owners.values()), owners
    modules = [name for case in smallest.values() for name in case.files.manifest["modules"]]
    assert len(set(modules)) == len(modules)


@pytest.mark.parametrize("relative", [True, False])
def test_waivers_reach_no_file_but_ours(tmp_path, monkeypatch, relative):
    """A user's ``pipe.v`` beside our ``pe.v`` keeps its warnings, wherever lint is started."""
    files = generate(ARRAY, TINY, name="pe")
    files.write(tmp_path)
    (tmp_path / "pipe.v").write_text(
        "module pipe(input clk, input rst, input [1:0] a, output [2:0] b);\n"
        "  wire spare;\n  assign b = a;\n  pe pe_0(.clk(clk), .rst(rst));\nendmodule\n"
    )
    monkeypatch.chdir(tmp_path)
    folder = Path() if relative else tmp_path
    found = lint_as_given([folder / "pe.vlt", folder / "pe.v", folder / "pipe.v"], "pipe")
    assert "/pe.v:" not in found
    assert " pe.v:" not in found
    for rule in ("UNUSEDSIGNAL", "WIDTHEXPAND"):
        assert re.search(rf"%Warning-{rule}: \S*pipe\.v", found)


def lint_as_given(paths: list[Path], top: str) -> str:
    """What ``verilator -Wall`` says of files by just these paths."""
    found = toolchain.require("verilator")
    options = ["--lint-only", "-Wall", "-Wno-fatal", "-Wno-PINMISSING", "--top-module", top]
    command = [*found.command, *options, *map(str, paths)]
    environment = {**os.environ, **(found.environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stderr


@pytest.mark.parametrize("name", ["2dense", "a-b", "a b", "", "ä", "a.b", "x;y"])
def test_a_name_that_is_no_identifier_is_refused(name):
    with pytest.raises(UserError, match=r"^a module name must be a Verilog identifier, got "):
        generate(ARRAY, TINY, name=name)


@pytest.mark.parametrize("name", ["module", "wire", "logic", "interface", "new", "this"])
def test_a_keyword_is_no_name(name):
    with pytest.raises(UserError, match=r"^a module name must not be a keyword of Verilog, got "):
        generate(ARRAY, TINY, name=name)


@pytest.mark.parametrize("name", ["clk", "rst", "events", "x_valid", "y_payload"])
def test_a_port_is_no_name(name):
    sentence = f"a module name must not be that of one of its ports, got '{name}'."
    with pytest.raises(UserError, match=rf"^{re.escape(sentence)}$"):
        generate(ARRAY, TINY, name=name)


@pytest.mark.parametrize("name", ["TOP", "std"])
def test_a_name_that_tools_keep_for_themselves_is_refused(name):
    with pytest.raises(UserError, match=r"^a module name must not be that of \w.*, got "):
        generate(ARRAY, TINY, name=name)


def test_emission_is_reproducible():
    assert generate(ARRAY, TINY) == generate(ARRAY, TINY)


@pytest.mark.parametrize("name", ["sparqle", "figna"])
def test_verilog_does_not_depend_on_what_was_emitted_before(name):
    """Builds are cached by it."""
    config = UNITS[name].presets["tiny"]
    (design,) = UNITS[name].designs(config)
    texts = {generate(design, config).verilog for _ in range(3)}
    assert len(texts) == 1


def test_verilog_is_the_same_in_every_process():
    """Whatever order Python's sets have there."""
    script = (
        "from nibbleforge.golden.units import UNITS\n"
        "from nibbleforge.hw.generate import generate\n"
        "config = UNITS['nm'].presets['tiny']\n"
        "print(generate(*UNITS['nm'].designs(config), config).verilog)\n"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
