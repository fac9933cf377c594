"""Anda: bit-serial array that multiplies planes of mantissas by INT4 weights.

Source: Anda, arXiv 2411.15982; what is ours is said in :mod:`.config`. The number format is
:mod:`.format`, the arithmetic :mod:`.dots`. The schedule is the one that the docstring of
:class:`nibbleforge.hw.anda.array.AndaArray` states; :mod:`.timing` computes it.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..arithmetic.floating import fp32_to_fp16
from ..arithmetic.quantise import INT4_MAX, INT4_MIN, QuantisedWeights
from ..contract.design import Design
from ..contract.errors import UserError
from ..contract.events import Counts
from ..contract.layer import check_integer
from ..contract.ports import Port
from ..contract.schedule import Beats, Pulses, Schedule, Traffic, final_of
from ..contract.tiling import Tiling
from ..contract.workload import Workload
from ..grouped import check_scales
from . import dots as anda_dots
from . import timing as anda_timing
from .config import (
    AndaConfig,
    AndaSettings,
    GroupArrayConfig,
    bandwidth,
    events,
    exponent_port,
    ports,
    scale_port,
)
from .format import Anda, check_mantissa, encode


class GroupOperands:
    """What arrays on groups have in common: operands of one layer, as :class:`AndaLayer` says."""

    x: NDArray[np.float16]
    w: NDArray[np.int8]
    d: NDArray[np.float16]
    weight_group: int
    minimum: NDArray[np.float16]

    def groups(self, config: GroupArrayConfig) -> int:
        """Groups along in_features."""
        return -(-self.x.shape[1] // config.group)

    def tiling(self, config: GroupArrayConfig) -> Tiling:
        """Tiles of the layer on the array."""
        return Tiling(len(self.x), len(self.w), config.rows, config.columns)

    def fresh(self, config: GroupArrayConfig) -> NDArray[np.bool_]:
        """Whether each group is the first of a weight group."""
        scale = np.arange(self.groups(config)) * config.group // self.weight_group
        return np.diff(scale, prepend=-1) > 0

    def weights(self, config: GroupArrayConfig) -> QuantisedWeights:
        """Weights with their scales and, if the array takes them, minima."""
        minimum = self.minimum if config.asymmetric else None
        return QuantisedWeights(self.w, self.d, minimum, self.weight_group)


@dataclass(frozen=True)
class AndaLayer(GroupOperands):
    """Operands of one layer.

    Attributes
    ----------
    x
        Activations, finite float16, ``(tokens, in_features)``.
    mantissa
        Bits of a mantissa (M).
    w
        Weights in [-8, 7], int8, ``(outputs, in_features)``.
    d
        Scales, finite float16, ``(outputs, weight groups)``.
    weight_group
        Input features that share a scale; a multiple of the Anda group, or at least in_features.
    minimum
        Minima, finite float16, ``(outputs, weight groups)``; empty for symmetric weights.
    """

    x: NDArray[np.float16]
    mantissa: int
    w: NDArray[np.int8]
    d: NDArray[np.float16]
    weight_group: int
    minimum: NDArray[np.float16] = field(default_factory=lambda: np.zeros((0, 0), np.float16))

    def encoded(self, config: AndaConfig) -> Anda:
        """The activations in the number format."""
        return encode(config, self.mantissa, self.x)


def check(config: AndaConfig, layer: AndaLayer) -> None:
    """Raise :class:`UserError` unless the array takes the operands."""
    check_operands(config, layer)
    check_integer("mantissa", layer.mantissa)
    _check_mantissa(config, layer.mantissa)


def _check_mantissa(config: AndaConfig, mantissa: int) -> None:
    """Refuse mantissas that the array does not take."""
    check_mantissa(mantissa)
    if mantissa > config.max_mantissa:
        raise UserError(
            f"mantissa must not exceed max_mantissa = {config.max_mantissa}, got {mantissa}."
        )


def check_operands(config: GroupArrayConfig, layer: GroupOperands) -> None:
    """Raise :class:`UserError` unless the operands fit together and the array."""
    x, w = layer.x, layer.w
    if x.ndim != 2 or x.dtype != np.float16 or not x.size:
        raise UserError(
            f"activations must be a matrix of float16 and not empty, got {x.dtype} {x.shape}."
        )
    if not np.isfinite(x).all():
        raise UserError(f"activations must be finite, got {x[~np.isfinite(x)][0]}.")
    if w.ndim != 2 or w.dtype != np.int8 or not w.size or w.shape[1] != x.shape[1]:
        raise UserError(
            f"weights must be int8 of shape (outputs, {x.shape[1]}), got {w.dtype} {w.shape}."
        )
    if w.min() < INT4_MIN or w.max() > INT4_MAX:
        raise UserError(f"weights must be in -8..7, got {w.min()}..{w.max()}.")
    check_integer("weight_group", layer.weight_group)
    check_weight_group(config, layer.weight_group, x.shape[1])
    _check_scales(config, layer)


def check_weight_group(config: GroupArrayConfig, weight_group: int, in_features: int) -> None:
    """Refuse weight groups that Anda groups straddle."""
    if weight_group < 1 or (weight_group % config.group and weight_group < in_features):
        raise UserError(
            f"group must divide the weight group, got group {config.group}, "
            f"weight group {weight_group}."
        )


def _check_scales(config: GroupArrayConfig, layer: GroupOperands) -> None:
    group, features = layer.weight_group, layer.x.shape[1]
    per_group = (len(layer.w), -(-features // group))
    expected = {"d": per_group, "minimum": per_group if config.asymmetric else (0, 0)}
    for name, shape in expected.items():
        check_scales(name, getattr(layer, name), shape)


def compute(config: AndaConfig, layer: AndaLayer) -> NDArray[np.floating]:
    """Results, ``(tokens, outputs)``, float32 or float16 as the array gives them."""
    check(config, layer)
    y = anda_dots.compute(layer.encoded(config), layer.weights(config))
    return y if config.output == "fp32" else fp32_to_fp16(y)


# --- payloads ---------------------------------------------------------------------------------


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


def port_of(declared: tuple[Port, ...], name: str) -> Port:
    """The port of this name."""
    return next(port for port in declared if port.name == name)


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


# --- schedule and law -------------------------------------------------------------------------


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


def workload(_: AndaConfig, layer: AndaLayer) -> Workload:
    """Shape and mantissa of the layer, and features that share a scale."""
    tokens, in_features = layer.x.shape
    settings = AndaSettings(mantissa=layer.mantissa)
    return Workload(tokens, in_features, len(layer.w), settings, layer.weight_group)


def cycles(config: AndaConfig, workload: Workload) -> Counts:
    """Counts of a layer in one free-flowing run."""
    settings = workload.settings_as(AndaSettings)
    mantissa = settings.mantissa
    _check_mantissa(config, mantissa)
    _, in_features, _ = workload.layer
    tiles, groups = shape_of(config, workload)
    weight_group = workload.weight_group or settings.weight_group
    check_weight_group(config, weight_group, in_features)
    spent, waits = anda_timing.totals(config, config.beats(mantissa), groups, tiles)
    work = {
        "bit_macs": tiles * groups * mantissa * config.bit_macs,
        "planes": tiles * groups * mantissa,
        "groups": tiles * groups,
        "w_beats": tiles * groups * config.weight_beats,
        "scales": tiles * -(-in_features // weight_group),
        "products": tiles * groups * config.passes * config.rows * config.columns,
        "y_beats": tiles * config.rows,
        "tiles": tiles,
    }
    return Counts(spent, {**work, **waits}, float(tiles * groups * mantissa))


def shape_of(config: GroupArrayConfig, workload: Workload) -> tuple[int, int]:
    """Tiles of a layer, and groups of each."""
    tokens, in_features, outputs = workload.layer
    tiling = Tiling(tokens, outputs, config.rows, config.columns)
    return len(tiling), -(-in_features // config.group)


ARRAY = Design(
    name="anda_array",
    summary="bit-serial array: one plane of mantissas times INT4 weights a cycle",
    law="per group max(M (+ 1 if serial), passes * max(fp_share, add_latency), G / weight_beat); "
    "fill and drain as the schedule says",
    ports=ports,
    events=events,
    bandwidth=bandwidth,
    schedule=schedule,
    traffic=traffic,
    workload=workload,
    cycles=cycles,
    hardware="nibbleforge.hw.anda.array:AndaArray",
    stimuli="nibbleforge.tb.tb_anda:ARRAY",
    wide=True,
)
