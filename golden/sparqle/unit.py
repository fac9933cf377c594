"""SPARQLe: hybrid-precision array that skips zero MSB halves of activations.

Source: SPARQLe, arXiv 2606.00365; what is ours is said in :mod:`.config` and
:mod:`.format`. The schedule is the one that the docstring of
:class:`nibbleforge.hw.sparqle.array.HybridArray` states; :mod:`.schedule` computes it.
"""

import numpy as np
from numpy.typing import NDArray

from ..contract.config import Config
from ..contract.design import Design, Unit
from ..contract.layer import Layer, check, ones, sums
from ..contract.schedule import Beats, Schedule, Traffic, final_of
from ..contract.workload import PackedBitmap, Workload
from ..grouped import GroupScales, joined
from . import format as hybrid
from .config import (
    SparqleConfig,
    SparqleSettings,
    bandwidth,
    bitmap_port,
    events,
    lsb_port,
    ports,
    values_port,
    w_port,
    y_port,
)
from .schedule import Run
from .timing import cycles

# --- payloads ---------------------------------------------------------------------------------


def halves(config: SparqleConfig, x: NDArray) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Low and high halves of activations as unsigned k-bit patterns."""
    low, high = hybrid.split(config.format, x)
    pattern = np.uint8((1 << config.k) - 1)
    return low.view(np.uint8) & pattern, high.view(np.uint8) & pattern


def traffic(config: SparqleConfig, layer: Layer) -> Traffic:
    """Payloads of every port for a layer, operands as segments so that nothing is copied."""
    check(config, layer)
    tiling = layer.tiling(config)
    features = layer.features
    low, high = halves(config, layer.x)
    w = tiling.blocks_of_outputs(layer.w).transpose(0, 2, 1).reshape(-1, config.columns)
    beats = {
        "w": Beats(
            w_port(config).pack(value=w, last=final_of(features, tiling.output_blocks)),
            _repeat(tiling.order[:, 1], np.full(tiling.output_blocks, features)),
        )
    }
    blocks = tiling.blocks_of_tokens(low)  # block, row, feature
    per_block = np.full(tiling.token_blocks, features)
    for p in range(config.row_groups):
        rows = blocks[:, p * config.sharing : (p + 1) * config.sharing].transpose(0, 2, 1)
        words = lsb_port(config, p).pack(value=rows.reshape(-1, config.sharing))
        beats[f"lsb_{p}"] = Beats(words, _repeat(tiling.order[:, 0], per_block))
    padded = np.pad(high, ((0, 0), (0, -features % config.group)))
    blocks = tiling.blocks_of_tokens(padded)
    bitmaps = {f"bitmap_{r}": _bitmap_beats(config, r, blocks[:, r]) for r in range(config.rows)}
    values = {f"values_{r}": _values_beats(config, r, blocks[:, r]) for r in range(config.rows)}
    for name, (words, per_block) in {**bitmaps, **values}.items():
        beats[name] = Beats(words, _repeat(tiling.order[:, 0], per_block))
    beats["y"] = _y_beats(config, layer)
    return beats


def _bitmap_beats(config: SparqleConfig, r: int, high: NDArray) -> tuple[NDArray, NDArray]:
    """Words of one row, ``(token blocks, features)``, and how many each token has."""
    words = high.shape[1] // config.group
    mask = (high != 0).reshape(-1, config.group)
    per_block = np.full(len(high), words)
    return bitmap_port(config, r).pack(mask=mask, last=final_of(words, len(high))), per_block


def _values_beats(config: SparqleConfig, r: int, high: NDArray) -> tuple[NDArray, NDArray]:
    """Beats of one row and how many each token has."""
    present = high != 0
    counts = np.count_nonzero(present, axis=1)
    per_block = -(-counts // config.beat)
    slots = np.zeros(int(per_block.sum()) * config.beat, np.uint8)
    first = (np.cumsum(per_block) - per_block) * config.beat - (np.cumsum(counts) - counts)
    slots[np.arange(counts.sum()) + np.repeat(first, counts)] = high[present]
    return values_port(config, r).pack(value=slots.reshape(-1, config.beat)), per_block


def _y_beats(config: SparqleConfig, layer: Layer) -> Beats:
    tiling = layer.tiling(config)
    y = tiling.split_result(sums(config, layer)).reshape(-1, config.columns)
    fields = {
        "value": y,
        "error": np.zeros(len(y), np.uint8),
        "last": final_of(config.rows, len(tiling)),
    }
    if config.asymmetric:
        rows = tiling.blocks_of_tokens(ones(config, layer))[..., 0]
        fields["ones"] = rows[tiling.order[:, 0]].ravel()
    return Beats(y_port(config).pack(**fields))


def _repeat(block: NDArray[np.int64], per_block: NDArray) -> NDArray[np.int64]:
    """Segments that send the beats of a block for every tile; blocks of ``per_block`` beats."""
    first = np.cumsum(per_block) - per_block
    return np.stack([first[block], per_block[block]], axis=1).astype(np.int64)


def schedule(config: SparqleConfig, layer: Layer) -> Schedule:
    """Golden schedule of a layer, tokens in the order given: every tile in one run."""
    check(config, layer)
    tiling = layer.tiling(config)
    _, high = halves(config, layer.x)
    features = layer.features
    present = np.pad(high != 0, ((0, 0), (0, -features % config.span)))
    present = tiling.blocks_of_tokens(present).reshape(
        tiling.token_blocks, config.row_groups, config.sharing, -1
    )
    run = Run(config, features, present, tiling.order[:, 0])
    beats = traffic(config, layer)
    return Schedule(beats, run.port_cycles(), run.pulses())


def workload(config: SparqleConfig, layer: Layer) -> Workload:
    """Shape and high halves of the layer, tokens in the order given."""
    _, high = hybrid.split(config.format, layer.x)
    profile = PackedBitmap(np.packbits(high != 0, axis=1, bitorder="little"))
    tokens, in_features = layer.x.shape
    settings = SparqleSettings(sort=False)
    return Workload(tokens, in_features, len(layer.w), settings, profile=profile)


ARRAY = Design(
    name="sparqle_array",
    summary="hybrid-precision array: dense pass over low halves, sparse pass over high halves",
    law="per chunk and row group: length + popcount of its bitmaps; a tile ends with its slowest "
    "row group; rows + 5 more a run",
    ports=ports,
    events=events,
    bandwidth=bandwidth,
    schedule=schedule,
    traffic=traffic,
    workload=workload,
    cycles=cycles,
    hardware="nibbleforge.hw.sparqle.array:HybridArray",
    stimuli="nibbleforge.tb.tb_sparqle:ARRAY",
)

GROUPED = joined(
    ARRAY,
    "sparqle_grouped",
    hardware="nibbleforge.hw.sparqle.array:SparqleGrouped",
    stimuli="nibbleforge.tb.tb_grouped:SPARQLE",
)

_PRESETS: dict[str, Config] = {
    "paper": SparqleConfig(),
    "tiny": SparqleConfig(
        rows=4, columns=3, group=8, beat=2, chunk=16, sharing=2, queue=2, max_k=64
    ),
    "vector": SparqleConfig(rows=1, columns=256),
    "fpga": SparqleConfig(rows=4, columns=4, group=32, chunk=16, max_k=4096),
    "q4_1": SparqleConfig(
        dequant=GroupScales(weight_group=32, convert_latency=2),
        asymmetric=True,
        group=32,
        chunk=32,
    ),
}


def design(config: SparqleConfig) -> Design:
    """What the configuration leads to: the array alone, or joined to the dequantizer."""
    return GROUPED if config.grouped else ARRAY


UNIT = Unit(
    name="sparqle",
    summary="hybrid-precision array: skips activations' high halves that are 0",
    config=SparqleConfig,
    presets=_PRESETS,
    designs=lambda config: (design(config),),
    takes="layer",
    settings=SparqleSettings,
    simulation="nibbleforge.sim.units.sparqle:prepare",
)

UNITS = (UNIT,)
