"""``nibbleforge export --flow vivado``: every script, against a stand-in for Vivado."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from nibbleforge.golden.units import UNITS, core_name, unit
from nibbleforge.sim.fpga import folder as folders
from nibbleforge.sim.fpga.flows import flow
from nibbleforge.sim.fpga.vivado import SCRIPTS
from nibbleforge.sim.tools import toolchain

from .vivado import ARTIX, ULTRASCALE, ZYNQ, Vivado, ports_of, tkinter

TOP = "core_dense2k_array"
# --- scripts ------------------------------------------------------------------------------------

CORES = [
    (name, design.name)
    for name in UNITS
    for design in unit(core_name(name)).designs(unit(core_name(name)).presets["tiny"])
]


def export_to(path: Path, name: str, preset: str = "tiny", design: str | None = None) -> Path:
    config = unit(core_name(name)).presets[preset]
    folders.export(flow("vivado"), name, config, design=design).write(path)
    return path


def script(folder: Path, name: str) -> Path:
    (path,) = folder.glob(f"*_{name}.tcl")
    return path


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> dict[str, Path]:
    """Exported folders, to be copied."""
    root = tmp_path_factory.mktemp("exported")
    return {name: export_to(root / name, name) for name in ("dense2k", "reglu")}


@pytest.fixture(params=["dense2k", "reglu"])
def folder(request, originals, tmp_path, monkeypatch) -> Path:
    """An exported folder; scripts run from another one."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(originals[request.param], tmp_path / "out")


@pytest.fixture
def dense(originals, tmp_path) -> Path:
    """The folder of `dense2k`."""
    return shutil.copytree(originals["dense2k"], tmp_path / "out")


@pytest.mark.parametrize("part", [ZYNQ, ULTRASCALE])
def test_every_script_runs(folder, part):
    top = script(folder, "common").stem.removesuffix("_common")
    for name in SCRIPTS:
        Vivado().source(script(folder, name), part)
    made = {
        f"{top}_reports": {"utilization.txt", "timing.txt", "unconstrained.txt", f"{top}.dcp"},
        f"{top}_project": {f"{top}_project.xpr"},
        f"{top}_ip": {"component.xml"},
        f"{top}_overlay": {f"{top}.bit", f"{top}.hwh"},
    }
    for place, files in made.items():
        assert {path.name for path in (folder / place).iterdir()} == files


def test_all_ports_are_timed(folder):
    vivado = Vivado()
    vivado.source(script(folder, "synth"), ZYNQ)
    (wrapper,) = folder.glob("*_ip.v")
    names = {port.name for port in ports_of(wrapper.read_text(), wrapper.stem)}
    timed = vivado.clocked
    assert timed["clock"] == {"axi_aclk"}
    assert timed["clock"] | timed["in"] | timed["out"] == names
    assert vivado.printed == ["the clock is met: setup slack 0.5 ns, hold slack 0.25 ns"]


def test_nothing_is_hidden_or_locked(folder):
    """No exceptions of timing; no part, version or path of a machine."""
    for path in [*folder.glob("*.tcl"), *folder.glob("*.xdc")]:
        text = path.read_text()
        for hidden in (
            "set_false_path",
            "set_multicycle_path",
            "set_clock_groups",
            "set_max_delay",
        ):
            assert hidden not in text
        code = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
        assert not re.search(r"\bxc\w+", code)
        assert not re.search(r"xilinx\.com:ip:\w+:\d", code)
        assert "version -short" not in code
        assert str(folder.parent) not in text
        assert "@@" not in text


def test_the_block_design_has_the_clock_of_the_constraints(folder):
    (constraints,) = folder.glob("*.xdc")
    constraints.write_text(constraints.read_text().replace("-period 10.000", "-period 8.000"))
    vivado = Vivado()
    vivado.source(script(folder, "pynq"), ZYNQ, "tul.com.tw:pynq-z2:part0:1.0")
    assert vivado.values["ps_0"]["PCW_FPGA0_PERIPHERAL_FREQMHZ"] == "125.0"
    assert any("apply_board_preset 1" in line for line in vivado.log)


def test_names_are_those_that_the_driver_looks_for(folder):
    vivado = Vivado()
    vivado.source(script(folder, "pynq"), ZYNQ)
    assert {"core_0", "axi_dma_0"} <= vivado.cells.keys()


@pytest.mark.parametrize("known", [{}, {"s_axi": "4096"}], ids=str)
def test_registers_have_a_map(dense, known):
    """Made where Vivado does not make it by itself."""
    vivado = Vivado(maps=dict(known))
    vivado.source(script(dense, "package"), ZYNQ)
    assert vivado.maps == (known or {"block registers": "4096"})


def test_what_is_yours_is_not_made_anew(dense):
    for name in ("pynq", "pynq", "synth", "synth", "project"):
        Vivado().source(script(dense, name), ZYNQ)
    with pytest.raises(tkinter.TclError, match=r"^create_project: .*there already"):
        Vivado().source(script(dense, "project"), ZYNQ)


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name a part: vivado -mode batch -source SCRIPT -tclargs PART"),
        (["xc7"], "this Vivado has no part xc7: see get_parts"),
    ],
)
def test_a_part_is_needed(dense, name, arguments, sentence):
    before = {path.name for path in dense.iterdir()}
    with pytest.raises(tkinter.TclError, match=f"^{re.escape(sentence)}$"):
        Vivado().source(script(dense, name), *arguments)
    assert {path.name for path in dense.iterdir()} == before


def test_pynq_needs_a_zynq(dense):
    sentence = f"^{ARTIX} has no processing system that PYNQ runs on: name a Zynq$"
    with pytest.raises(tkinter.TclError, match=sentence):
        Vivado().source(script(dense, "pynq"), ARTIX)
    assert not (dense / f"{TOP}_pynq").exists()


@pytest.mark.parametrize("name", ["synth", "pynq"])
@pytest.mark.parametrize("slack", ["-0.25", ""])
@pytest.mark.parametrize("kind", ["setup", "hold"])
def test_a_clock_that_is_not_met_is_an_error(dense, name, kind, slack):
    sentence = f"^the clock is not met: {kind} slack {slack} ns, see "
    slacks = {"slack" if kind == "setup" else kind: slack}
    with pytest.raises(tkinter.TclError, match=sentence):
        Vivado(**slacks).source(script(dense, name), ZYNQ)


def test_a_project_is_out_of_context(dense):
    """The ports of a core are more than the pins of most parts."""
    vivado = Vivado()
    vivado.source(script(dense, "project"), ZYNQ)
    assert any("MORE OPTIONS" in line and "-mode out_of_context" in line for line in vivado.log)


def test_a_run_that_fails_is_told(dense):
    with pytest.raises(tkinter.TclError, match=r"^no bitstream: route_design ERROR, see "):
        Vivado(progress="60%").source(script(dense, "pynq"), ZYNQ)
    assert not (dense / f"{TOP}_overlay").exists()


def test_an_interface_that_is_not_inferred_is_told(dense):
    wrapper = dense / f"{TOP}_ip.v"
    wrapper.write_text(wrapper.read_text().replace("s_axi BRESP", "s_axi BRESPONSE"))
    with pytest.raises(tkinter.TclError, match=r"^Vivado did not infer the interface s_axi$"):
        Vivado().source(script(dense, "package"), ZYNQ)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("pynq", "core_0/irq", "core_0/interrupt"),
        ("pynq", "reset_0/ext_reset_in\n", "reset_0/ext_reset_in_n\n"),
        ("pynq", "join_interfaces core_0/m_axis", "join_interfaces core_0/s_axis"),
        ("pynq", " core_0/axi_aclk", ""),
        ("pynq", "mm2s_tdata_width $bus_width", "mm2s_tdata_width 64"),
        ("pynq", "xilinx.com:ip:axi_dma axi", "xilinx.com:ip:dma axi"),
        ("synth", "report_utilization -hierarchical", "report_utilization -tree"),
        ("synth", "place_design\n", ""),
        ("project", "top $ip", "top ${ip}s"),
        ("common", "$top.xdc", "$ip.xdc"),
    ],
)
def test_the_stand_in_finds_faults(dense, name, old, new):
    path = script(dense, name)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(tkinter.TclError):
        Vivado().source(script(dense, "synth" if name == "common" else name), ZYNQ)


# --- the top module -----------------------------------------------------------------------------


def assert_no_warnings(folder: Path) -> None:
    """Of the top module with the core in it."""
    (wrapper,) = folder.glob("*_ip.v")
    core = wrapper.stem.removesuffix("_ip")
    found = toolchain.require("verilator")
    arguments = ["--lint-only", "-Wall", "--top-module", wrapper.stem]
    done = subprocess.run(
        [*found.command, *arguments, f"{core}.vlt", wrapper.name, f"{core}.v"],
        cwd=folder,
        env={**os.environ, **found.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_top_module_fits_the_core(folder):
    assert_no_warnings(folder)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["tiny", "fpga"])
@pytest.mark.parametrize(("name", "design"), CORES)
def test_every_core(tmp_path, name, design, preset):
    owner = unit(core_name(name))
    several = len(owner.designs(owner.presets[preset])) > 1
    folder = export_to(tmp_path, name, preset, design if several else None)
    for stem in SCRIPTS:
        Vivado().source(script(folder, stem), ZYNQ)
    assert_no_warnings(folder)


# --- the folder ---------------------------------------------------------------------------------


def test_the_folder(run, tmp_path):
    out = tmp_path / "out"
    done = run("export", "dense2k", "--preset", "tiny", "--flow", "vivado", "-o", out)
    assert (done.status, done.err) == (0, "")
    ends = (
        *(".v", ".json", ".vh", ".vlt", ".h", "_registers.py", "_registers.md", "_ip.v", ".xdc"),
        *(f"_{name}.tcl" for name in ("common", *SCRIPTS)),
    )
    assert {path.name for path in out.iterdir()} == {"README.md", *(f"{TOP}{end}" for end in ends)}
    *_, where, synth, pynq = done.out.splitlines()
    assert where == f"In {out}:"
    for line, name in ((synth, "synth"), (pynq, "pynq")):
        assert line == f"vivado -mode batch -source {TOP}_{name}.tcl -tclargs {ZYNQ}"
        assert f"    {line}\n" in (out / "README.md").read_text()
