"""FP32 arithmetic in pipelines: conversion of integers, product, sum; from and to FP16.

Results equal those of :mod:`nibbleforge.golden.arithmetic.floating` for all finite operands.
"""

from collections.abc import Collection
from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ...golden.arithmetic.floating import (
    FloatAddConfig,
    FloatMultiplyConfig,
    FloatToHalfConfig,
    HalfToFloatConfig,
    IntToFloatConfig,
)
from .base import Part

FP16_BITS = 16
FP32_BITS = 32
BIAS = 127
SIGNIFICAND = 24  # bits, hidden one included
INFINITE = 255  # exponent
HALF_BIAS = 15
HALF_SIGNIFICAND = 11
HALF_INFINITE = 31 << (HALF_SIGNIFICAND - 1)

HALF_LAYOUT = data.StructLayout({"fraction": 10, "exponent": 5, "sign": 1})
_fp32 = data.StructLayout({"fraction": 23, "exponent": 8, "sign": 1})
_wide = data.StructLayout({"fraction": 10, "exponent": 8, "sign": 1})  # upper bits of FP32

WIDE_BITS = _wide.size
"""Upper bits of FP32 that a widened FP16 number needs; the others are 0."""


class IntToFloat(Part[IntToFloatConfig]):
    """Signed integer to FP32.

    ``result`` follows ``value`` by ``stages`` cycles; registers of stage i hold without
    ``enable[i]``.
    """

    def __init__(self, config: IntToFloatConfig):
        super().__init__(
            config,
            {
                "enable": In(config.stages),
                "value": In(signed(config.bits)),
                "result": Out(FP32_BITS),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.config.bits
        steps = _Steps(m, self.enable, {1: {3}, 2: {1, 3}, 3: {1, 2, 3}}[self.config.stages])
        sign = self.value[-1]
        flipped = self.value.as_unsigned() ^ sign.replicate(bits)
        step = steps.end(sign=sign, magnitude=(flipped + sign)[:bits])
        normal, zeros = _normalise(m, step.magnitude)
        step = steps.end(sign=step.sign, normal=normal, zeros=zeros)
        exponent = Signal(8)
        m.d.comb += exponent.eq(Mux(step.normal[-1], BIAS + bits - 1 - step.zeros, 0))
        # only -2^24 has 25 bits of magnitude: nothing to round up to there
        significand = step.normal if bits > SIGNIFICAND + 1 else step.normal[-SIGNIFICAND:]
        rounded = _rounded(m, significand, exponent)
        step = steps.end(result=Cat(rounded, step.sign))
        m.d.comb += self.result.eq(step.result)
        return m


class FloatMultiply(Part[FloatMultiplyConfig]):
    """Product of two FP32 numbers, each of which may be a widened FP16.

    ``result`` follows ``a`` and ``b`` by ``stages`` cycles; registers of stage i hold without
    ``enable[i]``. If both are widened FP16, only their upper bits are taken.
    """

    def __init__(self, config: FloatMultiplyConfig):
        super().__init__(
            config,
            {
                "enable": In(config.stages),
                "a": In(config.operand_bits),
                "b": In(config.operand_bits),
                "result": Out(FP32_BITS),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        steps = _Steps(m, self.enable, {1: {3}, 2: {1, 3}, 3: {1, 2, 3}}[self.config.stages])
        first, second = (bits - 1 for bits in (self.config.first, self.config.significand))
        of_fp16 = first + second < SIGNIFICAND  # neither too large nor too small
        within = of_fp16 or self.config.bounded
        layout = _wide if of_fp16 else _fp32
        a = _fields(m, layout, self.a, "number_a")
        b = _fields(m, layout, self.b, "number_b")
        total = (a.exponent + b.exponent - BIAS).as_signed()
        step = steps.end(
            sign=a.sign ^ b.sign,
            zero=(a.exponent == 0) | (b.exponent == 0),
            exponent=total[:8] if within else total,
            product=Cat(a.fraction[-first:], 1) * Cat(b.fraction[-second:], 1),
        )
        high = step.product[-1]
        exponent = Signal(8 if within else signed(10))
        m.d.comb += exponent.eq(step.exponent + high)
        step = steps.end(
            sign=step.sign,
            zero=step.zero if within else step.zero | (exponent <= 0),
            exponent=exponent,
            normal=Mux(high, step.product, _moved_up(step.product, 1)),
        )
        step = steps.end(result=_result(m, step, within))
        m.d.comb += self.result.eq(step.result)
        return m


class FloatAdd(Part[FloatAddConfig]):
    """Sum of two FP32 numbers.

    ``result`` follows ``a`` and ``b`` by ``stages`` cycles; registers of stage i hold without
    ``enable[i]``.
    """

    def __init__(self, config: FloatAddConfig):
        super().__init__(
            config,
            {
                "enable": In(config.stages),
                "a": In(FP32_BITS),
                "b": In(FP32_BITS),
                "result": Out(FP32_BITS),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cuts = {1: {5}, 2: {3, 5}, 3: {2, 4, 5}, 4: {2, 3, 4, 5}}[self.config.stages]
        steps = _Steps(m, self.enable, cuts)
        larger = Signal(_fp32)
        smaller = Signal(_fp32)
        swap = Signal()
        m.d.comb += [
            swap.eq(self.a[:-1] < self.b[:-1]),
            larger.eq(Mux(swap, self.b, self.a)),
            smaller.eq(Mux(swap, self.a, self.b)),
        ]
        step = steps.end(
            sign=larger.sign,
            negative=larger.sign & smaller.sign,
            subtract=larger.sign ^ smaller.sign,
            exponent=larger.exponent,
            distance=(larger.exponent - smaller.exponent)[:8],
            large=_significand(larger),
            small=_significand(smaller),
        )
        aligned = _align(m, step.small, step.distance)
        kept = {"sign": step.sign, "negative": step.negative, "exponent": step.exponent}
        step = steps.end(**kept, large=step.large, small=aligned, subtract=step.subtract)

        # three bits below the significand: guard, round, sticky; one above: carry
        flipped = Signal(len(step.small) + 1)
        m.d.comb += flipped.eq(Cat(step.small, Const(0, 1)) ^ step.subtract.replicate(len(flipped)))
        total = Cat(Const(0, 3), step.large) + flipped + step.subtract
        kept = {"sign": step.sign, "negative": step.negative, "exponent": step.exponent}
        step = steps.end(**kept, total=total[: SIGNIFICAND + 4])

        normal, zeros = _normalise(m, step.total)
        bounded = self.config.bounded
        exponent = Signal(8 if bounded else signed(10))
        m.d.comb += exponent.eq(step.exponent + 1 - zeros)
        cancelled = ~normal[-1]
        step = steps.end(
            sign=Mux(cancelled, step.negative, step.sign),
            zero=cancelled if bounded else cancelled | (exponent <= 0),
            exponent=exponent,
            normal=normal,
        )
        step = steps.end(result=_result(m, step, bounded))
        m.d.comb += self.result.eq(step.result)
        return m


class Fp16ToFp32(Part[HalfToFloatConfig]):
    """Finite FP16 to FP32, or its upper bits: exact, combinational, subnormals normalised."""

    def __init__(self, config: HalfToFloatConfig | None = None) -> None:
        config = config or HalfToFloatConfig()
        super().__init__(config, {"value": In(FP16_BITS), "result": Out(config.bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value = _fields(m, HALF_LAYOUT, self.value, "half")
        wide = Signal(_wide)
        normal, zeros = _normalise(m, value.fraction)
        is_normal = Signal()
        rebased = Signal(8)
        subnormal = Signal(8)
        m.d.comb += [
            is_normal.eq(value.exponent != 0),
            rebased.eq(value.exponent + (BIAS - HALF_BIAS)),
            subnormal.eq(Mux(normal[-1], BIAS - HALF_BIAS - zeros, 0)[:8]),
            wide.sign.eq(value.sign),
            wide.exponent.eq(Mux(is_normal, rebased, subnormal)),
            wide.fraction.eq(Mux(is_normal, value.fraction, _moved_up(normal, 1))),
        ]
        m.d.comb += self.result.eq(Cat(Const(0, self.config.bits - WIDE_BITS), wide))
        return m


class FloatToHalf(Part[FloatToHalfConfig]):
    """FP32 to FP16, rounded to nearest even, subnormal results included.

    ``result`` follows ``value`` by ``stages`` cycles; registers of stage i hold without
    ``enable[i]``.
    """

    def __init__(self, config: FloatToHalfConfig):
        super().__init__(
            config, {"enable": In(config.stages), "value": In(FP32_BITS), "result": Out(FP16_BITS)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        steps = _Steps(m, self.enable, {1: {2}, 2: {1, 2}}[self.config.stages])
        value = _fields(m, _fp32, self.value, "number")
        rebased = Signal(signed(9))  # exponent of FP16, not above 0 for subnormal numbers
        m.d.comb += rebased.eq(value.exponent - (BIAS - HALF_BIAS))
        subnormal = rebased <= 0
        distance = Mux(subnormal, 1 - rebased, 0)[:8]
        step = steps.end(
            sign=value.sign,
            exponent=Mux(subnormal, 0, rebased)[:8],
            aligned=_align(m, _significand(value), distance),
        )
        rounded = Signal(HALF_SIGNIFICAND - 1 + 8)
        m.d.comb += rounded.eq(_rounded(m, step.aligned, step.exponent, HALF_SIGNIFICAND))
        limit = HALF_INFINITE - (self.config.overflow == "saturate")
        finite = Mux(rounded >= HALF_INFINITE, limit, rounded)[: FP16_BITS - 1]
        step = steps.end(result=Cat(finite, step.sign))
        m.d.comb += self.result.eq(step.result)
        return m


class _Steps:
    """The steps of a calculation, some of which end in registers.

    Parameters
    ----------
    m
        Module of the part.
    enable
        A bit for each step that ends in registers: they take new values with it.
    cuts
        Numbers of the steps that end in registers, from 1.
    """

    def __init__(self, m: Module, enable: Signal, cuts: Collection[int]):
        self.m = m
        self.enable = enable
        self.cuts = cuts
        self.number = 0
        self.stage = 0

    def end(self, **values: Value) -> SimpleNamespace:
        """End a step: its values, registered or not, under their names."""
        self.number += 1
        registered = self.number in self.cuts
        after = SimpleNamespace()
        for name, value in values.items():
            shape = Value.cast(value).shape()
            signal = Signal(shape, name=f"{name}_{self.number}", reset_less=True)
            if registered:
                with self.m.If(self.enable[self.stage]):
                    self.m.d.sync += signal.eq(value)
            else:
                self.m.d.comb += signal.eq(value)
            setattr(after, name, signal)
        self.stage += registered
        return after


def _fields(m: Module, layout: data.StructLayout, number: Value, name: str) -> data.View:
    """A number with names for its fields."""
    view = Signal(layout, name=name)
    m.d.comb += view.eq(number)
    return view


def _significand(number: data.View) -> Value:
    """Significand with its hidden one; 0 for zero and subnormals."""
    return Mux(number.exponent != 0, Cat(number.fraction, Const(1, 1)), 0)


def _normalise(m: Module, value: Value) -> tuple[Value, Value]:
    """Value moved up until its top bit is set, and by how much; the top bit of 0 stays clear."""
    zeros: list[Value] = []
    for stage in reversed(range((len(value) - 1).bit_length())):
        distance = 1 << stage
        empty = Signal(name=f"empty_{distance}")
        moved = Signal(len(value), name=f"moved_{distance}")
        m.d.comb += empty.eq(value[-distance:] == 0)
        m.d.comb += moved.eq(Mux(empty, _moved_up(value, distance), value))
        zeros.insert(0, empty)
        value = moved
    return value, Cat(zeros)


def _moved_up(value: Value, distance: int) -> Value:
    """Value times a power of two, as wide as it was."""
    return Cat(Const(0, distance), value[:-distance])


def _align(m: Module, significand: Value, distance: Value) -> Value:
    """Significand and three bits below it, moved down; the last bit gathers what falls off."""
    value = Cat(Const(0, 3), significand)
    for stage in range((len(value) - 1).bit_length()):
        moved = Signal(len(value), name=f"aligned_{stage}")
        off = 1 << stage
        sticky = value[: off + 1].any()
        m.d.comb += moved.eq(Mux(distance[stage], Cat(sticky, value[off + 1 :]), value))
        value = moved
    far = distance[(len(value) - 1).bit_length() :].any()
    return Mux(far, value.any(), value)


def _rounded(m: Module, significand: Value, exponent: Value, bits: int = SIGNIFICAND) -> Value:
    """Fraction below exponent, rounded to nearest even; a carry goes on into the exponent."""
    rest = len(significand) - bits
    if rest <= 0:
        return Cat(Const(0, -rest), significand[:-1], exponent)
    rounds_up = Signal()
    above_half = significand[: rest - 1].any()
    m.d.comb += rounds_up.eq(significand[rest - 1] & (above_half | significand[rest]))
    return (Cat(significand[rest:-1], exponent) + rounds_up)[: bits - 1 + len(exponent)]


def _result(m: Module, step: SimpleNamespace, bounded: bool) -> Value:
    """FP32 of a step's normal significand; ``bounded``: it is zero or normal and finite."""
    rounded = _rounded(m, step.normal, step.exponent)
    if bounded:
        return Cat(Mux(step.zero, 0, rounded), step.sign)
    return _packed(m, step.sign, step.zero, rounded)


def _packed(m: Module, sign: Value, zero: Value, rounded: Value) -> Value:
    """FP32 of a rounded number whose exponent may be too large: zero, finite or infinite."""
    exponent = rounded[SIGNIFICAND - 1 :]
    number = Signal(FP32_BITS - 1, name="number")
    with m.If(zero):
        m.d.comb += number.eq(0)
    with m.Elif(exponent >= INFINITE):
        m.d.comb += number.eq(INFINITE << (SIGNIFICAND - 1))
    with m.Else():
        m.d.comb += number.eq(rounded)
    return Cat(number, sign)
