"""Thousands of tiles of layers through a core with AXI names. The simulator loads this test."""

from functools import partial

import cocotb
from axi_bench import compare, operands
from cocotb.task import bridge
from job import CONFIG, DESIGN, UNIT
from nibbleforge.golden.soc.blocks import LayerBlocks
from nibbleforge.golden.soc.unit import CoreRun
from soak import PATIENCE, Run, many_tiles

MOST_BLOCKS = 12  # of tokens and of outputs in a layer


def drawn_layer(rng):
    """A layer larger than the buffers: rows of a small one, each any number of times."""
    small = operands(int(rng.integers(1 << 32)))
    tiling = small.tiling(CONFIG.unit).results
    whole = any(port.tiles > 1 for port in UNIT.ports(CONFIG.unit))  # blocks of results
    step = tiling.outputs if whole else 1
    tokens, outputs = (
        rng.integers(rows, size=step * rng.integers(1, max(1, MOST_BLOCKS * block // step) + 1))
        for rows, block, step in (
            (tiling.tokens, tiling.rows, 1),
            (tiling.outputs, tiling.columns, step),
        )
    )
    return small.part(tokens, outputs)


def drawn(driver, rng):
    """A layer in either order."""
    layer, stays = drawn_layer(rng), bool(rng.integers(2))
    return Run(
        call=partial(bridge(driver.run), layer, outputs_stay=stays, timeout=PATIENCE),
        compare=partial(compare, layer=layer),
        words=LayerBlocks.of(UNIT, CONFIG, layer, outputs_stay=stays).stream(CONFIG),
        schedule=DESIGN.schedule(CONFIG, CoreRun(layer, stays)),
        tiles=len(layer.tiling(CONFIG.unit).results),
    )


@cocotb.test()
async def many_tiles_of_layers(dut):
    await many_tiles(dut, drawn)
