"""Schedule of the bit-plane array: payloads of every port, and when they pass it.

The schedule is the one that the docstring of :class:`nibbleforge.hw.anda.array.AndaArray` states;
:mod:`.timing` computes it. Payloads serve every array on groups.
"""

import numpy as np
from numpy.typing import NDArray

from ..contract.ports import Port, port_of
from ..contract.schedule import Beats, Pulses, Schedule, Traffic, final_of
from ..contract.tiling import Tiling
from . import timing as anda_timing
from .config import AndaConfig, GroupArrayConfig, events, exponent_port, ports, scale_port
from .format import Anda
from .values import AndaLayer, GroupOperands, check, compute


def traffic(config: AndaConfig, layer: AndaLayer) -> Traffic:
    """Payloads of every port for a layer, operands as segments so that nothing is copied."""
    check(config, layer)
    y = compute(config, layer)
    bits = y.view(np.uint32 if config.output == "fp32" else np.uint16)
    anda = layer.encoded(config)
    tiling = layer.tiling(config)
    declared = ports(config)
    words = {
        **_planes(config, anda, tiling),
        "exponent": exponent_words(config, anda, layer),
        "w": weight_words(
            port_of(declared, "w"), config, layer, config.weight_beat, by_element=True
        ),
        "scale": scale_words(config, layer),
    }
    return joined(declared, tiling, words, bits)


def joined(
    declared: tuple[Port, ...],
    tiling: Tiling,
    words: dict[str, NDArray[np.uint32]],
    y: NDArray,
) -> Traffic:
    """Traffic of a run from the words of each block of tokens or outputs, and the results."""
    token, output = tiling.order.T
    beats = {}
    for name, packed in words.items():
        of_outputs = name in ("w", "scale")
        blocks = tiling.output_blocks if of_outputs else tiling.token_blocks
        block = output if of_outputs else token
        each = len(packed) // blocks
        segments = np.stack([block * each, np.full(len(tiling), each)], axis=1)
        beats[name] = Beats(packed, segments.astype(np.int64))
    rows = tiling.split_result(y).reshape(-1, tiling.columns)
    last = final_of(tiling.rows, len(tiling))
    beats["y"] = Beats(port_of(declared, "y").pack(value=rows, last=last))
    return {port.name: beats[port.name] for port in declared}


def _planes(config: AndaConfig, anda: Anda, tiling: Tiling) -> dict[str, NDArray[np.uint32]]:
    """Words of the sign and plane ports, token block after token block."""
    planes = anda.planes()  # token, group, sign and planes, element
    shape = planes.shape[1:]
    flat = tiling.blocks_of_tokens(planes.reshape(len(planes), -1))
    beats = flat.reshape(tiling.token_blocks, config.rows, *shape).transpose(0, 2, 3, 1, 4)
    beats = beats.reshape(-1, shape[1], config.rows * config.group)
    declared, words = ports(config), {}
    if config.sign_plane == "banked":
        words["sign"] = port_of(declared, "sign").pack(word=beats[:, 0])
        beats = beats[:, 1:]
    words["plane"] = port_of(declared, "plane").pack(
        bits=beats.reshape(-1, beats.shape[2]), last=final_of(beats.shape[1], len(beats))
    )
    return words


def exponent_words(
    config: GroupArrayConfig, anda: Anda, layer: GroupOperands
) -> NDArray[np.uint32]:
    """Words of the exponent port, token block after token block."""
    tiling = layer.tiling(config)
    exponents = tiling.blocks_of_tokens(anda.exponent)
    exponents[exponents == 0] = 1  # rows of padding
    return exponent_port(config).pack(
        value=exponents.transpose(0, 2, 1).reshape(-1, config.rows),
        fresh=np.tile(layer.fresh(config), tiling.token_blocks),
        last=final_of(anda.groups, tiling.token_blocks),
    )


def weight_words(
    port: Port, config: GroupArrayConfig, layer: GroupOperands, each: int, *, by_element: bool
) -> NDArray[np.uint32]:
    """Words of the weight port, output block after output block.

    A beat has ``each`` weights of a column: ``by_element`` element after element, each of all
    columns, else column after column.
    """
    tiling = layer.tiling(config)
    padded = np.pad(layer.w, ((0, 0), (0, -layer.w.shape[1] % config.group)))
    w = tiling.blocks_of_outputs(padded).reshape(tiling.output_blocks, config.columns, -1, each)
    w = w.transpose(0, 2, 3, 1) if by_element else w.transpose(0, 2, 1, 3)
    return port.pack(value=w.reshape(-1, config.columns * each))


def scale_words(config: GroupArrayConfig, layer: GroupOperands) -> NDArray[np.uint32]:
    """Words of the scale port, output block after output block."""
    tiling = layer.tiling(config)
    names = {"d": layer.d, "minimum": layer.minimum} if config.asymmetric else {"d": layer.d}
    fields = {
        name: tiling.blocks_of_outputs(scales).transpose(0, 2, 1).reshape(-1, config.columns)
        for name, scales in names.items()
    }
    bits = {name: np.ascontiguousarray(rows).view(np.uint16) for name, rows in fields.items()}
    return scale_port(config).pack(**bits)


def schedule(config: AndaConfig, layer: AndaLayer) -> Schedule:
    """Golden schedule of a layer: every tile in one run."""
    check(config, layer)
    mantissa = layer.mantissa
    beats = config.beats(mantissa)
    tiles = anda_timing.run(config, beats, layer.groups(config), len(layer.tiling(config)))
    steps = anda_timing.steps(beats, tiles)
    planes = steps[:, beats - mantissa :].ravel()
    taken = anda_timing.taken(steps)
    begins = taken[:, 0]
    loads = np.concatenate([one.load for one in tiles])
    cycles = {
        "sign": begins,
        "exponent": begins,
        "plane": taken.ravel(),
        "w": (loads[:, None] + np.arange(config.weight_beats)).ravel(),
        "scale": begins[np.tile(layer.fresh(config), len(tiles))],
        "y": anda_timing.leaving(config, tiles),
    }
    own = {
        "bit_macs": Pulses(planes, np.full(planes.size, config.bit_macs)),
        "planes": Pulses.strobes(planes),
        "w_beats": Pulses.strobes(cycles["w"]),
        "scales": Pulses.strobes(cycles["scale"]),
        "y_beats": Pulses.strobes(cycles["y"]),
        **anda_timing.pulses(config, tiles),
    }
    return Schedule(
        traffic(config, layer),
        {port.name: cycles[port.name] for port in ports(config)},
        {event.name: own[event.name] for event in events(config)},
    )
