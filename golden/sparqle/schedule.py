"""Schedule of the hybrid array: payloads of every port, and when they pass it.

The schedule is the one that the docstring of
:class:`nibbleforge.hw.sparqle.array.SparqleArray` states; :mod:`.run` computes it.
"""

import numpy as np
from numpy.typing import NDArray

from ..contract.layer import Layer, check, ones, sums
from ..contract.schedule import Beats, Schedule, Traffic, final_of
from .config import SparqleConfig, bitmap_port, lsb_port, values_port, w_port, y_port
from .run import Run
from .values import halves


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
