"""Timing on FPGAs: the boundary of registers, paths in the design's names, what does not fit."""

import re

import pytest
from nibbleforge.golden.contract.errors import ToolError
from nibbleforge.golden.units import unit
from nibbleforge.hw.generate import generate
from nibbleforge.hw.soc.generate import generate_core
from nibbleforge.sim.fpga.boundary import boundary
from nibbleforge.sim.fpga.fit import to_lower
from nibbleforge.sim.fpga.paths import Step, design_name, read_path
from nibbleforge.sim.fpga.place import Target, TooLargeError, place
from nibbleforge.sim.fpga.synthesis import ECP5, XILINX, synthesise
from nibbleforge.sim.run import verilator
from nibbleforge.sim.tools import toolchain
from nibbleforge.sim.tools.toolchain import Found
from nibbleforge.sim.tools.workers import Workers


def design_of(name, **parameters):
    owner = unit(name)
    config = owner.presets["tiny"].replace(**parameters)
    return owner.designs(config)[0], config


def generated(name):
    design, config = design_of(name)
    return generate_core(design, config, name) if design.inner else generate(design, config)


@pytest.mark.parametrize("name", ["bitmap", "dense2k", "core/dense2k"])
def test_boundary_is_clean_verilog(tmp_path, name):
    """Every port of the design is connected, with its width."""
    design = generated(name)
    top, verilog = boundary(design)
    (tmp_path / f"{top}.v").write_text(verilog)
    (tmp_path / "rules.vlt").write_text(
        "`verilator_config\n"
        + "".join(
            f"lint_off -rule {rule}\n"
            for rule in ("DECLFILENAME", "PROCASSINIT", "WIDTHEXPAND", "UNUSEDSIGNAL", "MULTITOP")
        )
    )
    assert verilator.lint([tmp_path / f"{top}.v"], top, [tmp_path / "rules.vlt"]) == []


def test_boundary_adds_a_register_a_port_bit(tmp_path):
    design, config = design_of("dense2k", rows=1, columns=1)
    emitted = generate(design, config)
    top, verilog = boundary(emitted)
    ports = sum(1 + 1 + port.width for port in design.ports(config))
    events = sum(event.width for event in design.events(config))
    with Workers(1) as workers:
        (tmp_path / "inner").mkdir()
        alone = synthesise(emitted.verilog, design.name, ECP5, workers, tmp_path / "inner")
        around = synthesise(verilog, top, ECP5, workers, tmp_path)
    # events that are constant, or equal to others, need no register of their own
    added = around["TRELLIS_FF"] - alone["TRELLIS_FF"]
    assert 1 + ports <= added <= 1 + ports + events
    assert around["MULT18X18D"] == alone["MULT18X18D"] == 1


@pytest.mark.deep
def test_xilinx_counts_cells(tmp_path):
    design, config = design_of("sparqle")
    with Workers(1) as workers:
        verilog = generate(design, config).verilog
        cells = synthesise(verilog, design.name, XILINX, workers, tmp_path)
    assert {"FDRE", "LUT6", "RAM32M"} <= set(cells)
    assert not any(kind.endswith("BUF") for kind in cells)
    assert list(cells.values()) == sorted(cells.values(), reverse=True)


def segment(kind, delay, cell):
    return {"type": kind, "delay": delay, "to": {"cell": cell}}


def test_paths_have_the_names_of_the_design():
    path = read_path(
        [
            segment("clk-to-q", 0.5, "unit.row_2.pe_4.x_TRELLIS_FF_Q_1"),
            segment("routing", 2.0, "unit.row_2.pe_4.product_MULT18X18D_P9"),
            segment("logic", 4.0, "unit.row_2.pe_4.product_MULT18X18D_P9"),
            segment("routing", 1.0, "unit.row_2.pe_4.sum_TRELLIS_FF_Q_DI_CCU2C_S0$CCU2_COMB1"),
            segment("logic", 0.25, "unit.row_2.pe_4.sum_TRELLIS_FF_Q_DI_CCU2C_S0$CCU2_COMB1"),
            segment("logic", 0.25, "unit.row_2.pe_4.sum_TRELLIS_FF_Q_DI_CCU2C_S0_1$CCU2_COMB0"),
            segment("routing", 0.5, "unit.memory.0.0"),
            segment("setup", 0.125, "unit.memory.0.0"),
        ],
        {"unit.memory.0.0": "DP16KD"},
    )
    assert path.steps == (
        Step("row_2.pe_4.x", "TRELLIS_FF", 0.5, 0.0),
        Step("row_2.pe_4.product", "MULT18X18D", 4.0, 2.0),
        Step("row_2.pe_4.sum", "CCU2C", 0.5, 1.0),
        Step("memory", "DP16KD", 0.125, 0.5),
    )
    assert (path.start, path.end) == ("row_2.pe_4.x", "memory")
    assert (path.logic, path.routing, path.ns) == (5.125, 3.5, 8.625)


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("x_payload_inside_TRELLIS_FF_Q_3", "x_payload_inside"),
        ("unit.a.b_LUT4_Z_1_A_PFUMX_Z", "a.b"),
        ("unit.kept_LUT4s", "kept_LUT4s"),
        ("$auto$1234", "$auto$1234"),
        ("unit.registers.words.0.0_DIB13_LUT4_Z", "registers.words"),
        ("unit.a.12.3$DPRAM0", "a"),
    ],
)
def test_names_of_cells(cell, name):
    assert design_name(cell) == name


@pytest.mark.deep
def test_parameters_that_would_help(tmp_path):
    with Workers(1) as workers:
        products = to_lower(*design_of("dense2k"), "MULT18X18D", workers, tmp_path)
        memories = to_lower(*design_of("reglu"), "DP16KD", workers, tmp_path)
        logic = to_lower(*design_of("bitmap"), "TRELLIS_COMB", workers, tmp_path)
    assert set(products) == {"rows", "columns"}
    assert memories
    assert logic


def stand_in(monkeypatch, tmp_path, script):
    """nextpnr is a shell script."""
    program = tmp_path / "nextpnr"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    tool = toolchain.TOOLS["nextpnr-ecp5"]
    found = Found(program, "1", (str(program),))
    changed = type(tool)(tool.name, tool.purpose, tool.remedy, lambda: found)
    monkeypatch.setitem(toolchain.TOOLS, tool.name, changed)


TARGET = Target("85k", 150.0)


def test_what_does_not_fit(monkeypatch, tmp_path):
    lines = "Info: \tMULT18X18D: 195/ 156 125%\nInfo: \tDP16KD: 2/ 208 0%"
    stand_in(monkeypatch, tmp_path, f"echo '{lines}'; exit 1")
    sentence = r"it does not fit an LFE5U-85F: it has 195 MULT18X18D of 156, 25% too many\."
    with Workers(1) as workers, pytest.raises(TooLargeError, match=sentence) as caught:
        place(TARGET, 1, workers, tmp_path)
    found = caught.value
    assert (found.resource, found.used, found.available) == ("MULT18X18D", 195, 156)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("echo 'ERROR: no way.'; exit 1", r"nextpnr failed: ERROR: no way\."),
        ("exit 125", r"nextpnr failed: it printed nothing\."),
        ("echo 'Info: Program finished normally.'", r"nextpnr's report is not whole \(.*\)\."),
    ],
)
def test_nextpnr_that_fails(monkeypatch, tmp_path, script, sentence):
    stand_in(monkeypatch, tmp_path, script)
    with Workers(1) as workers, pytest.raises(ToolError) as caught:
        place(TARGET, 1, workers, tmp_path)
    assert re.fullmatch(sentence, caught.value.sentence)
