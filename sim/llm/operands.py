"""Perplexity of a real LLM whose linear layers multiply operands of few bits.

Needs ``pip install nibbleforge[llm]``. The output head keeps its weights and activations.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ...golden.anda.format import AndaFormat, Rounding, check_mantissa, encode, to_fp16
from ...golden.arithmetic.quantise import quantise_activations, quantise_weights
from ...golden.contract.errors import UserError
from ...golden.nm.pattern import Pattern
from ...golden.nm.prune import Calibration, Grid, second_order
from ..tools.progress import Progress
from .blocks import Block, blocks_of, factors_of, put, restoring, settle, weights_of
from .perplexity import LanguageModel, hooked

_NAME = re.compile(
    r"(?:(?P<pattern>\d+:\d+))?(?:w(?P<weights>\d+))?"
    r"(?:a(?P<bits>\d+)|m(?P<mantissa>\d+)|mxint8)"
)
_MOST = 8
"""Bits of the widest integers."""


FP16 = "FP16"
"""Name of activations as they are, and weights as the model has them."""
PERPLEXITIES = "perplexity.json"
"""Name of a file with perplexities by operands."""


class Activations(Protocol):
    """How activations lose bits."""

    def rounded(self, x: NDArray[np.float32]) -> NDArray[np.floating]:
        """What activations, ``(tokens, in_features)``, become."""


@dataclass(frozen=True)
class Integers:
    """Symmetric integers, one scale a token.

    Attributes
    ----------
    bits
        Of an activation, 2..8.
    """

    bits: int

    def rounded(self, x: NDArray[np.float32]) -> NDArray[np.floating]:
        """To the nearest."""
        found = quantise_activations(x, (1 << (self.bits - 1)) - 1)
        return found.q * found.scale[:, None]


@dataclass(frozen=True)
class Grouped:
    """Mantissas whose groups share an exponent.

    Attributes
    ----------
    mantissa
        Bits of a mantissa.
    size
        Elements that share an exponent.
    rounding
        How mantissas lose bits.
    """

    mantissa: int
    size: Literal[32, 64] = 64
    rounding: Rounding = "truncate"

    def rounded(self, x: NDArray[np.float32]) -> NDArray[np.floating]:
        """As golden encodes and decodes FP16."""
        halves = to_fp16("activations", x)
        format = AndaFormat(group=self.size)
        return encode(format, self.mantissa, halves, self.rounding).decode()


MXINT8 = Grouped(7, 32, "nearest")
"""Sign, bit before the point and six behind it; one exponent for 32."""


@dataclass(frozen=True)
class Weights:
    """Symmetric integers in place of a model's weights.

    Attributes
    ----------
    bits
        Of a weight, 2..8.
    group
        Input features that share a scale, a power of two; None: one scale an output.
    calibrated
        Whether later weights make up for what rounding and pruning lose, as
        :func:`nibbleforge.golden.nm.prune.second_order` has it; else to the nearest.
    pattern
        Weights that are kept; None: all. Only where they are calibrated.
    """

    bits: int
    group: int | None = None
    calibrated: bool = False
    pattern: Pattern | None = None

    def __post_init__(self) -> None:
        if self.calibrated and self.group is None:
            raise UserError("calibrated weights must have a scale a group.")
        if self.pattern is not None and not self.calibrated:
            raise UserError(f"weights that are pruned to {self.pattern} must be calibrated.")


@dataclass(frozen=True)
class Operands:
    """Operands of linear layers.

    Attributes
    ----------
    weights
        How weights lose bits; None: weights as the model has them.
    activations
        How activations lose bits.
    """

    weights: Weights | None
    activations: Activations

    @classmethod
    def of(cls, name: str, group: int | None = None, *, calibrated: bool = False) -> Self:
        """``w4a8``, ``2:4w4a8``, ``a8``, ``m7``, ``mxint8``: weights, then activations.

        Raises
        ------
        UserError
            It is no such name, a number of bits is out of range, or weights cannot be like that.
        """
        found = _NAME.fullmatch(name)
        if not found or (found["pattern"] and not found["weights"]):
            raise UserError(f"operands must be like w4a8, 2:4w4a8, a8, m7 or mxint8, got {name!r}.")
        weight_bits, bits, mantissa = (
            None if found[part] is None else int(found[part])
            for part in ("weights", "bits", "mantissa")
        )
        for number in (weight_bits, bits):
            if number is not None and not 2 <= number <= _MOST:
                raise UserError(f"integers must have 2 to {_MOST} bits, got {name}.")
        weights = None
        if weight_bits is not None:
            pattern = Pattern.parse(found["pattern"]) if found["pattern"] else None
            weights = Weights(weight_bits, group, calibrated, pattern)
        if bits is not None:
            return cls(weights, Integers(bits))
        if mantissa is None:
            return cls(weights, MXINT8)
        check_mantissa(mantissa)
        return cls(weights, Grouped(mantissa))


def perplexity(
    model: LanguageModel,
    operands: Operands,
    *,
    held_out: bool = False,
    progress: Progress | None = None,
) -> float:
    """Perplexity with both operands as golden rounds them.

    Parameters
    ----------
    model
        Its weights are as before afterwards; calibrated on its first piece of text.
    operands
        What layers multiply.
    held_out, progress
        As :meth:`.perplexity.LanguageModel.perplexity` has them.

    Raises
    ------
    UserError
        Weights or activations are not finite, a scale overflows FP16, or the model cannot be
        calibrated block after block.
    """

    def pre_hook(module: Any, inputs: tuple) -> tuple:
        return (_rounded(inputs[0], operands.activations), *inputs[1:])

    with (
        _changed(model, operands.weights, progress),
        hooked((module, pre_hook) for _, _, module in model.layers),
    ):
        return model.measure(held_out=held_out, progress=progress)


@contextmanager
def _changed(
    model: LanguageModel, weights: Weights | None, progress: Progress | None
) -> Iterator[None]:
    """Weights of few bits in place of a model's own."""
    if weights is None:
        yield
        return
    modules = [module for _, _, module in model.layers]
    with restoring(modules):
        if weights.calibrated:
            _calibrate(model, weights, progress or (lambda stage, done, total: None))
        else:
            for module in modules:
                put(module, _nearest(module, weights))
        yield


def _nearest(module: Any, weights: Weights) -> NDArray[np.float32]:
    floats = weights_of(module).astype(np.float32)
    if weights.group is None:
        return quantise_weights(floats, bits=weights.bits).dequantise()
    return quantise_weights(floats, "group", weights.group, bits=weights.bits).dequantise()


def _calibrate(model: LanguageModel, weights: Weights, report: Progress) -> None:
    """Settle on weights block after block; with a pattern of all weights none is pruned."""
    assert weights.group is not None
    grid = Grid(weights.bits, weights.group)
    pattern = weights.pattern or Pattern(4, 4)

    def change(block: Block, calibrations: Mapping[str, Calibration]) -> None:
        factors = factors_of(calibrations)
        for name, module in block.linears.items():
            put(module, second_order(weights_of(module), pattern, factors[name], grid).weights)

    settle(model, change, blocks_of(model), stage="calibrate", report=report)


def _rounded(x: Any, activations: Activations) -> Any:
    """Activations as their format holds them, float32."""
    import torch

    found = activations.rounded(x.float().flatten(0, -2).numpy())
    return torch.from_numpy(np.asarray(found, np.float32)).reshape(x.shape)
