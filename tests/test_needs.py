"""Tests that need an optional tool say so by the marker ``needs``, and by nothing else.

Continuous integration runs all tests where there is no such tool, then those marked where there is.
"""

import ast
import functools
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from nibbleforge.sim.tools import toolchain

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FILES = sorted((ROOT / "tests").rglob("*.py"))
SKIPS = {"skip", "skipif", "importorskip"}
OTHER_REASONS = {  # a file, and what its tests cannot do on some machines that no tool cures
    "conftest.py": "the marker itself; a kernel without filters",
    "test_cli.py": "nibbleforge is not installed",
    "test_simulate_refused.py": "only root may mount",
    "test_capture.py": "SmolLM2 is not in the cache",
    "test_reglu_perplexity.py": "numpy without OpenBLAS",
    "test_results.py": "no /dev/full",
    "test_export_litex.py": "LiteX is not installed",
    "vivado.py": "Python without tkinter",
}
EXTRA = {text.partition(">")[0] for text in PROJECT["project"]["optional-dependencies"]["llm"]}


@functools.cache
def attributes(path):
    """Names after a dot, with the call where it is one: ``pytest.mark.needs("sta")``."""
    tree = ast.parse(path.read_text())
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return [(node.attr, calls.get(id(node))) for node in found]


def test_no_test_skips_for_a_tool_by_other_means():
    skipping = {path.name for path in FILES if SKIPS & {name for name, _ in attributes(path)}}
    assert skipping <= set(OTHER_REASONS)


def test_what_is_needed_is_something_that_can_be_missing():
    """A misspelt name would skip its test for ever."""
    needed = [
        argument.value
        for path in FILES
        for name, call in attributes(path)
        if name == "needs" and call
        for argument in call.args
    ]
    optional = {name for name, tool in toolchain.TOOLS.items() if not tool.required}
    assert {"iverilog", "sta", "osu018", "torch"} <= set(needed)
    assert set(needed) <= optional | EXTRA | {"osu018"}


@pytest.mark.parametrize("installed", [False, True])
def test_a_marked_test_is_skipped_where_its_tool_is_missing(tmp_path, installed):
    """The stand-in for Icarus compiles nothing, which the chosen test takes for success."""
    if installed:
        (tmp_path / "iverilog").write_text("#!/bin/sh\n")
        (tmp_path / "iverilog").chmod(0o755)
    case = "tests/hw/test_verilog.py::test_icarus_reads_it[dense-tiny-dense_array-high]"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "-m", "needs", case],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert ("1 passed" in done.stdout) == installed
    assert (toolchain.TOOLS["iverilog"].missing in done.stdout) != installed
