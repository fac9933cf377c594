"""A core with AXI names, driven by cocotbext-axi."""

import json
import os
import re
from pathlib import Path

import pytest
from nibbleforge.golden.units import core_name, unit
from nibbleforge.hw.soc.generate import generate_core
from nibbleforge.sim.run import cocotb, verilator
from nibbleforge.sim.tools.workers import Workers

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("bench", "name"),
    [("axi_bench", "dense2k"), ("axi_bench", "sparqle"), ("axi_bench", "reglu"),
     ("memory_bench", "reglu")],
)  # fmt: skip
def test_core_behind_axi(bench, name, tmp_path):
    owner = unit(core_name(name))
    config = owner.presets["tiny"]
    (design,) = owner.designs(config)
    generated = generate_core(design, config, name)
    source = generated.write(tmp_path)[0]
    executable = verilator.build_cocotb([source], generated.name)
    report = tmp_path / "results.xml"
    job = {"unit": owner.name, "config": config.model_dump(mode="json"), "seed": 3}
    environment = verilator.cocotb_environment(
        bench,
        generated.name,
        report,
        {"NIBBLEFORGE_AXI": json.dumps(job), "COCOTB_LOG_LEVEL": "WARNING"},
    )
    environment["PYTHONPATH"] += os.pathsep + str(HERE)
    with Workers(1) as workers:
        log = workers.run([str(executable)], environment, cwd=tmp_path, check=False)
    verdicts = cocotb.read_verdicts(report, log)
    assert [str(verdict) for verdict in verdicts if not verdict.passed] == []
    tests = re.findall(r"^@cocotb.test", (HERE / f"{bench}.py").read_text(), re.MULTILINE)
    assert len(verdicts) == len(tests) + 2  # one of them runs three times
