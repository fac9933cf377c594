"""Anda: bit-serial array that multiplies planes of mantissas by INT4 weights.

Source: Anda, arXiv 2411.15982; what is ours is said in :mod:`.anda_config`. The number format is
:mod:`.anda_format`, the arithmetic :mod:`.anda_dot`. The schedule is the one that the docstring of
:class:`nibbleforge.hw.anda.AndaArray` states; :mod:`.anda_timing` computes it.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from . import anda_dot, anda_timing
from .anda_config import AndaConfig, AndaSettings, bandwidth, events, ports
from .anda_format import Anda, check_mantissa, encode
from .config import Config
from .design import Design, Unit
from .errors import UserError
from .events import Counts
from .floating import fp32_to_fp16
from .ports import Port
from .quantise import INT4_MAX, INT4_MIN, QuantisedWeights
from .schedule import Beats, Pulses, Schedule, Traffic, final_of
from .tiling import Tiling


@dataclass(frozen=True)
class AndaLayer:
    """Operands of one layer.

    Attributes
    ----------
    x
        Activations, finite float16, ``(tokens, in_features)``.
    mantissa
        Bits of a mantissa (M), a 0-d integer array.
    w
        Weights in [-8, 7], int8, ``(outputs, in_features)``.
    d
        Scales, finite float16, ``(outputs, weight groups)``.
    weight_group
        Input features that share a scale, a 0-d integer array; a multiple of the Anda group, or at
        least in_features.
    minimum
        Minima, finite float16, ``(outputs, weight groups)``; empty for symmetric weights.
    """

    x: NDArray[np.float16]
    mantissa: NDArray[np.integer]
    w: NDArray[np.int8]
    d: NDArray[np.float16]
    weight_group: NDArray[np.integer]
    minimum: NDArray[np.float16] = field(default_factory=lambda: np.zeros((0, 0), np.float16))

    def encoded(self, config: AndaConfig) -> Anda:
        """The activations in the number format."""
        return encode(config, int(self.mantissa), self.x)

    def groups(self, config: AndaConfig) -> int:
        """Anda groups along in_features."""
        return -(-self.x.shape[1] // config.group)

    def tiling(self, config: AndaConfig) -> Tiling:
        """Tiles of the layer on the array."""
        return Tiling(len(self.x), len(self.w), config.rows, config.columns)

    def scale_of(self, config: AndaConfig) -> NDArray[np.int64]:
        """Weight group of each Anda group."""
        return np.arange(self.groups(config)) * config.group // int(self.weight_group)


def check(config: AndaConfig, layer: AndaLayer) -> None:
    """Raise :class:`UserError` unless the array takes the operands."""
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
    for name in ("mantissa", "weight_group"):
        number = getattr(layer, name)
        if number.shape or not np.issubdtype(number.dtype, np.integer):
            raise UserError(f"{name} must be a 0-d integer array, got {number.dtype} {number}.")
    _check_run(config, int(layer.mantissa), x.shape[1], int(layer.weight_group))
    _check_scales(config, layer)


def _check_run(config: AndaConfig, mantissa: int, in_features: int, weight_group: int) -> None:
    """Refuse mantissas and weight groups that the array does not take."""
    check_mantissa(mantissa)
    if mantissa > config.max_mantissa:
        raise UserError(
            f"mantissa must not exceed max_mantissa = {config.max_mantissa}, got {mantissa}."
        )
    if weight_group < 1 or (weight_group % config.group and weight_group < in_features):
        raise UserError(
            f"group must divide the weight group, got group {config.group}, "
            f"weight group {weight_group}."
        )


def _check_scales(config: AndaConfig, layer: AndaLayer) -> None:
    group, features = int(layer.weight_group), layer.x.shape[1]
    per_group = (len(layer.w), -(-features // group))
    expected = {"d": per_group, "minimum": per_group if config.asymmetric else (0, 0)}
    for name, shape in expected.items():
        scales = getattr(layer, name)
        if scales.dtype != np.float16 or scales.shape != shape:
            raise UserError(
                f"{name} must be float16 of shape {shape}, got {scales.dtype} {scales.shape}."
            )
        if not np.isfinite(scales).all():
            raise UserError(f"{name} must be finite, got {scales[~np.isfinite(scales)][0]}.")


def compute(config: AndaConfig, layer: AndaLayer) -> NDArray[np.floating]:
    """Results, ``(tokens, outputs)``, float32 or float16 as the array gives them."""
    check(config, layer)
    minimum = layer.minimum if config.asymmetric else None
    weights = QuantisedWeights(layer.w, layer.d, minimum, int(layer.weight_group))
    y = anda_dot.compute(layer.encoded(config), weights)
    return y if config.output == "fp32" else fp32_to_fp16(y)


# --- payloads ---------------------------------------------------------------------------------


def traffic(config: AndaConfig, layer: AndaLayer) -> Traffic:
    """Payloads of every port for a layer, operands as segments so that nothing is copied."""
    check(config, layer)
    tiling = layer.tiling(config)
    token, output = tiling.order.T
    words = {
        **_activations(config, layer, tiling),
        "w": _weights(config, layer, tiling),
        "scale": _scales(config, layer, tiling),
    }
    beats = {}
    for name, packed in words.items():
        of_outputs = name in ("w", "scale")
        blocks = tiling.output_blocks if of_outputs else tiling.token_blocks
        block = output if of_outputs else token
        each = len(packed) // blocks
        segments = np.stack([block * each, np.full(len(tiling), each)], axis=1)
        beats[name] = Beats(packed, segments.astype(np.int64))
    y = tiling.split_result(compute(config, layer)).reshape(-1, config.columns)
    bits = y.view(np.uint32 if config.output == "fp32" else np.uint16)
    last = final_of(config.rows, len(tiling))
    beats["y"] = Beats(_port(config, "y").pack(value=bits, last=last))
    return {port.name: beats[port.name] for port in ports(config)}


def _port(config: AndaConfig, name: str) -> Port:
    return next(port for port in ports(config) if port.name == name)


def _activations(
    config: AndaConfig, layer: AndaLayer, tiling: Tiling
) -> dict[str, NDArray[np.uint32]]:
    """Words of the sign, exponent and plane ports, token block after token block."""
    anda = layer.encoded(config)
    groups, blocks = anda.groups, tiling.token_blocks
    planes = anda.planes()  # token, group, sign and planes, element
    shape = planes.shape[1:]
    flat = tiling.blocks_of_tokens(planes.reshape(len(planes), -1))
    beats = flat.reshape(blocks, config.rows, *shape).transpose(0, 2, 3, 1, 4)
    beats = beats.reshape(blocks * groups, shape[1], config.rows * config.group)
    exponents = tiling.blocks_of_tokens(anda.exponent)
    exponents[exponents == 0] = 1  # rows of padding
    fresh = np.diff(layer.scale_of(config), prepend=-1) > 0
    words = {
        "exponent": _port(config, "exponent").pack(
            value=exponents.transpose(0, 2, 1).reshape(-1, config.rows),
            fresh=np.tile(fresh, blocks),
            last=final_of(groups, blocks),
        )
    }
    if config.sign_plane == "banked":
        words["sign"] = _port(config, "sign").pack(word=beats[:, 0])
        beats = beats[:, 1:]
    each = beats.shape[1]
    words["plane"] = _port(config, "plane").pack(
        bits=beats.reshape(-1, beats.shape[2]), last=final_of(each, len(beats))
    )
    return words


def _weights(config: AndaConfig, layer: AndaLayer, tiling: Tiling) -> NDArray[np.uint32]:
    """Words of the weight port, output block after output block."""
    padded = np.pad(layer.w, ((0, 0), (0, -layer.w.shape[1] % config.group)))
    w = tiling.blocks_of_outputs(padded).reshape(
        tiling.output_blocks, config.columns, -1, config.weight_beat
    )
    beats = w.transpose(0, 2, 3, 1).reshape(-1, config.columns * config.weight_beat)
    return _port(config, "w").pack(value=beats)


def _scales(config: AndaConfig, layer: AndaLayer, tiling: Tiling) -> NDArray[np.uint32]:
    """Words of the scale port, output block after output block."""
    names = {"d": layer.d, "minimum": layer.minimum} if config.asymmetric else {"d": layer.d}
    fields = {
        name: tiling.blocks_of_outputs(scales).transpose(0, 2, 1).reshape(-1, config.columns)
        for name, scales in names.items()
    }
    bits = {name: np.ascontiguousarray(rows).view(np.uint16) for name, rows in fields.items()}
    return _port(config, "scale").pack(**bits)


# --- schedule and law -------------------------------------------------------------------------


def schedule(config: AndaConfig, layer: AndaLayer) -> Schedule:
    """Golden schedule of a layer: every tile in one run."""
    check(config, layer)
    mantissa, groups = int(layer.mantissa), layer.groups(config)
    tiles = anda_timing.run(config, mantissa, groups, len(layer.tiling(config)))
    steps = np.concatenate([anda_timing.steps(config, mantissa, one).ravel() for one in tiles])
    taken = np.concatenate([[0], steps[:-1]])
    begins = taken[:: config.beats(mantissa)]  # first beat of each group
    loads = np.concatenate([one.load for one in tiles])
    fresh = np.tile(np.diff(layer.scale_of(config), prepend=-1) > 0, len(tiles))
    leaves = np.array([one.after.taken for one in tiles]) + config.result_latency + 1
    cycles = {
        "sign": begins,
        "exponent": begins,
        "plane": taken,
        "w": (loads[:, None] + np.arange(config.weight_beats)).ravel(),
        "scale": begins[fresh],
        "y": (leaves[:, None] + np.arange(config.rows)).ravel(),
    }
    own = {
        "w_beats": Pulses.strobes(cycles["w"]),
        "scales": Pulses.strobes(cycles["scale"]),
        "y_beats": Pulses.strobes(cycles["y"]),
        **anda_timing.pulses(config, mantissa, tiles),
    }
    return Schedule(
        traffic(config, layer),
        {port.name: cycles[port.name] for port in ports(config)},
        {event.name: own[event.name] for event in events(config)},
    )


def cycles(
    config: AndaConfig,
    mantissa: int,
    tokens: int,
    in_features: int,
    outputs: int,
    weight_group: int = 128,
) -> Counts:
    """Counts of a layer of this shape in one free-flowing run."""
    if min(tokens, in_features, outputs) < 1:
        raise UserError(
            "tokens, in_features and outputs must be at least 1, "
            f"got {tokens}, {in_features} and {outputs}."
        )
    _check_run(config, mantissa, in_features, weight_group)
    tiling = Tiling(tokens, outputs, config.rows, config.columns)
    tiles, groups = len(tiling), -(-in_features // config.group)
    spent, waits = anda_timing.totals(config, mantissa, groups, tiles)
    bit_macs = config.rows * config.columns * config.group
    work = {
        "bit_macs": tiles * groups * mantissa * bit_macs,
        "planes": tiles * groups * mantissa,
        "groups": tiles * groups,
        "w_beats": tiles * groups * config.weight_beats,
        "scales": tiles * -(-in_features // weight_group),
        "products": tiles * groups * config.passes * config.rows * config.columns,
        "y_beats": tiles * config.rows,
        "tiles": tiles,
    }
    return Counts(spent, {**work, **waits}, float(tiles * groups * mantissa))


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
)

_PRESETS: dict[str, Config] = {
    "paper": AndaConfig(),
    "tiny": AndaConfig(group=16, rows=3, columns=4, fp_share=2, weight_beat=8, max_mantissa=12),
    "fpga": AndaConfig(group=32, rows=4, columns=4, max_mantissa=11, multiply_latency=3),
    "q4_1": AndaConfig(group=32, asymmetric=True, fp_share=2, add_latency=2, weight_beat=8),
}

UNIT = Unit(
    name="anda",
    summary="bit-serial array on grouped shared-exponent activations: M cycles a group",
    config=AndaConfig,
    presets=_PRESETS,
    designs=lambda _: (ARRAY,),
    settings=AndaSettings,
)
