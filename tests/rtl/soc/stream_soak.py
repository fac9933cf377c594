"""Thousands of pieces of streams through a core with AXI names. The simulator loads this test."""

from dataclasses import fields
from functools import partial

import cocotb
import numpy as np
from cocotb.task import bridge
from job import CONFIG, DESIGN, UNIT
from nibbleforge.golden.soc.stream import StreamBlocks, StreamRun
from soak import PATIENCE, Run, many_tiles
from stream_bench import compare, operands

MOST_RUNS = 16  # of the unit's own random runs in one of the core's


def drawn(driver, rng):
    """Random runs one after the other, as one."""
    runs = [operands(int(seed)) for seed in rng.integers(1 << 32, size=rng.integers(1, MOST_RUNS))]
    arrays = {
        field.name: np.concatenate([getattr(run, field.name) for run in runs])
        for field in fields(runs[0])
    }
    run = type(runs[0])(**arrays)
    return Run(
        call=partial(bridge(driver.stream), run, timeout=PATIENCE),
        compare=partial(compare, run=run),
        words=StreamBlocks.of(UNIT, CONFIG, run).stream(CONFIG),
        schedule=DESIGN.schedule(CONFIG, StreamRun(run)),
        tiles=run.runs,
    )


@cocotb.test()
async def many_pieces_of_streams(dut):
    await many_tiles(dut, drawn)
