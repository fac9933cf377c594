"""Operands as arrays: how they travel in ``.npz`` files from process to process."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def to_arrays(operands: Any) -> dict[str, NDArray]:
    """Fields of a dataclass of arrays and integers by name; integers as 0-d arrays."""
    return {field.name: np.asarray(getattr(operands, field.name)) for field in fields(operands)}


def from_arrays(kind: type[T], arrays: Mapping[str, NDArray]) -> T:
    """Inverse of :func:`to_arrays`."""
    hints = get_type_hints(kind)
    values = {name: int(array) if hints[name] is int else array for name, array in arrays.items()}
    return kind(**values)
