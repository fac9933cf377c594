"""Workloads: what cycles and events of a run depend on, beside the configuration."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from .config import Config
from .errors import UserError

S = TypeVar("S", bound=Config)
P = TypeVar("P", bound="Profile")
Q = TypeVar("Q", bound="Profile")


class Profile(ABC):
    """What a unit's timing depends on in its operands, beside their shape."""

    @abstractmethod
    def check(self, tokens: int, in_features: int) -> None:
        """Raise :class:`UserError` unless the profile is one of operands of this shape."""


@dataclass(frozen=True, eq=False)
class PackedBitmap(Profile):
    """Which activations, or which of their high halves, are present.

    Attributes
    ----------
    bits
        ``(tokens, bytes)``, uint8; bit i % 8 of byte i // 8 of a row stands for its feature i, and
        those beyond in_features are 0.

    Raises
    ------
    UserError
        If ``bits`` is not such a matrix.
    """

    bits: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.bits.ndim != 2 or self.bits.dtype != np.uint8 or 0 in self.bits.shape:
            raise UserError(
                "a packed bitmap must be uint8 (tokens, bytes), "
                f"got {self.bits.dtype} {self.bits.shape}."
            )

    def check(self, tokens: int, in_features: int) -> None:
        """As :meth:`Profile.check`."""
        rows, columns = self.bits.shape
        if rows != tokens or columns * 8 < in_features:
            raise UserError(
                f"a packed bitmap of {tokens} tokens and {in_features} in_features must have "
                f"{tokens} rows of at least {-(-in_features // 8)} bytes, got {rows} of {columns}."
            )
        whole, rest = divmod(in_features, 8)
        beyond = self.bits[:, whole:]
        if beyond.size and ((beyond[:, 0] >> rest).any() or beyond[:, 1:].any()):
            raise UserError(f"a packed bitmap must be 0 beyond in_features = {in_features}.")

    def of_bytes(self, count: int) -> NDArray[np.uint8]:
        """The rows cut, or filled up with 0, to so many bytes."""
        held = self.bits.shape[1]
        if held == count:
            return self.bits
        return np.pad(self.bits[:, :count], ((0, 0), (0, max(0, count - held))))


@dataclass(frozen=True, eq=False)
class Workload:
    """A run of a design as its ``cycles`` takes it: shape, settings and profile.

    What a design does not need it leaves aside, so that one workload serves rivals, too.

    Attributes
    ----------
    tokens, in_features
        Shape of the activations, at least 1 each; of a stream whose tokens differ in length, the
        longest one's in_features.
    outputs
        Rows of the weight matrix, at least 1; None where there are no weights.
    settings
        Run-time settings of the unit; None for its defaults.
    weight_group
        Input features whose weights share a scale, at least 1; None for those of the settings or
        of the configuration.
    profile
        What else the unit's timing depends on, where it does.

    Raises
    ------
    UserError
        If a number is not as above, or the profile is not one of this shape.
    """

    tokens: int
    in_features: int
    outputs: int | None = None
    settings: Config | None = None
    weight_group: int | None = None
    profile: Profile | None = None

    def __post_init__(self) -> None:
        extent = {"tokens": self.tokens, "in_features": self.in_features}
        if self.outputs is not None:
            extent["outputs"] = self.outputs
        if min(extent.values()) < 1:
            raise UserError(
                f"{_listed(list(extent))} must be at least 1, "
                f"got {_listed([str(number) for number in extent.values()])}."
            )
        if self.weight_group is not None and self.weight_group < 1:
            raise UserError(f"weight_group must be at least 1, got {self.weight_group}.")
        if self.profile is not None:
            self.profile.check(self.tokens, self.in_features)

    @property
    def layer(self) -> tuple[int, int, int]:
        """tokens, in_features and outputs; without weights a :class:`UserError`."""
        if self.outputs is None:
            raise UserError("the workload of a linear layer needs outputs.")
        return self.tokens, self.in_features, self.outputs

    def settings_as(self, model: type[S]) -> S:
        """The settings, or the defaults of the model; others are a :class:`UserError`."""
        if self.settings is None:
            return model()
        if not isinstance(self.settings, model):
            raise UserError(
                f"the settings of the workload must be {model.__name__}, "
                f"got {type(self.settings).__name__}."
            )
        return self.settings

    @overload
    def profile_as(self, one: type[P]) -> P: ...

    @overload
    def profile_as(self, one: type[P], other: type[Q]) -> P | Q: ...

    def profile_as(self, one: type[P], other: type[Q] | None = None) -> P | Q:
        """The profile, which must be of one of these kinds; others are a :class:`UserError`."""
        kinds = (one,) if other is None else (one, other)
        if not isinstance(self.profile, kinds):
            got = "none" if self.profile is None else type(self.profile).__name__
            raise UserError(
                "the profile of the workload must be "
                f"{' or '.join(kind.__name__ for kind in kinds)}, got {got}."
            )
        return self.profile


def _listed(words: list[str]) -> str:
    """``a, b and c``."""
    return f"{', '.join(words[:-1])} and {words[-1]}"
