"""The row fetcher against cocotbext-axi's memory with random latency."""

import json
import os
from pathlib import Path

import pytest
from nibbleforge.golden.reglu.config import RegluConfig
from nibbleforge.hw.lib.emission import to_verilog
from nibbleforge.hw.soc.rows import RowFetcher, RowFetcherConfig
from nibbleforge.sim.run import cocotb, verilator
from nibbleforge.sim.tools.workers import Workers

BENCH = Path(__file__).with_name("rows_bench.py")
TINY = RegluConfig(
    lanes=4, max_features=20, max_neurons=24, max_rank=8, in_flight=3, survivors=4, mask_group=8
)
LONG = RegluConfig(lanes=16, max_features=2400, max_neurons=64, max_rank=64)


@pytest.mark.parametrize(
    "config",
    [
        RowFetcherConfig(unit=TINY, burst=4, outstanding=3),
        pytest.param(RowFetcherConfig(unit=LONG, address_bits=40), marks=pytest.mark.slow),
        pytest.param(RowFetcherConfig(unit=TINY, burst=1, outstanding=1), marks=pytest.mark.slow),
    ],
    ids=["tiny", "rows of several pages", "one at a time"],
)
def test_rows(config, tmp_path):
    verilog, _ = to_verilog(RowFetcher(config), "row_fetcher")
    (tmp_path / "row_fetcher.v").write_text(verilog)
    executable = verilator.build_cocotb([tmp_path / "row_fetcher.v"], "row_fetcher")
    report = tmp_path / "results.xml"
    extra = {"NIBBLEFORGE_ROWS": json.dumps(config.model_dump(mode="json")),
             "COCOTB_LOG_LEVEL": "ERROR"}  # fmt: skip
    environment = verilator.cocotb_environment(BENCH.stem, "row_fetcher", report, extra)
    environment["PYTHONPATH"] += os.pathsep + str(BENCH.parent)
    with Workers(1) as workers:
        log = workers.run([str(executable)], environment, cwd=tmp_path, check=False)
    verdicts = cocotb.read_verdicts(report, log)
    assert [str(verdict) for verdict in verdicts if not verdict.passed] == []
    assert len(verdicts) == 4 * 3 + 1
