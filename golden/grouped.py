"""Integer arrays whose weights have a scale per group: an array joined to the dequantizer.

The array takes every weight group of a tile as a tile of its own, groups innermost; its rows of
sums go straight into :mod:`.dequantizer`, which adds them up in FP32 in ascending order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, model_validator

from . import dequantizer
from .arithmetic.quantise import WEIGHT_GROUPS
from .contract.config import Config, take_none
from .contract.design import Design
from .contract.errors import UserError
from .contract.events import Counts, Event, event_of_part
from .contract.layer import ArrayConfig, Layer, check, ones
from .contract.layer import sums as integer_sums
from .contract.ports import Port
from .contract.schedule import Schedule, Traffic, final_of
from .contract.workload import Workload
from .dequantizer import DequantizerConfig, FloatLatencies, GroupSums

PREFIX = "dequantizer_"
"""Begins the names of the dequantizer's events where the array has events of its own."""


class GroupScales(FloatLatencies):
    """Scales of weight groups, and the dequantizer that applies them."""

    weight_group: int = 128
    """Input features that share a scale."""

    @model_validator(mode="after")
    def _check_weight_group(self) -> Self:
        if self.weight_group not in WEIGHT_GROUPS:
            known = ", ".join(map(str, WEIGHT_GROUPS))
            raise UserError(f"weight_group must be one of {known}, got {self.weight_group}.")
        return self


def _take_dequant(value: object) -> object:
    """Group scales or none; nothing that cannot be meant."""
    value = take_none(value)
    if value is None or isinstance(value, Mapping | GroupScales):
        return value
    raise ValueError(
        f"dequant must be none, or group scales such as dequant.weight_group=128, got {value!r}."
    )


class GroupedConfig(Config):
    """Configuration of an integer array: alone, or joined to the dequantizer."""

    dequant: Annotated[GroupScales | None, BeforeValidator(_take_dequant)] = None
    """FP32 sums of scaled weight groups; with none, integer sums over all of in_features."""

    @property
    def grouped(self) -> bool:
        """Whether the array is joined to the dequantizer."""
        return self.dequant is not None

    @property
    def scales(self) -> GroupScales:
        """Group scales of a joined array."""
        if self.dequant is None:
            raise TypeError("an array alone has no group scales")
        return self.dequant

    @property
    def weight_group(self) -> int:
        """Input features that share a scale, of a joined array."""
        return self.scales.weight_group

    @property
    def array(self) -> Self:
        """The array alone, its accumulators as wide as a weight group needs."""
        return self.replace(dequant=None, max_k=self.weight_group)

    @property
    def dequantizer(self) -> DequantizerConfig:
        """The dequantizer behind a joined array."""
        raise TypeError("an array that can be joined to the dequantizer says to which")

    def _check_max_k(self, max_k: int) -> None:
        """Refuse weight groups that do not fit."""
        if self.weight_group > max_k:
            raise UserError(
                f"weight_group must not exceed max_k, got {self.weight_group}, max_k {max_k}."
            )

    def _dequantizer(self, **extent: Any) -> DequantizerConfig:
        """The dequantizer for an array of this extent."""
        latencies = {name: getattr(self.scales, name) for name in FloatLatencies.model_fields}
        return DequantizerConfig(**extent, **latencies)


class JoinedConfig(ArrayConfig, Protocol):
    """Configuration of an array that is joined to the dequantizer."""

    @property
    def array(self) -> Self:
        """The array alone, its accumulators as wide as a weight group needs."""

    @property
    def dequantizer(self) -> DequantizerConfig:
        """The dequantizer behind it."""

    @property
    def weight_group(self) -> int:
        """Input features that share a scale."""


@dataclass(frozen=True)
class GroupedLayer(Layer):
    """Integer operands of one layer and the scales of their weight groups.

    Attributes
    ----------
    d
        Scales, finite float16, ``(outputs, groups)``.
    minimum
        Minima, finite float16, ``(outputs, groups)``; empty for symmetric weights.
    """

    d: NDArray[np.float16]
    minimum: NDArray[np.float16] = field(default_factory=lambda: np.zeros((0, 0), np.float16))

    @property
    def groups(self) -> int:
        """Weight groups along in_features, each a tile of its own."""
        return self.d.shape[1]

    def halves(self, config: ArrayConfig) -> None:
        """None: FP32 sums of scaled weight groups are rounded in order."""


def weight_groups(config: JoinedConfig, in_features: int) -> int:
    """Weight groups of a layer that the joined unit takes; others are a :class:`UserError`."""
    groups, rest = divmod(in_features, config.weight_group)
    if rest:
        raise UserError(
            f"in_features must be a multiple of weight_group = {config.weight_group}, "
            f"got {in_features}."
        )
    if in_features > config.max_k:
        raise UserError(f"in_features must not exceed max_k = {config.max_k}, got {in_features}.")
    return groups


def check_grouped(config: JoinedConfig, layer: GroupedLayer) -> None:
    """Raise :class:`UserError` unless the joined unit takes the operands."""
    per_group = (len(layer.w), weight_groups(config, layer.x.shape[-1]))
    expected = {"d": per_group, "minimum": per_group if config.dequantizer.asymmetric else (0, 0)}
    for name, shape in expected.items():
        check_scales(name, getattr(layer, name), shape)
    check(config.array, layer)


def check_scales(name: str, scales: NDArray, shape: tuple[int, ...]) -> None:
    """Raise :class:`UserError` unless scales are finite float16 of this shape."""
    if scales.dtype != np.float16 or scales.shape != shape:
        raise UserError(
            f"{name} must be float16 of shape {shape}, got {scales.dtype} {scales.shape}."
        )
    if not np.isfinite(scales).all():
        raise UserError(f"{name} must be finite, got {scales[~np.isfinite(scales)][0]}.")


def group_sums(config: JoinedConfig, layer: GroupedLayer) -> GroupSums:
    """What the dequantizer gets, in run order."""
    check_grouped(config, layer)
    tiling = layer.tiling(config)
    token, output = tiling.order.T
    optional = {}
    if config.dequantizer.asymmetric:
        rows = tiling.blocks_of_tokens(ones(config.array, layer))[..., 0]
        minima = tiling.blocks_of_outputs(layer.minimum)[..., 0]
        optional = {"ones": rows[token], "minimum": minima[output]}
    return GroupSums(
        acc=tiling.split_result(integer_sums(config.array, layer)),
        d=tiling.blocks_of_outputs(layer.d)[..., 0][output],
        last=final_of(layer.groups, len(tiling) // layer.groups),
        **optional,
    )


def compute(config: JoinedConfig, layer: GroupedLayer) -> NDArray[np.float32]:
    """FP32 results, ``(tokens, outputs)``."""
    tiles = dequantizer.compute(config.dequantizer, group_sums(config, layer))
    return layer.tiling(config).results.join_result(tiles)


# --- the joined design ------------------------------------------------------------------------


def joined(
    array: Design,
    name: str,
    *,
    hardware: str,
    stimuli: str,
    sums_of: Callable[[Any, Any], GroupSums] = group_sums,
) -> Design:
    """An array joined to the dequantizer.

    Parameters
    ----------
    array
        The array; takes weight groups as tiles, and counts the joined design where the
        configuration has one.
    name
        Of the joined design.
    hardware, stimuli
        References as in :class:`~nibbleforge.golden.contract.design.Design`.
    sums_of
        ``sums_of(config, layer)``: what the dequantizer gets, in run order.
    """

    def ports(config: JoinedConfig) -> tuple[Port, ...]:
        _, scale, y = dequantizer.ports(config.dequantizer)
        *inputs, _ = array.ports(config.array)
        scale = replace(scale, belongs="outputs")
        y = replace(y, belongs="results", beats=config.dequantizer.beats)
        return (*inputs, scale, y)

    def events(config: JoinedConfig) -> tuple[Event, ...]:
        *inputs, _ = (port.name for port in array.ports(config.array))
        front, behind = array.events(config.array), dequantizer.events(config.dequantizer)
        return (
            *(event_of_part(event, {"y": ("scale", "y")}) for event in front),
            *(event_of_part(event, {"x": inputs}, PREFIX) for event in behind),
        )

    def bandwidth(config: JoinedConfig) -> dict[str, float]:
        scale = dequantizer.ports(config.dequantizer)[1]
        return {**array.bandwidth(config.array), "scale": scale.width / config.weight_group}

    def traffic(config: JoinedConfig, layer: Any) -> Traffic:
        sums = sums_of(config, layer)
        behind = dequantizer.traffic(config.dequantizer, sums)
        return {**array.traffic(config.array, layer), **_outside(behind)}

    def schedule(config: JoinedConfig, layer: Any) -> Schedule:
        sums = sums_of(config, layer)
        front = array.schedule(config.array, layer)
        rows = front.cycles["y"]
        behind = dequantizer.schedule(config.dequantizer, sums, rows[:: config.dequantizer.beats])
        if not np.array_equal(behind.cycles["x"], rows):
            raise AssertionError("the dequantizer holds the array up: the law does not hold")
        renamed = {PREFIX + name: pulses for name, pulses in behind.events.items()}
        return Schedule(
            {**front.beats, **_outside(behind.beats)},
            {**front.cycles, "scale": behind.cycles["scale"], "y": behind.cycles["y"]},
            {**front.events, **renamed},
        )

    return Design(
        name=name,
        summary=f"{array.name} joined to the dequantizer: FP32 sums of scaled weight groups",
        law=f"that of {array.name} with weight groups for tiles, and the dequantizer's latency",
        ports=ports,
        events=events,
        bandwidth=bandwidth,
        schedule=schedule,
        traffic=traffic,
        workload=array.workload,
        cycles=array.cycles,
        hardware=hardware,
        stimuli=stimuli,
    )


def _outside(dequantizer_traffic: Traffic) -> Traffic:
    """Traffic of the dequantizer without what lies between it and the array."""
    return {name: dequantizer_traffic[name] for name in ("scale", "y")}


def joined_counts(
    config: JoinedConfig, front: Counts, tiles: int, groups: int, between: int
) -> Counts:
    """Counts of the joined unit.

    Parameters
    ----------
    front
        Counts of the array alone, weight groups for tiles.
    tiles, groups
        Tiles of results, and weight groups in each.
    between
        Cycles between the ends of a tile's first and final weight group, summed over tiles.
    """
    unit = config.dequantizer
    rows, columns = tiles * config.rows, config.columns
    behind = dequantizer.cycles(unit, Workload(rows, groups, columns, weight_group=1))
    turns = tiles * (groups - 1) * unit.passes * unit.period
    totals = {**behind.events, "stall_operands": between - turns}
    renamed = {PREFIX + name: total for name, total in totals.items()}
    extra = (unit.passes - 1) * unit.period + unit.latency
    return Counts(front.cycles + extra, {**front.events, **renamed}, front.ideal_cycles)
