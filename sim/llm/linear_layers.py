"""Linear layers of a network: which modules are some, and why others that hold weights are not.

Needs no torch: the classes that count as linear layers are given.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

EMBEDDING = "its rows are looked up, not multiplied"
UNKNOWN = "neither a torch.nn.Linear nor a Conv1D, so how it uses its weights is not known"


@dataclass(frozen=True)
class LinearLayer:
    """A module that multiplies each token by one matrix.

    Attributes
    ----------
    module
        The module, with a ``weight``.
    transposed
        Whether the weight is ``(in_features, out_features)``, as in the Conv1D of GPT-2, and not
        ``(out_features, in_features)``, as in ``torch.nn.Linear``.
    """

    module: Any
    transposed: bool = False

    @property
    def in_features(self) -> int:
        """Features of an input."""
        return int(self.module.weight.shape[0 if self.transposed else 1])

    def weights(self) -> NDArray[np.float32]:
        """The matrix, ``(out_features, in_features)``."""
        stored = self.module.weight.detach().numpy()
        return np.ascontiguousarray(stored.T) if self.transposed else stored


class Left(NamedTuple):
    """A module that is left out: the name of its class, and why, as the end of a sentence."""

    kind: str
    why: str


class Modules(NamedTuple):
    """The modules of a network that hold matrices, by name without ``model.``, in its order."""

    layers: dict[str, LinearLayer]
    left: dict[str, Left]


def sort_modules(
    named: Iterable[tuple[str, Any]], linear: type | tuple[type, ...], transposed: type
) -> Modules:
    """Tell linear layers from other modules that hold matrices.

    Parameters
    ----------
    named
        ``network.named_modules()``.
    linear
        ``torch.nn.Linear``.
    transposed
        The Conv1D of transformers.
    """
    layers: dict[str, LinearLayer] = {}
    left: dict[str, Left] = {}
    for full_name, module in named:
        name = full_name.removeprefix("model.")
        if isinstance(module, linear):
            layers[name] = LinearLayer(module)
        elif isinstance(module, transposed):
            layers[name] = LinearLayer(module, transposed=True)
        elif (why := _why_not(module)) is not None:
            left[name] = Left(type(module).__name__, why)
    return Modules(layers, left)


def _why_not(module: Any) -> str | None:
    """Why a module is no linear layer; None if it holds no matrices itself, as norms do."""
    matrices = [
        (name, weight.ndim)
        for name, weight in module.named_parameters(recurse=False)
        if weight.ndim >= 2
    ]
    if not matrices:
        return None
    if hasattr(module, "num_embeddings"):
        return EMBEDDING
    name, dimensions = max(matrices, key=lambda matrix: matrix[1])
    if dimensions > 2:
        return (
            f"its {name} has {dimensions} dimensions, as the weights of experts and convolutions"
            " have: not one matrix for all tokens"
        )
    return UNKNOWN


def summarise(left: Mapping[str, Left]) -> list[dict[str, Any]]:
    """Modules by kind and reason, as JSON: ``kind``, ``why``, ``count`` and the ``first`` name."""
    found: dict[Left, dict[str, Any]] = {}
    for name, one in left.items():
        entry = found.setdefault(one, {"kind": one.kind, "why": one.why, "count": 0, "first": name})
        entry["count"] += 1
    return list(found.values())


def in_words(entry: Mapping[str, Any]) -> str:
    """One entry of a summary, as a sentence without its full stop."""
    count, first = entry["count"], entry["first"]
    which = first if count == 1 else f"{first} and {count - 1:,} more"
    return f"{count:,} {entry['kind']} ({which}): {entry['why']}"
