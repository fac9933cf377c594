"""Arithmetic of Anda: group dot products with INT4 weights, scaled and added up in FP32.

Source: Anda, arXiv 2411.15982. The order and the rounding of each step are our
definition. Per group in ascending K, starting from +0, each operation rounded once and never fused:
``v = fl(acc) * 2^(E - 15 - (M - 1))``, ``sum = fl(sum + fl(v * d))``. Asymmetric weights
(``w = d * u + min``, stored as ``q = u - 8``) have ``acc = acc_s + 8 * acc_1`` exactly in integers,
``acc_1`` being the sum of the group's activations, and then ``sum = fl(sum + fl(v_1 * min))``.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..arithmetic.floating import add, fp32_to_fp16, int_to_fp32, multiply
from ..arithmetic.quantise import INT4_MAX, INT4_MIN, QuantisedWeights
from ..contract.errors import UserError
from .format import Anda

Accumulate = Literal["fp32", "paper_fp16"]
OFFSET = -INT4_MIN  # q = u - 8


def acc_bits(group: int, mantissa: int, asymmetric: bool = False) -> int:
    """Bits of a group's signed dot product: 26 for G=64, M=16, or 27 with asymmetric weights."""
    largest = INT4_MAX + OFFSET if asymmetric else -INT4_MIN
    return (group * ((1 << mantissa) - 1) * largest).bit_length() + 1


def group_dots(anda: Anda, w_q: NDArray[np.int8]) -> NDArray[np.int64]:
    """Exact integer dot products of every group.

    Parameters
    ----------
    anda
        Activations.
    w_q
        ``(outputs, in_features)``, int8 in [-8, 7].

    Returns
    -------
    ndarray
        ``(groups, tokens, outputs)``.

    Raises
    ------
    UserError
        If activations and weights differ in in_features.
    """
    _check_features(anda, w_q)
    x = _real(anda)
    return np.stack([_dots(x[:, k], w_q[:, k]) for k in _slices(anda)])


def compute(
    anda: Anda, w: QuantisedWeights, *, accumulate: Accumulate = "fp32"
) -> NDArray[np.float32]:
    """Results of a layer, bit for bit.

    Parameters
    ----------
    anda
        Activations.
    w
        INT4 weights; each Anda group lies inside one of their groups.
    accumulate
        ``fp32``, or ``paper_fp16``: a group's result is rounded to FP16, saturating at 65504,
        before it is scaled.

    Returns
    -------
    ndarray
        ``(tokens, outputs)``.

    Raises
    ------
    UserError
        If the operands do not fit together, or a scale or minimum is not finite.
    """
    _check(anda, w)
    x, exponents = _real(anda), anda.scale().astype(np.float32)
    bits = acc_bits(anda.group, anda.mantissa, w.minimum is not None)
    total = np.zeros((anda.tokens, len(w.q)), np.float32)
    for group, k in enumerate(_slices(anda)):
        column = k.start // w.group
        acc = _dots(x[:, k], w.q[:, k])
        terms = [(acc, w.scale)]
        if w.minimum is not None:
            ones = x[:, k].sum(axis=1, dtype=np.int64)[:, None]
            terms = [(acc + OFFSET * ones, w.scale), (ones, w.minimum)]
        for integers, factors in terms:
            v = _convert(integers, bits, exponents[:, group, None], accumulate)
            total = add(total, multiply(v, factors[:, column]))
    return total


def _slices(anda: Anda) -> list[slice]:
    """In_features of each group."""
    return [slice(k, k + anda.group) for k in range(0, anda.in_features, anda.group)]


def _real(anda: Anda) -> NDArray[np.int32]:
    """Signed magnitudes without padding, which adds nothing to a dot product."""
    return anda.integers()[:, : anda.in_features]


def _dots(x: NDArray[np.int32], w_q: NDArray[np.int8]) -> NDArray[np.int64]:
    """Dot products of one group; float64 holds them exactly and is the faster matmul."""
    return (x.astype(np.float64) @ w_q.T.astype(np.float64)).astype(np.int64)


def _convert(
    acc: NDArray[np.int64], bits: int, exponent: NDArray[np.float32], accumulate: Accumulate
) -> NDArray[np.floating]:
    """A group's integers under its exponent: the power of two multiplies exactly."""
    v = multiply(int_to_fp32(acc, bits), exponent)
    return fp32_to_fp16(v) if accumulate == "paper_fp16" else v


def _check(anda: Anda, w: QuantisedWeights) -> None:
    """Raise :class:`UserError` unless activations and weights fit together."""
    _check_features(anda, w.q)
    if w.group % anda.group and w.group < anda.in_features:
        raise UserError(
            "each Anda group must lie inside one weight group,"
            f" got Anda groups of {anda.group} and weight groups of {w.group}."
        )
    for name, values in (("scales", w.scale), ("minima", w.minimum)):
        if values is not None and not np.isfinite(values).all():
            wrong = values[~np.isfinite(values)][0]
            raise UserError(f"the {name} of weights must be finite, got {wrong}.")


def _check_features(anda: Anda, w_q: NDArray[np.int8]) -> None:
    if w_q.shape[1] != anda.in_features:
        raise UserError(
            f"weights must have the {anda.in_features} in_features of the activations,"
            f" got {w_q.shape[1]}."
        )
