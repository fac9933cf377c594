"""Quantisers that all units share: per-token INT8 activations and INT4 weights with FP16 scales.

Every step is a single IEEE-754 fp32 operation, rounded to nearest even and never fused. Values are
divided by their scale: multiplying by a reciprocal gives other results.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..contract.errors import UserError
from ..contract.layer import signed_range

Recode = Literal["balanced", "twos"]
Int8Policy = Literal["error", "saturate", "twos"]
Granularity = Literal["channel", "group"]

INT4_MIN, INT4_MAX = -8, 7
INT4_BITS, FP16_BITS = 4, 16
FLOATS = (np.float16, np.float32, np.float64)
OF_TOKENS = ("activations", "held_out")
WEIGHT_GROUPS = tuple(1 << n for n in range(2, 8))


@dataclass(frozen=True, eq=False)
class Quantised:
    """Integers and their per-token scales: ``x ~ q * scale[:, None]``.

    Attributes
    ----------
    q
        ``(tokens, in_features)``, int8 or int16.
    scale
        ``(tokens,)``, float32; 0 for a token whose ``q`` are all 0 because nothing is left of it.
    """

    q: NDArray[np.signedinteger]
    scale: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Activations(Quantised):
    """Activations as a unit takes them.

    Attributes
    ----------
    recode
        The recoding that can hold ``q``: ``"twos"`` where the limit is that of two's complement or
        ``int8_policy="twos"`` had to widen it, else ``"balanced"``.
    """

    recode: Recode


@dataclass(frozen=True, eq=False)
class QuantisedWeights:
    """Weights of few bits with FP16 scales.

    Attributes
    ----------
    q
        ``(out_features, in_features)``, int8 in [-2^(bits-1), 2^(bits-1) - 1]; where asymmetric,
        ``u - 2^(bits-1)``.
    scale
        ``(out_features, groups)``, float16, finite, >= 0.
    minimum
        ``(out_features, groups)``, float16, finite; None for symmetric weights.
    group
        Input features that share a scale; the last group may be shorter.
    bits
        Of a weight.
    """

    q: NDArray[np.int8]
    scale: NDArray[np.float16]
    minimum: NDArray[np.float16] | None
    group: int
    bits: int = INT4_BITS

    @property
    def bits_per_weight(self) -> float:
        """Bits a weight takes, group scales and minima included; per-channel ones are not."""
        if self.group >= self.q.shape[1]:
            return float(self.bits)
        return self.bits + FP16_BITS * (1 if self.minimum is None else 2) / self.group

    def dequantise(self) -> NDArray[np.float32]:
        """The weights that the integers stand for, in fp32.

        Returns
        -------
        ndarray
            ``(out_features, in_features)``: ``fl(q * scale)``, or ``fl(fl(u * scale) + minimum)``.
        """
        if self.minimum is None:
            return self.q * self._spread(self.scale)
        u = self.q - np.float32(signed_range(self.bits)[0])
        return u * self._spread(self.scale) + self._spread(self.minimum)

    def _spread(self, per_group: NDArray[np.float16]) -> NDArray[np.float32]:
        """Repeat one value per group for each of its input features."""
        spread = np.repeat(per_group.astype(np.float32), self.group, axis=1)
        return spread[:, : self.q.shape[1]]


def check_matrix(name: str, array: ArrayLike) -> NDArray:
    """Check a matrix that the user supplied.

    Parameters
    ----------
    name
        What the matrix is, as it begins the error sentence: one of ``OF_TOKENS``, or a weight's
        name.
    array
        ``(tokens, in_features)`` for ``OF_TOKENS``, else ``(out_features, in_features)``; float16,
        float32, float64 or int8, finite, at least one row and one column.

    Returns
    -------
    ndarray
        The matrix in C order: int8 as it is, floats as float32 (float64 is rounded).

    Raises
    ------
    UserError
        If the shape, the dtype or a value is not as above, or float64 overflows float32.
    """
    matrix = np.asarray(array)
    axes = "(tokens, in_features)" if name in OF_TOKENS else "(out_features, in_features)"
    if matrix.ndim != 2:
        raise UserError(f"{name} must be 2-D {axes}, got shape {matrix.shape}.")
    if matrix.size == 0:
        raise UserError(
            f"{name} must have at least one row and one column {axes}, got shape {matrix.shape}."
        )
    if matrix.dtype.type is np.int8:
        return np.ascontiguousarray(matrix)
    if matrix.dtype.type not in FLOATS:
        raise UserError(
            f"{name} must be float16, float32, float64 or int8, got {matrix.dtype.name}."
        )
    with np.errstate(over="ignore"):
        floats = np.ascontiguousarray(matrix, np.float32)
    if not np.isfinite([floats.min(), floats.max()]).all():
        row, column = np.argwhere(~np.isfinite(floats))[0]
        value = matrix[row, column]
        must = "fit float32" if np.isfinite(value) else "be finite"
        raise UserError(f"{name} must {must}, got {value} in row {row}, column {column}.")
    return floats


def storage_dtype(limit: int) -> np.dtype[np.signedinteger]:
    """The integer type that holds quantised activations: int8 up to limit 127, else int16."""
    return np.dtype(np.int8 if limit <= 127 else np.int16)


def quantise_activations(x: ArrayLike, limit: int) -> Quantised:
    """Quantise activations, one fp32 scale per token.

    ``scale = absmax / limit``; ``q = clip(rint(x / scale), -limit, limit)``; scale 0 gives q = 0.

    Parameters
    ----------
    x
        ``(tokens, in_features)``, floating point, finite.
    limit
        Largest magnitude of ``q``: 127 for plain INT8, 5, 119 or 32639 for the balanced recoding.

    Returns
    -------
    Quantised
        ``q`` is int8, or int16 if ``limit`` is above 127.

    Raises
    ------
    UserError
        If ``x`` is not such a matrix.
    """
    floats = _check_floats("activations", x)
    absmax = np.abs(np.maximum(floats.max(axis=1), -floats.min(axis=1)))
    scale = absmax / np.float32(limit)
    q = floats / _divisor(scale)[:, None]
    np.rint(q, out=q)
    np.clip(q, -limit, limit, out=q)
    return Quantised(q.astype(storage_dtype(limit)), scale)


def take_activations(
    x: ArrayLike, limit: int = 127, int8_policy: Int8Policy = "error"
) -> Activations:
    """Quantise floating-point activations, or take int8 as quantised with scale 1.

    The balanced recoding cannot hold the uppermost integers (k=4: 120..127); two's complement can.

    Parameters
    ----------
    x
        ``(tokens, in_features)``, floating point or int8.
    limit
        Largest ``q``: 5, 119 or 32639 (balanced), 7, 127 or 32767 (two's complement).
    int8_policy
        What to do if int8 values are above ``limit``: ``error``; ``saturate`` them; or leave them
        and return ``recode="twos"``, to which the caller switches the format. Without such
        values, and with floats, the policies do not differ.

    Returns
    -------
    Activations
        Caller's next step: ``format = format.replace(recode=activations.recode)``.

    Raises
    ------
    UserError
        If ``x`` is not such a matrix, or int8 values are out of range.
    """
    low, high = -(1 << limit.bit_length()), (1 << limit.bit_length()) - 1
    recode: Recode = "twos" if limit == high else "balanced"
    if np.asarray(x).dtype.type is not np.int8:
        quantised = quantise_activations(x, limit)
        return Activations(quantised.q, quantised.scale, recode)
    q = check_matrix("activations", x)
    if int8_policy == "saturate":
        q = np.clip(q, max(low, -128), min(limit, 127))
    least, most = int(q.min()), int(q.max())
    if least < low or most > high:
        raise UserError(
            f"activations must be in {low}..{limit}, got {least}..{most};"
            " --int8-policy saturate clips them."
        )
    if most > limit and int8_policy == "error":
        raise UserError(
            f"activations must be in {low}..{limit} for the balanced recoding, got {most};"
            " choose --int8-policy saturate to clip them"
            " or --int8-policy twos to recode in two's complement."
        )
    if most > limit:
        recode = "twos"
    ones = np.ones(q.shape[0], np.float32)
    return Activations(q.astype(storage_dtype(limit), copy=False), ones, recode)


def quantise_weights(
    w: ArrayLike,
    granularity: Granularity = "channel",
    group: int = 128,
    symmetric: bool = True,
    bits: int = INT4_BITS,
) -> QuantisedWeights:
    """Quantise weights; the FP16 scale is rounded before the integers are computed.

    Symmetric, with ``m = 2^(bits-1) - 1`` (7 for INT4, 1 for INT2): ``scale = fp16(absmax / m)``,
    ``q = clip(rint(w / scale), -m, m)``. Asymmetric, as in GGUF Q4_1, here for INT4:
    ``d = fp16((max - min) / 15)``, ``min = fp16(min)``, ``u = clip(rint((w - min) / d), 0, 15)``,
    stored as ``q = u - 8``. Scale 0 gives q (or u) = 0.

    Parameters
    ----------
    w
        ``(out_features, in_features)``, floating point, finite.
    granularity
        One scale per output (``channel``), or per output and ``group`` input features.
    group
        A power of two, 4..128 (the units use 32, 64 and 128); unused for ``channel``. Only real
        weights, no padding, enter the scale of a short last group.
    symmetric
        Whether zero maps to zero and no minimum is stored.
    bits
        Of a weight.

    Returns
    -------
    QuantisedWeights

    Raises
    ------
    UserError
        If ``w`` or ``group`` is not as above, or a scale or minimum overflows FP16.
    """
    floats = _check_floats("weights", w)
    size = _group_size(floats.shape[1], granularity, group)
    grouped = _grouped(floats, size)
    high, low = grouped.max(axis=2), grouped.min(axis=2)
    least, most = signed_range(bits)
    if symmetric:
        scale = _to_fp16("scale", np.maximum(np.abs(high), np.abs(low)) / np.float32(most))
        q = _nearest(grouped, scale, -most, most)
        minimum = None
    else:
        with np.errstate(over="ignore"):
            scale = _to_fp16("scale", (high - low) / np.float32(most - least))
        minimum = _to_fp16("minimum", low)
        offset = grouped - minimum.astype(np.float32)[:, :, None]
        q = _nearest(offset, scale, 0, most - least) + np.int8(least)
    flat = q.reshape(len(q), -1)[:, : floats.shape[1]]
    return QuantisedWeights(np.ascontiguousarray(flat), scale, minimum, size, bits)


def take_weights(
    w: ArrayLike,
    granularity: Granularity = "channel",
    group: int = 128,
    symmetric: bool = True,
    bits: int = INT4_BITS,
) -> QuantisedWeights:
    """Quantise floating-point weights, or take int8 holding such values as quantised with scale 1.

    Parameters
    ----------
    w
        ``(out_features, in_features)``, floating point, or int8 of so many bits.
    granularity, group, symmetric, bits
        As in :func:`quantise_weights`.

    Returns
    -------
    QuantisedWeights
        Of int8: ``q = w``, scale 1 and, if asymmetric, the least integer as minimum, so that it
        dequantises to ``w``.

    Raises
    ------
    UserError
        As :func:`quantise_weights`, or if int8 values are out of range.
    """
    if np.asarray(w).dtype.type is not np.int8:
        return quantise_weights(w, granularity, group, symmetric, bits)
    q = check_matrix("weights", w)
    low, high = signed_range(bits)
    if q.min() < low or q.max() > high:
        raise UserError(
            f"int8 weights must hold INT{bits} values in {low}..{high}, got {q.min()}..{q.max()}."
        )
    size = _group_size(q.shape[1], granularity, group)
    scale = np.ones((q.shape[0], -(-q.shape[1] // size)), np.float16)
    minimum = None if symmetric else np.full_like(scale, low)
    return QuantisedWeights(q, scale, minimum, size, bits)


def _check_floats(name: str, array: ArrayLike) -> NDArray[np.float32]:
    """A checked matrix that is not int8."""
    matrix = check_matrix(name, array)
    if matrix.dtype.type is np.int8:
        raise UserError(f"{name} to be quantised must be floating point, got int8.")
    return matrix


def _divisor(scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scale, or infinity in place of 0: anything finite divided by it is 0."""
    return np.where(scale > 0, scale, np.float32(np.inf))


def _group_size(in_features: int, granularity: Granularity, group: int) -> int:
    """Input features per scale."""
    if granularity == "channel":
        return in_features
    if group not in WEIGHT_GROUPS:
        known = ", ".join(map(str, WEIGHT_GROUPS))
        raise UserError(f"the weight group must be one of {known}, got {group}.")
    return group


def _grouped(w: NDArray[np.float32], group: int) -> NDArray[np.float32]:
    """``(rows, groups, group)``; a short last group repeats its last element: same extrema."""
    short = -w.shape[1] % group
    full = np.pad(w, ((0, 0), (0, short)), mode="edge") if short else w
    return full.reshape(len(w), -1, group)


def _to_fp16(what: str, values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round per-group values ``(rows, groups)`` to FP16; overflow is an error."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16)
    if not np.isfinite(rounded).all():
        row, group = np.argwhere(~np.isfinite(rounded))[0]
        raise UserError(
            f"the {what} of weights in row {row}, group {group} must fit FP16 (at most 65504),"
            f" got {values[row, group]:g}."
        )
    return rounded


def _nearest(
    values: NDArray[np.float32], scale: NDArray[np.float16], low: int, high: int
) -> NDArray[np.int8]:
    """``clip(rint(values / scale), low, high)``, one scale per group, in fp32."""
    q = values / _divisor(scale.astype(np.float32))[:, :, None]
    np.rint(q, out=q)
    np.clip(q, low, high, out=q)
    return q.astype(np.int8)
