"""Floating-point parts in emitted Verilog against golden."""

import numpy as np
import pytest
from amaranth.hdl import Cat, Const, Module, Mux, Signal
from nibbleforge.golden.arithmetic import floating
from nibbleforge.golden.arithmetic.floating import (
    FloatAddConfig,
    FloatMultiplyConfig,
    FloatToHalfConfig,
    HalfToFloatConfig,
    IntToFloatConfig,
)
from nibbleforge.golden.contract.config import Config
from nibbleforge.golden.contract.design import Design
from nibbleforge.golden.contract.events import Event
from nibbleforge.golden.contract.ports import Field, Port
from nibbleforge.golden.contract.schedule import Beats, Pulses, Schedule
from nibbleforge.hw.lib.base import Unit
from nibbleforge.hw.lib.emission import place
from nibbleforge.hw.lib.floating import (
    WIDE_BITS,
    FloatAdd,
    FloatMultiply,
    FloatToHalf,
    Fp16ToFp32,
    IntToFloat,
)
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import verify

# --- a unit that puts every part to the test ------------------------------------------------------


class ProbeConfig(Config):
    stages: int = 1
    bits: int = 25

    @property
    def parts(self):
        """Part and how many cycles it takes, by name; none has more stages than it supports."""
        few, fewer = min(self.stages, 3), min(self.stages, 2)
        convert = IntToFloatConfig(bits=self.bits, stages=few)
        product = FloatMultiplyConfig(stages=few)
        narrow = FloatMultiplyConfig(stages=few, significand=11)
        exact = FloatMultiplyConfig(stages=few, significand=11, first=11)
        saturate = FloatToHalfConfig(stages=fewer)
        return {
            "converted": (IntToFloat(convert), few),
            "product": (FloatMultiply(product), few),
            "narrow": (FloatMultiply(narrow), few),
            "exact": (FloatMultiply(exact), few),
            "total": (FloatAdd(FloatAddConfig(stages=self.stages)), self.stages),
            "bounded_product": (FloatMultiply(product.replace(bounded=True)), few),
            "bounded_total": (
                FloatAdd(FloatAddConfig(stages=self.stages, bounded=True)),
                self.stages,
            ),
            "saturated": (FloatToHalf(saturate), fewer),
            "infinite": (FloatToHalf(saturate.replace(overflow="inf")), fewer),
        }


def ports(config):
    x = (
        Field("integer", config.bits, "operand of the conversion", True),
        Field("a", 32, "FP32 operand"),
        Field("b", 32, "FP32 operand"),
        Field("half", 16, "FP16 operand"),
        Field("other", 16, "FP16 operand"),
        Field("wide", 32, "FP32 operand of the conversion to FP16"),
    )
    y = tuple(
        Field(name, 32, "FP32 result")
        for name in (
            *("converted", "product", "narrow", "exact", "total", "widened"),
            *("bounded_product", "bounded_total"),
        )
    )
    y += tuple(Field(name, 16, "FP16 result") for name in ("saturated", "infinite"))
    return Port("x", "in", x, "operands"), Port("y", "out", y, "results")


def expected(config, integer, a, b, half, other, wide):
    half, other = half.view(np.float16), other.view(np.float16)
    a, b, wide = (values.view(np.float32) for values in (a, b, wide))
    results = {
        "converted": floating.int_to_fp32(integer, config.bits),
        "product": floating.multiply(a, b),
        "narrow": floating.multiply(a, half),
        "exact": half.astype(np.float32) * other.astype(np.float32),
        "total": floating.add(a, b),
        "widened": half.astype(np.float32),
        "bounded_product": floating.multiply(moderate(a), moderate(b)),
        "bounded_total": floating.add(moderate(a), moderate(b)),
        "saturated": narrowed(np.clip(wide, -65504, 65504)),
        "infinite": narrowed(wide),
    }
    return {name: values.view(f"u{values.itemsize}") for name, values in results.items()}


def moderate(values):
    """The same with exponents 64..127, so that products and sums are normal; zeros stay zero."""
    bits = values.view(np.uint32)
    chosen = bits & np.uint32(0x9FFFFFFF) | np.uint32(1 << 29)
    return np.where(bits >> 23 & 0xFF, chosen, bits & np.uint32(1 << 31)).view(np.float32)


def moderated(number):
    """:func:`moderate` in hardware."""
    chosen = Cat(number[:29], 1, 0, number[31])
    return Mux(number[23:31].any(), chosen, Cat(Const(0, 31), number[31]))


def narrowed(wide):
    with np.errstate(over="ignore", under="ignore"):
        return wide.astype(np.float16)


def schedule(config, operands):
    x, y = ports(config)
    beats = {"x": Beats(x.pack(**operands)), "y": Beats(y.pack(**expected(config, **operands)))}
    taken = np.arange(len(operands["a"]))
    done = taken + config.stages
    return Schedule(beats, {"x": taken, "y": done}, {"results": Pulses.strobes(done)})


RESULTS = Event("results", "work", "results taken")
PROBE = Design(
    name="probe",
    summary="",
    law="",
    ports=ports,
    events=lambda _: (RESULTS,),
    bandwidth=lambda _: {"x": 1},
    schedule=schedule,
    traffic=None,
    workload=None,
    cycles=None,
    hardware=f"{__name__}:Probe",
    stimuli="",
)


class Probe(Unit):
    """All parts side by side, under one enable; results wait for the part with most stages."""

    def __init__(self, config):
        super().__init__(config, PROBE)

    def elaborate(self, platform):
        m = Module()
        enable, valid = Signal(), self.x.valid
        m.d.comb += enable.eq(~self.y.valid | self.y.ready)
        m.d.comb += self.x.ready.eq(enable)
        widen = Fp16ToFp32()
        upper, upper_other = (Fp16ToFp32(HalfToFloatConfig(bits=WIDE_BITS)) for _ in range(2))
        place(m, platform, "widen", widen)
        place(m, platform, "upper", upper)
        place(m, platform, "upper_other", upper_other)
        x = self.x.payload
        m.d.comb += [
            widen.value.eq(x.half),
            upper.value.eq(x.half),
            upper_other.value.eq(x.other),
        ]
        results = {"widened": (widen.result, 0)}
        for name, (part, stages) in self.config.parts.items():
            place(m, platform, name, part)
            m.d.comb += part.enable.eq(enable.replicate(len(part.enable)))
            if name == "converted":
                m.d.comb += part.value.eq(x.integer)
            elif name in ("saturated", "infinite"):
                m.d.comb += part.value.eq(x.wide)
            elif name == "exact":
                m.d.comb += part.a.eq(upper_other.result)
                m.d.comb += part.b.eq(upper.result)
            elif name in ("bounded_product", "bounded_total"):
                m.d.comb += [part.a.eq(moderated(x.a)), part.b.eq(moderated(x.b))]
            else:
                m.d.comb += part.a.eq(x.a)
                m.d.comb += part.b.eq(widen.result if name == "narrow" else x.b)
            results[name] = part.result, stages
        for stage in range(self.config.stages):
            late = Signal(name=f"valid_{stage}")
            with m.If(enable):
                m.d.sync += late.eq(valid)
            valid = late
        m.d.comb += self.y.valid.eq(valid)
        m.d.comb += self.events.results.eq(valid & self.y.ready)
        for name, (result, stages) in results.items():
            for stage in range(stages, self.config.stages):
                late = Signal(len(result), name=f"{name}_{stage}")
                with m.If(enable):
                    m.d.sync += late.eq(result)
                result = late
            m.d.comb += self.y.payload[name].eq(result)
        return m


# --- operands -------------------------------------------------------------------------------------

CORNERS = np.array(
    [
        *(0x00000000, 0x00000001, 0x007FFFFF, 0x00800000, 0x00800001, 0x00FFFFFF, 0x01000000),
        *(0x33800000, 0x33800001, 0x34000000, 0x3EFFFFFF, 0x3F000000, 0x3F7FFFFE, 0x3F7FFFFF),
        *(0x3F800000, 0x3F800001, 0x3F800002, 0x3FFFFFFF, 0x40000000, 0x4B000000, 0x4B7FFFFF),
        *(0x4B800000, 0x4B800001, 0x1F800000, 0x20000000, 0x5F000000, 0x5F7FFFFF, 0x7E800000),
        *(0x7F000000, 0x7F7FFFFE, 0x7F7FFFFF, 0x7EFFFFFF, 0x73000000, 0x737FFFFF, 0x0C800000),
    ],
    np.uint32,
)


def floats(rng, count):
    """Finite numbers of all exponents; many significands end in zeros or ones: ties and carries."""
    sign = rng.integers(0, 2, count) << 31
    exponent = rng.integers(0, 255, count) << 23
    fraction = rng.integers(0, 1 << 23, count)
    cut = rng.integers(0, 24, count)
    kind = rng.integers(0, 3, count)
    fraction = np.where(kind == 1, fraction >> cut << cut, fraction)
    fraction = np.where(kind == 2, fraction | (1 << cut) - 1, fraction)
    return (sign | exponent | fraction & 0x7FFFFF).astype(np.uint32)


def of_exponent(numbers, exponent):
    """Numbers with other exponents, as far as they are finite."""
    return (numbers & 0x807FFFFF) | (np.clip(exponent, 0, 254) << 23).astype(np.uint32)


def partners(rng, a):
    """Second operands: of any size, of like size, nearly the negative, products near the limits."""
    b = floats(rng, len(a))
    exponent = (a >> 23 & 255).astype(np.int64)
    close = of_exponent(b, exponent + rng.integers(-28, 29, len(a)))
    moved = np.clip((a & 0x7FFFFFFF).astype(np.int64) + rng.integers(-3, 4, len(a)), 0, 0x7F7FFFFF)
    negative = moved.astype(np.uint32) | (~a & 0x80000000)
    large = of_exponent(b, 381 - exponent + rng.integers(-2, 3, len(a)))
    small = of_exponent(b, 127 - exponent + rng.integers(-2, 3, len(a)))
    return np.choose(rng.integers(0, 5, len(a)), [b, close, negative, large, small])


def integers(rng, bits, count):
    """Integers of every length, among them the extremes and neighbours of ties."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    values = rng.integers(low, high, count, endpoint=True) >> rng.integers(0, bits, count)
    length = rng.integers(0, bits, count)
    tie = (rng.integers(0, 1 << 25, count) << length) + rng.integers(-1, 2, count)
    values = np.where(rng.random(count) < 0.5, values, np.clip(tie >> 24, low, high))
    values[:5] = low, high, 0, 1, -1
    return values


def halves(rng, count):
    finite = np.arange(1 << 16)
    finite = finite[finite >> 10 & 31 != 31]
    return np.resize(rng.permutation(finite), count).astype(np.uint16)


HALF_CORNERS = np.array(
    [
        *(0x477FE000, 0x477FEFFF, 0x477FF000, 0x477FF001, 0x47800000),  # 65504 to 65536
        *(0x7F7FFFFF, 0x7F800000, 0x387FC000, 0x387FDFFF, 0x387FE000, 0x387FF000, 0x38800000),
        *(0x33000000, 0x33000001, 0x32FFFFFF, 0x33800000, 0x33BFFFFF, 0x33C00000, 0x33C00001),
        *(0x00000000, 0x00000001, 0x007FFFFF, 0x00800000, 0x3F801000, 0x3F803000, 0x3F802FFF),
    ],
    np.uint32,
)


def wides(rng, count):
    """Numbers mostly within the range of FP16 or close to it; many ties and their neighbours."""
    near = of_exponent(floats(rng, count), rng.integers(100, 146, count))
    lost = np.clip(126 - (near >> 23 & 255).astype(np.int64), 13, 23)  # bits that FP16 has not
    tie = (near >> lost << lost | 1 << (lost - 1)) + rng.integers(-1, 2, count)
    limit = rng.integers(0x477FD000, 0x47801000, count) | rng.integers(0, 2, count) << 31
    kind = rng.choice(4, count, p=[0.4, 0.35, 0.2, 0.05])
    values = np.choose(kind, [near, tie, floats(rng, count), limit]).astype(np.uint32)
    corners = np.concatenate([HALF_CORNERS, HALF_CORNERS | 0x80000000])
    values[: len(corners)] = corners
    return values


def operands(config, seed, count):
    rng = np.random.default_rng(seed)
    corners = np.concatenate([CORNERS, CORNERS | 0x80000000])
    a, b = (grid.ravel() for grid in np.meshgrid(corners, corners))
    more = floats(rng, count - len(a))
    return {
        "integer": integers(rng, config.bits, count),
        "a": np.concatenate([a, more]),
        "b": np.concatenate([b, partners(rng, more)]),
        "half": halves(rng, count),
        "other": halves(rng, count),
        "wide": wides(rng, count),
    }


# --- tests ----------------------------------------------------------------------------------------

CONFIGS = [  # every number of stages; conversions without, with and with much rounding
    ProbeConfig(stages=1, bits=25),
    ProbeConfig(stages=2, bits=27),
    ProbeConfig(stages=3, bits=48),
    ProbeConfig(stages=4, bits=64),
    ProbeConfig(stages=1, bits=2),
    ProbeConfig(stages=1, bits=26),
]


@pytest.mark.first(3, deep=2 * len(CONFIGS))
@pytest.mark.parametrize("count", [150_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.stages}-{c.bits}")
def test_parts_equal_golden(config, count):
    """Results of each part, in the cycle that the number of stages says."""
    model = Model(PROBE, config, optimise="quick")
    checked = verify.check_schedule(model, schedule(config, operands(config, 0, count)))
    few = schedule(config, operands(config, 1, 20_000))
    for profile in ("random", "bursty", "skewed"):
        checked += verify.check_schedule(model, few, profile, 1, garbage=True)
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 5 * count


def test_operands_are_worth_it():
    """Roundings up and down, ties, cancellations and results beyond the range are all frequent."""
    drawn = operands(CONFIGS[0], 0, 100_000)
    a, b = (drawn[name].view(np.float32).astype(np.float64) for name in ("a", "b"))
    total, product = floating.add(a, b), floating.multiply(a, b)
    error = total - (a + b)
    normal = (np.abs(total) < 1e38) & (total != 0)
    half_ulp = np.spacing(np.abs(total[normal])) / 2
    facts = {
        "sum rounded up": error > 0,
        "sum rounded down": error < 0,
        "tie": np.abs(error[normal]) == half_ulp,
        "cancelled": (total == 0) & (a != 0),
        "sum of subnormal size": (total == 0) & (a != -b),
        "infinite sum": np.isinf(total),
        "infinite product": np.isinf(product),
        "product of subnormal size": (product == 0) & (a * b != 0),
        "near the smallest product": np.abs(product) == floating.SMALLEST,
        "negative zero": np.signbit(total) & (total == 0),
    }
    wide = drawn["wide"].view(np.float32).astype(np.float64)
    half = narrowed(drawn["wide"].view(np.float32)).astype(np.float64)
    inside = np.isfinite(half) & (half != 0)
    off = half[inside] - wide[inside]
    ulp = np.exp2(np.maximum(np.frexp(half[inside])[1], -13) - 11.0)
    facts |= {
        "half rounded up": off > 0,
        "half rounded down": off < 0,
        "half tie": np.abs(off) == ulp / 2,
        "subnormal half": np.abs(half[inside]) < 2.0**-14,
        "half overflows": np.isinf(half) & np.isfinite(wide),
        "half vanishes": (half == 0) & (wide != 0),
        "smallest half": np.abs(half) == 2.0**-24,
        "largest half": (np.abs(half) == 65504) & (np.abs(wide) > 65504),
    }
    rare = {name: int(hit.sum()) for name, hit in facts.items() if hit.sum() < 10}
    assert not rare


@pytest.mark.first(1, deep=len(CONFIGS))
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.stages}-{c.bits}")
def test_lint(config):
    assert not verify.check_lint(PROBE, config)
