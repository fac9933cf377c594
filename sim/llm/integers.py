"""Perplexity of a real LLM whose linear layers multiply integers of few bits.

Needs ``pip install nibbleforge[llm]``. The output head keeps its weights and activations.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from ...golden.arithmetic.quantise import quantise_activations, quantise_weights
from ...golden.contract.errors import UserError
from ..tools.progress import Progress
from .perplexity import LanguageModel, hooked

_NAME = re.compile(r"w(\d+)a(\d+)")
_MOST = 8
"""Bits of the widest operands."""


@dataclass(frozen=True)
class Widths:
    """Bits of the operands of linear layers.

    Attributes
    ----------
    weights
        Bits of a weight, 2..8.
    activations
        Bits of an activation, 2..8; one scale a token.
    group
        Input features that share a scale of weights, a power of two; None: one scale an output.
    """

    weights: int
    activations: int
    group: int | None = None

    @classmethod
    def of(cls, name: str, group: int | None = None) -> Self:
        """``w4a8``: weights of 4 bits, activations of 8.

        Raises
        ------
        UserError
            It is no such name, or a number of bits is not in 2..8.
        """
        found = _NAME.fullmatch(name)
        if not found:
            raise UserError(f"widths must be like w4a8, got {name!r}.")
        weights, activations = map(int, found.groups())
        for bits in (weights, activations):
            if not 2 <= bits <= _MOST:
                raise UserError(f"widths must have 2 to {_MOST} bits, got {name}.")
        return cls(weights, activations, group)


def perplexity(
    model: LanguageModel,
    widths: Widths,
    *,
    held_out: bool = False,
    progress: Progress | None = None,
) -> float:
    """Perplexity with both operands quantised as golden does: symmetric, to the nearest.

    Parameters
    ----------
    model
        Its weights are as before afterwards.
    widths
        Of the operands.
    held_out, progress
        As :meth:`.perplexity.LanguageModel.perplexity` has them.

    Raises
    ------
    UserError
        Weights or activations are not finite, or a scale overflows FP16.
    """

    def pre_hook(module: Any, inputs: tuple) -> tuple:
        return (_rounded(inputs[0], widths.activations), *inputs[1:])

    modules = [module for _, _, module in model.layers]
    with _weights(modules, widths), hooked((module, pre_hook) for module in modules):
        return model.measure(held_out=held_out, progress=progress)


@contextmanager
def _weights(modules: list[Any], widths: Widths) -> Iterator[None]:
    """Weights of few bits in place of a model's own."""
    import torch

    own = [module.weight.data for module in modules]
    try:
        for module, weight in zip(modules, own, strict=True):
            floats = weight.float().numpy()
            if widths.group is None:
                found = quantise_weights(floats, bits=widths.weights)
            else:
                found = quantise_weights(floats, "group", widths.group, bits=widths.weights)
            module.weight.data = torch.from_numpy(found.dequantise())
        yield
    finally:
        for module, weight in zip(modules, own, strict=True):
            module.weight.data = weight


def _rounded(x: Any, bits: int) -> Any:
    """Activations as integers of so many bits stand for them, float32."""
    import torch

    found = quantise_activations(x.float().flatten(0, -2).numpy(), (1 << (bits - 1)) - 1)
    return torch.from_numpy(found.q * found.scale[:, None]).reshape(x.shape)
