import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import junitparser
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.sim.run import verilator
from nibbleforge.sim.tools.cache import Cache

ODD = 'it\'s an\t"odd, place"\n$x; ü #%'
"""A folder's name that no command line takes without quotes."""

COUNTER = """
module counter(input clk, input rst, input en, output reg [7:0] count);
  wire [7:0] next = count + 8'd1;
  always @(posedge clk) if (rst) count <= 0; else if (en) count <= next;
endmodule
"""

MAIN = """
#include <cstdio>
#include "Vtop.h"
#include "cycles.h"
int main() {
    Vtop top;
    for (int cycle = 0; cycle < CYCLES; ++cycle) {
        top.rst = cycle == 0;
        top.en = 1;
        for (int clk = 0; clk < 2; ++clk) { top.clk = clk; top.eval(); }
    }
    std::printf("%d %d", top.count, VM_TRACE);
}
"""

TESTBENCH = """
import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

@cocotb.test()
async def counts(dut):
    Clock(dut.clk, 10, "ns", impl="gpi").start()
    dut.rst.value = 1
    dut.en.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    for _ in range(20):
        await RisingEdge(dut.clk)
    assert dut.count.value == 19
    assert not hasattr(dut, "next")  # ports only

@cocotb.test()
async def fails(dut):
    assert False
"""

# A compiler that starts a child, tells both process numbers and never ends.
ENDLESS = """#!/bin/sh
if [ "$1" = --version ]; then echo endless 1.0; exit; fi
sleep 600 &
echo $$ $! >> "$LOG"
wait
"""

BUILD = """
import sys
from pathlib import Path
from nibbleforge.sim.run import verilator
directory = Path(sys.argv[1])
verilator.build([directory / "counter.v"], "counter", directory / "main.cpp")
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of this module's own, with what the tests before it compiled of the runtime."""
    root = tmp_path_factory.mktemp("cache") / ODD
    users, unfinished = Cache().root / "runtime", shutil.ignore_patterns("*.lock", "*.partial-*")
    if users.is_dir():
        shutil.copytree(users, root / "runtime", ignore=unfinished)
    return Cache(root)


@pytest.fixture
def design(tmp_path):
    tmp_path /= ODD
    tmp_path.mkdir()
    (tmp_path / "counter.v").write_text(COUNTER)
    (tmp_path / "main.cpp").write_text(MAIN)
    (tmp_path / "cycles.h").write_text("#define CYCLES 10\n")
    return tmp_path


def build(design: Path, cache: Cache, **options) -> Path:
    return verilator.build(
        [design / "counter.v"],
        "counter",
        design / "main.cpp",
        optimise="quick",
        cache=cache,
        **options,
    )


def fake_compiler(directory: Path, text: str) -> str:
    path = directory / "fake-c++"
    path.write_text(text)
    path.chmod(0o755)
    return shlex.quote(str(path))


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended but is not reaped yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_native_simulation_runs(design, cache):
    executable = build(design, cache)
    assert subprocess.check_output([executable], text=True) == "9 0"
    assert not [path for path in executable.parent.iterdir() if path.is_dir()]


@pytest.mark.deep
def test_the_runtime_is_compiled_in_any_folder(design, tmp_path):
    cache = Cache(tmp_path / ODD)
    assert subprocess.check_output([build(design, cache)], text=True) == "9 0"
    entries = {kind: usage.entries for kind, usage in cache.info().kinds.items()}
    assert entries.pop("simulation") == 1
    assert entries.pop("runtime") > 1  # headers and objects


def test_a_build_is_found_again_until_an_input_changes(design, cache):
    executable = build(design, cache)
    began = time.monotonic()
    assert build(design, cache) == executable
    assert time.monotonic() - began < 0.5
    (design / "cycles.h").write_text("#define CYCLES 5\n")
    runtime = cache.info().kinds["runtime"].entries
    changed = build(design, cache)
    assert subprocess.check_output([changed], text=True) == "4 0"
    assert cache.info().kinds["runtime"].entries == runtime


def test_cocotb_drives_the_ports(design, cache, monkeypatch):
    (design / "bench_of_counter.py").write_text(TESTBENCH)
    monkeypatch.syspath_prepend(str(design))
    executable = verilator.build_cocotb([design / "counter.v"], "counter", waves=True, cache=cache)
    results = design / "results.xml"
    environment = verilator.cocotb_environment(
        "bench_of_counter", "counter", results, {"COCOTB_TEST_FILTER": "counts|fails"}
    )
    command = [executable, "--trace", "--trace-file", "counter.vcd"]
    done = subprocess.run(command, env=environment, cwd=design, capture_output=True, text=True)
    assert results.exists(), done.stdout + done.stderr
    suites = junitparser.JUnitXml.fromfile(str(results))
    passed = {case.name: case.is_passed for suite in suites for case in suite}
    assert passed == {"counts": True, "fails": False}
    assert "count" in (design / "counter.vcd").read_text()


def test_errors_carry_the_command_and_its_output(design, cache):
    (design / "main.cpp").write_text("int main() { return undeclared; }")
    with pytest.raises(RuntimeError, match=r"(?s)g\+\+.*ended with 1.*undeclared"):
        build(design, cache)
    (design / "counter.v").write_text("module counter(; endmodule")
    with pytest.raises(RuntimeError, match=r"(?s)--cc.*%Error.*syntax error"):
        build(design, cache)


def test_a_missing_compiler_is_the_users_to_mend(design, cache, monkeypatch):
    monkeypatch.setenv("CXX", "/absent/c++")
    with pytest.raises(UserError, match=r"^CXX names /absent/c\+\+, which was not found: "):
        build(design, cache)


def test_a_full_device_is_the_users_to_mend(design, cache, monkeypatch):
    lines = (
        "#!/bin/sh",
        "[ $1 = --version ] && exit",
        "echo 'fake-c++ 1.0: error: /tmp/x.s: No space left on device'",
        "exit 1",
    )
    text = "\n".join(lines)
    monkeypatch.setenv("CXX", fake_compiler(design, text))
    with pytest.raises(UserError, match=r"^no space left on the device while building in "):
        build(design, cache)


def test_an_interrupt_ends_the_compilers(design, tmp_path):
    environment = {
        **os.environ,
        "CXX": fake_compiler(design, ENDLESS),
        "LOG": str(tmp_path / "log"),
        "NIBBLEFORGE_CACHE": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-c", BUILD, str(design)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    log, deadline = tmp_path / "log", time.monotonic() + 20
    while not log.exists() or not log.read_text().endswith("\n"):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert b"KeyboardInterrupt" in errors
    assert not any(alive(int(number)) for number in log.read_text().split())
    assert not list((tmp_path / "cache").glob("*/*.partial-*"))


def test_lint_returns_one_string_a_warning(design):
    source = design / "counter.v"
    assert verilator.lint([source], "counter") == []
    source.write_text(COUNTER.replace("count + 8'd1", "count + 9'd1"))
    (warning,) = verilator.lint([source], "counter")
    assert warning.startswith("%Warning-WIDTHTRUNC: ")
    waivers = design / "waivers.vlt"
    waivers.write_text("`verilator_config\nlint_off -rule WIDTHTRUNC\nlint_off -rule WIDTHEXPAND\n")
    assert verilator.lint([source], "counter", [waivers]) == []


def test_lint_of_broken_verilog_fails(design):
    (design / "counter.v").write_text("module counter(; endmodule")
    with pytest.raises(RuntimeError, match="syntax error"):
        verilator.lint([design / "counter.v"], "counter")
