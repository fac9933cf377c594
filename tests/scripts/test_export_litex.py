"""A core in a LiteX SoC, by the class that the documents show."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = "core_dense2k_array"
DOCUMENT = Path(__file__).parents[2] / "docs" / "fpga.md"
SOC = f"""
from litex.build.generic_platform import Pins
from litex.build.sim import SimPlatform
from litex.gen import LiteXModule
from litex.soc.integration.soc_core import SoCCore
from litex_core import add_core
from migen import ClockDomain

PINS = [(name, 0, Pins(1)) for name in ("sys_clk", "sys_rst", "serial")]


class Clock(LiteXModule):
    def __init__(self, platform):
        self.cd_sys = ClockDomain()
        self.comb += self.cd_sys.clk.eq(platform.request("sys_clk"))
        self.comb += self.cd_sys.rst.eq(platform.request("sys_rst"))


platform = SimPlatform("SIM", PINS)
soc = SoCCore(platform, 100e6, cpu_type=None, with_uart=False, integrated_sram_size=4096)
soc.clock = Clock(platform)
add_core(soc, "out", "{TOP}")
soc.finalize()
platform.get_verilog(soc).write("soc.v")
print(soc.bus.regions["core"].origin)
"""


@pytest.mark.needs("iverilog")
@pytest.mark.skipif(importlib.util.find_spec("litex") is None, reason="needs LiteX.")
def test_an_soc_with_a_core_is_elaborated(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        run("export", "dense2k", "--preset", "tiny", "--flow", "verilog", "-o", "out").status == 0
    )
    (shown,) = re.findall(
        r"^<!-- file: litex_core.py -->\n```python\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S
    )
    Path("litex_core.py").write_text(shown)
    Path("soc.py").write_text(SOC)
    done = subprocess.run([sys.executable, "soc.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == str(0x9000_0000)
    line = [shutil.which("iverilog"), "-g2005", "-Wall", "-o", "soc.vvp", "soc.v", f"out/{TOP}.v"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    warnings = [text for text in done.stderr.splitlines() if "timescale" not in text]
    assert (done.returncode, warnings) == (0, [])
