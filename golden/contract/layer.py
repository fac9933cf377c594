"""A linear layer as integer arrays take it: operands, their checks, the exact result."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from .errors import TooLongError, UserError
from .events import Event
from .tiling import Tiling
from .workload import Workload

WEIGHT_BITS = 4  # of an INT4 weight

Chosen = slice | NDArray[np.integer]
"""Which rows of a matrix: from one to another, or any in any order."""


class SizedConfig(Protocol):
    """Configuration of an array that takes layers up to a largest in_features."""

    @property
    def max_k(self) -> int:
        """Largest in_features."""


class ArrayConfig(SizedConfig, Protocol):
    """What the configurations of all integer arrays have in common."""

    @property
    def rows(self) -> int:
        """Tokens a tile."""

    @property
    def columns(self) -> int:
        """Outputs a tile."""

    @property
    def activation_range(self) -> tuple[int, int]:
        """Smallest and largest activation that the array multiplies exactly."""

    @property
    def weight_bits(self) -> int:
        """Bits of a weight."""


class Cuttable:
    """Operands of a layer that can be cut: arrays with a row a token, and with a row an output."""

    BY_TOKEN: ClassVar[tuple[str, ...]] = ("x",)
    BY_OUTPUT: ClassVar[tuple[str, ...]] = ("w", "d", "minimum")

    def part(self, tokens: Chosen, outputs: Chosen) -> Self:
        """The operands of some tokens and outputs alone."""
        changes: dict[str, Any] = {}
        for names, rows in ((self.BY_TOKEN, tokens), (self.BY_OUTPUT, outputs)):
            arrays = {name: getattr(self, name) for name in names if hasattr(self, name)}
            changes |= {name: array[rows] for name, array in arrays.items() if array.size}
        return replace(self, **changes)  # type: ignore[type-var]

    def halves(self, config: Any) -> tuple[Self, Self] | None:
        """Two layers of half of in_features each whose results add up to those of this one.

        None where they do not add up exactly, or there is nothing to cut.
        """
        return None


@dataclass(frozen=True)
class Layer(Cuttable):
    """Integer operands of one layer.

    Attributes
    ----------
    x
        Activations, ``(tokens, in_features)``, within the configuration's activation range.
    w
        Weights of so many bits as the configuration says, ``(outputs, in_features)``.
    """

    x: NDArray[np.signedinteger]
    w: NDArray[np.int8]

    @property
    def groups(self) -> int:
        """Weight groups along in_features, each a tile of its own."""
        return 1

    @property
    def features(self) -> int:
        """Input features of a tile."""
        return self.x.shape[1] // self.groups

    def tiling(self, config: ArrayConfig) -> Tiling:
        """Tiles of the layer on an array."""
        return Tiling(len(self.x), len(self.w), config.rows, config.columns, self.groups)

    def halves(self, config: ArrayConfig) -> tuple[Self, Self] | None:
        """As :meth:`Cuttable.halves`: sums of integers add up, scaled ones do not."""
        middle = self.x.shape[1] // 2
        if not middle:
            return None
        return (
            replace(self, x=self.x[:, :middle], w=self.w[:, :middle]),
            replace(self, x=self.x[:, middle:], w=self.w[:, middle:]),
        )


def check(config: ArrayConfig, layer: Layer) -> None:
    """Raise :class:`UserError` unless the array takes the operands."""
    check_matrices(layer.x, layer.w, np.integer, "integers")
    check_shape(config, len(layer.x), layer.features, len(layer.w))
    low, high = config.activation_range
    if layer.x.min() < low or layer.x.max() > high:
        raise UserError(
            f"activations must be in {low}..{high}, got {layer.x.min()}..{layer.x.max()}."
        )
    low, high = signed_range(config.weight_bits)
    if layer.w.min() < low or layer.w.max() > high:
        raise UserError(f"weights must be in {low}..{high}, got {layer.w.min()}..{layer.w.max()}.")


def check_matrices(x: NDArray, w: NDArray, kind: type, named: str) -> None:
    """Raise :class:`UserError` unless activations and weights are matrices that fit together."""
    for name, matrix in (("activations", x), ("weights", w)):
        if matrix.ndim != 2 or not np.issubdtype(matrix.dtype, kind):
            raise UserError(
                f"{name} must be a matrix of {named}, got {matrix.dtype} {matrix.shape}."
            )
    if w.shape[1] != x.shape[1]:
        raise UserError(
            f"activations and weights differ in in_features: {x.shape[1]} and {w.shape[1]}."
        )


def check_shape(config: SizedConfig, tokens: int, in_features: int, outputs: int) -> None:
    """Raise :class:`UserError` unless the array takes a layer of this shape."""
    if min(tokens, in_features, outputs) < 1:
        raise UserError(
            "tokens, in_features and outputs must be at least 1, "
            f"got {tokens}, {in_features} and {outputs}."
        )
    if in_features > config.max_k:
        raise TooLongError(
            f"in_features must not exceed max_k = {config.max_k}, got {in_features}."
        )


def check_integer(name: str, number: object) -> None:
    """Raise :class:`UserError` unless a number is a plain integer."""
    if type(number) is not int:
        raise UserError(f"{name} must be a plain integer, got {number!r}.")


def dense_events(macs_per_step: int) -> tuple[Event, ...]:
    """Events of an array that multiplies all activations of a tile with all weights."""
    return (
        Event("macs", "work", "multiply-accumulates done", macs_per_step.bit_length()),
        Event("x_beats", "work", "beats of activations read"),
        Event("w_beats", "work", "beats of weights read"),
        Event("y_beats", "work", "rows of results written"),
        Event("tiles", "work", "tiles finished"),
        Event(
            "stall_operands",
            "time",
            "cycles within a tile that wait for activations or weights",
            waits_for={"x": 1, "w": 1},
        ),
        Event(
            "stall_drain",
            "time",
            "cycles a finished tile waits for the one before to drain",
            waits_for={"y": 1},
        ),
    )


def workload(_: Any, layer: Layer) -> Workload:
    """Shape of the layer, on which alone the cycles of a dense array depend."""
    tokens, in_features = layer.x.shape
    return Workload(tokens, in_features, len(layer.w))


def compute(config: ArrayConfig, layer: Layer) -> NDArray[np.int64]:
    """Exact ``x @ w.T``, ``(tokens, outputs)`` int64."""
    return sums(config, layer).sum(axis=0)


def sums(config: ArrayConfig, layer: Layer) -> NDArray[np.int64]:
    """Exact ``x @ w.T`` of each weight group, ``(groups, tokens, outputs)`` int64.

    Float64 products and sums are exact here: every partial sum stays below 2**53.
    """
    check(config, layer)
    x, w = (
        matrix.reshape(len(matrix), layer.groups, -1).transpose(1, 0, 2).astype(np.float64)
        for matrix in (layer.x, layer.w)
    )
    return (x @ w.transpose(0, 2, 1)).astype(np.int64)


def ones(config: ArrayConfig, layer: Layer) -> NDArray[np.int64]:
    """Sum of each token's activations over each weight group, ``(tokens, groups)`` int64.

    What a further column gives whose weights are 1.
    """
    check(config, layer)
    return layer.x.reshape(len(layer.x), layer.groups, -1).sum(axis=2, dtype=np.int64)


def accumulator_bits(activation_bits: int, max_k: int, weight_bits: int = WEIGHT_BITS) -> int:
    """Bits that hold max_k products of any activation and weight of so many bits."""
    return (max_k << (activation_bits + weight_bits - 2)).bit_length() + 1


def signed_range(bits: int) -> tuple[int, int]:
    """Smallest and largest number of so many bits in two's complement."""
    half = 1 << (bits - 1)
    return -half, half - 1
