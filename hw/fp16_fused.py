"""FP16 array with fused dot products: the strong baseline ``fp16_fused``."""

from collections import defaultdict
from collections.abc import Mapping
from functools import reduce
from operator import and_, or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..golden.arithmetic.floating import IntToFloatConfig
from ..golden.fp16 import OPERAND_BITS, RESULT_BITS
from ..golden.fp16_fused import (
    ARRAY,
    EXPONENT_BITS,
    PRODUCT_BITS,
    SCALE,
    SIGNIFICAND_BITS,
    Fp16FusedConfig,
)
from .lib.adders import carry_save_rows
from .lib.base import Part, Unit
from .lib.delays import delayed, delays
from .lib.emission import place
from .lib.floating import HALF_LAYOUT, IntToFloat
from .lib.networks import largest_of, to_planes
from .lib.streams import RowDrain, RowDrainConfig, registered

SUM_BITS = EXPONENT_BITS + 1  # of a sum of two exponents
DIGITS = (3, 3, 3, 2)  # bits of each digit of a weight
MULTIPLES = {"triple": 3, "fivefold": 5, "sevenfold": 7}
DISTANCES = 5  # bits of a distance by which a product moves and is not gone
FRACTION_BITS = 23  # of an FP32 number


class FusedExponents(Part[Fp16FusedConfig]):
    """Exponents of the products of L lanes, and the largest of them and of those before."""

    def __init__(self, config: Fp16FusedConfig):
        operands = In(config.lanes * EXPONENT_BITS)
        sums = Out(config.lanes * SUM_BITS)
        super().__init__(
            config,
            {
                "x": operands,
                "w": operands,
                "first": In(1),
                "previous": In(SUM_BITS),
                "exponents": sums,
                "peak": Out(SUM_BITS),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        values = []
        for lane in range(self.config.lanes):
            exponent = Signal(SUM_BITS, name=f"exponent_{lane}")
            x, w = (port.word_select(lane, EXPONENT_BITS) for port in (self.x, self.w))
            m.d.comb += exponent.eq(x + w)
            values.append(exponent)
        before = Signal(SUM_BITS, name="kept")
        m.d.comb += [
            self.exponents.eq(Cat(values)),
            before.eq(Mux(self.first, 0, self.previous)),
            self.peak.eq(Cat(largest_of(m, to_planes([*values, before])))),
        ]
        return m


class FusedProducts(Part[Fp16FusedConfig]):
    """Products of the significands of L lanes: what digits of the weights choose, added up.

    A digit is 0 to 7 and chooses so many activations; three, five and seven times one are formed
    once a row.
    """

    def __init__(self, config: Fp16FusedConfig):
        super().__init__(
            config,
            {
                "x": In(_x_layout(config)),
                "w": In(_w_layout(config)),
                "products": Out(config.lanes * PRODUCT_BITS),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        by_operators = self.config.multiplier == "operators"
        products = self._multiplied(m) if by_operators else self._added(m)
        m.d.comb += self.products.eq(Cat(products))
        return m

    def _multiplied(self, m: Module) -> list[Value]:
        """Products left to synthesis."""
        products = []
        for lane in range(self.config.lanes):
            product = Signal(PRODUCT_BITS, name=f"product_{lane}")
            x, w = (
                operand.significand.word_select(lane, SIGNIFICAND_BITS)
                for operand in (self.x, self.w)
            )
            m.d.comb += product.eq(x * w)
            products.append(product)
        return products

    def _added(self, m: Module) -> list[Value]:
        """Products by full adders, those of all lanes side by side."""
        lanes = self.config.lanes
        odd = {1: _slices(m, self.x.significand, SIGNIFICAND_BITS, lanes, "x")}
        for name, times in MULTIPLES.items():
            odd[times] = _slices(m, self.x[name], _bits_of(times), lanes, name)
        bits: dict[int, list[Value]] = defaultdict(list)
        weight = 0
        for digit, size in enumerate(DIGITS):
            terms: dict[int, list[Value]] = defaultdict(list)
            for times in range(1, 1 << size):
                twos = (times & -times).bit_length() - 1
                for i, vector in enumerate(odd[times >> twos], twos):
                    terms[i].append(vector & self.w[_choice(digit, times)])
            for i, chosen in terms.items():
                term = Signal(lanes, name=f"term_{digit}_{i}")
                m.d.comb += term.eq(reduce(or_, chosen))
                bits[weight + i].append(term)
            weight += size
        rows = carry_save_rows(m, bits, PRODUCT_BITS, lanes)
        return [(first + second)[:PRODUCT_BITS] for first, second in rows]


class FusedSum(Part[Fp16FusedConfig]):
    """Sum of the products of L lanes, moved down to one exponent: two numbers to be added.

    Bits of all lanes stand side by side. Place 0 is half a unit, which counts as a whole one: so
    magnitudes are rounded, halves up. All bits of a negative product are inverted, those of place 0
    included, which is its negation. Its sign, inverted, counts ``2^top``: the numbers have no sign,
    and their sum is too large by ``lanes * 2^top``.
    """

    def __init__(self, config: Fp16FusedConfig):
        size = _dot_bits(config)
        super().__init__(
            config,
            {
                "products": In(config.lanes * PRODUCT_BITS),
                "exponents": In(config.lanes * SUM_BITS),
                "peak": In(SUM_BITS),
                "negative": In(config.lanes),
                "first": Out(size),
                "second": Out(size),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, guard = self.config.lanes, self.config.guard
        distances = []
        for lane in range(lanes):
            distance = Signal(SUM_BITS, name=f"distance_{lane}")
            m.d.comb += distance.eq(self.peak - self.exponents.word_select(lane, SUM_BITS))
            distances.append(distance)
        moves = _slices(m, Cat(distances), SUM_BITS, lanes, "distance_bit")
        slices = _slices(m, self.products, PRODUCT_BITS, lanes, "product_bit")
        near = Signal(lanes)
        m.d.comb += near.eq(~moves[DISTANCES])
        places = dict(enumerate(slices, guard + 1))
        places = _moved(m, places, moves[:DISTANCES], near, lanes)
        top = guard + PRODUCT_BITS
        bits: dict[int, list[Value]] = defaultdict(list)
        for place_, vector in places.items():
            signed_ = Signal(lanes, name=f"addend_{place_}")
            m.d.comb += signed_.eq(vector ^ self.negative)
            bits[max(0, place_ - 1)].append(signed_)
        bits[top].append(~self.negative)
        ((first, second),) = carry_save_rows(m, bits, _dot_bits(self.config))
        m.d.comb += [self.first.eq(first), self.second.eq(second)]
        return m


class FusedAccumulator(Part[Fp16FusedConfig]):
    """The next sum: that before, moved down, and two numbers that are the dot product."""

    def __init__(self, config: Fp16FusedConfig):
        size, bits = _dot_bits(config), config.accumulator_bits
        super().__init__(
            config,
            {
                "first": In(size),
                "second": In(size),
                "distance": In(SUM_BITS),
                "keep": In(1),
                "previous": In(bits),
                "after": Out(bits),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = self.config.accumulator_bits
        places: dict[int, Value] = {i + 1: self.previous[i] for i in range(size)}
        sign = self.previous[-1]
        moves: list[Value] = [self.distance[i] for i in range(SUM_BITS)]
        places = _moved(m, places, moves, self.keep, 1, sign)
        bits: dict[int, list[Value]] = defaultdict(list)
        for place_, bit in places.items():
            bits[max(0, place_ - 1)].append(bit)
        for i, pair in enumerate(zip(self.first, self.second, strict=True)):
            bits[i].extend(pair)
        top = self.config.guard + PRODUCT_BITS + (self.config.lanes - 1).bit_length()
        for i in range(top, size):  # takes away what the dot product is too large by
            bits[i].append(Const(1, 1))
        ((first, second),) = carry_save_rows(m, bits, size)
        m.d.comb += self.after.eq(first + second)
        return m


class Fp16FusedPE(Part[Fp16FusedConfig]):
    """L multipliers, their sum, an accumulator with an exponent, and a result register.

    Work goes through three stages, which hold without their bit of ``stages``: exponents of the
    products and the largest so far; products, aligned to it, and their sum; the accumulator.
    ``begins`` tells the first stage, ``first`` the last one, that a tile begins. With ``load`` the
    result is the sum of this cycle; with ``pull`` it is that of the row below.
    """

    def __init__(self, config: Fp16FusedConfig):
        exponents = In(config.lanes * EXPONENT_BITS)
        super().__init__(
            config,
            {
                "x": In(_x_layout(config)),
                "w": In(_w_layout(config)),
                "x_exponents": exponents,
                "w_exponents": exponents,
                "control": In(_control_layout),
                "below": In(_result_layout(config)),
                "result": Out(_result_layout(config)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, control = self.config, self.control
        peak = Signal(SUM_BITS, reset_less=True)
        exponents = Signal(config.lanes * SUM_BITS, reset_less=True)
        largest = FusedExponents(config)
        place(
            m,
            platform,
            "largest_exponent",
            largest,
            x=self.x_exponents,
            w=self.w_exponents,
            first=control.begins,
            previous=peak,
        )
        with m.If(control.stages[0]):
            m.d.sync += [peak.eq(largest.peak), exponents.eq(largest.exponents)]

        products = FusedProducts(config)
        place(m, platform, "multiply", products, x=self.x, w=self.w)
        negative = Signal(config.lanes)
        m.d.comb += negative.eq(self.x.sign ^ self.w.sign)
        aligned = FusedSum(config)
        place(
            m,
            platform,
            "align",
            aligned,
            products=products.products,
            exponents=exponents,
            peak=peak,
            negative=negative,
        )
        exponent = Signal(SUM_BITS, reset_less=True)
        distance = Signal(SUM_BITS, reset_less=True)
        first = Signal(_dot_bits(config), reset_less=True)
        second = Signal(_dot_bits(config), reset_less=True)
        with m.If(control.stages[1]):
            m.d.sync += [
                exponent.eq(peak),
                distance.eq(peak - exponent),
                first.eq(aligned.first),
                second.eq(aligned.second),
            ]

        total = Signal(config.accumulator_bits, reset_less=True)
        keep = Signal()
        m.d.comb += keep.eq(~control.first)
        accumulator = FusedAccumulator(config)
        place(
            m,
            platform,
            "accumulator",
            accumulator,
            first=first,
            second=second,
            distance=distance,
            keep=keep,
            previous=total,
        )
        with m.If(control.stages[2] & ~control.load):
            m.d.sync += total.eq(accumulator.after)
        kept = Signal(_result_layout(config), reset_less=True)
        with m.If(control.load):
            m.d.sync += [kept.total.eq(accumulator.after), kept.exponent.eq(exponent)]
        with m.Elif(control.pull):
            m.d.sync += kept.eq(self.below)
        m.d.comb += self.result.eq(kept)
        return m


class FusedActivations(Part[Fp16FusedConfig]):
    """A token's activations in parts: exponents at once, the others from registers."""

    def __init__(self, config: Fp16FusedConfig):
        super().__init__(
            config,
            {
                "value": In(config.lanes * OPERAND_BITS),
                "enable": In(1),
                "exponents": Out(config.lanes * EXPONENT_BITS),
                "x": Out(_x_layout(config)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        halves = _Halves(m, self.value, self.config.lanes)
        m.d.comb += self.exponents.eq(halves.exponents)
        taken = Signal(_x_layout(self.config), name="taken", reset_less=True)
        with m.If(self.enable):
            m.d.sync += [
                taken.significand.eq(Cat(halves.significands)),
                taken.sign.eq(halves.signs),
            ]
            if self.config.multiplier == "carry_save":
                for name, times in MULTIPLES.items():
                    multiples = [
                        (value * times)[: _bits_of(times)] for value in halves.significands
                    ]
                    m.d.sync += taken[name].eq(Cat(multiples))
        m.d.comb += self.x.eq(taken)
        return m


class FusedWeights(Part[Fp16FusedConfig]):
    """A column's weights in parts: exponents at once, the others from registers, decoded."""

    def __init__(self, config: Fp16FusedConfig):
        super().__init__(
            config,
            {
                "value": In(config.lanes * OPERAND_BITS),
                "enable": In(1),
                "exponents": Out(config.lanes * EXPONENT_BITS),
                "w": Out(_w_layout(config)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.config.lanes
        halves = _Halves(m, self.value, lanes)
        m.d.comb += self.exponents.eq(halves.exponents)
        significands = Signal(lanes * SIGNIFICAND_BITS, reset_less=True)
        signs = Signal(lanes, reset_less=True)
        with m.If(self.enable):
            m.d.sync += [significands.eq(Cat(halves.significands)), signs.eq(halves.signs)]
        m.d.comb += self.w.sign.eq(signs)
        if self.config.multiplier == "operators":
            m.d.comb += self.w.significand.eq(significands)
            return m
        slices = _slices(m, significands, SIGNIFICAND_BITS, lanes, "weight_bit")
        for digit, size in enumerate(DIGITS):
            bits = slices[:size]
            del slices[:size]
            for times in range(1, 1 << size):
                wanted = [bit if times >> i & 1 else ~bit for i, bit in enumerate(bits)]
                m.d.comb += self.w[_choice(digit, times)].eq(reduce(and_, wanted))
        return m


class FusedRow(Part[Fp16FusedConfig]):
    """C processing elements that share a token's activations."""

    def __init__(self, config: Fp16FusedConfig):
        columns = config.columns
        results = data.ArrayLayout(_result_layout(config), columns)
        super().__init__(
            config,
            {
                "value": In(config.lanes * OPERAND_BITS),
                "w": In(data.ArrayLayout(_w_layout(config), columns)),
                "w_exponents": In(columns * config.lanes * EXPONENT_BITS),
                "control": In(_control_layout),
                "below": In(results),
                "result": Out(results),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, control = self.config, self.control
        x = FusedActivations(config)
        place(m, platform, "activations", x, value=self.value, enable=control.stages[0])
        for column in range(config.columns):
            pe = Fp16FusedPE(config)
            bits = config.lanes * EXPONENT_BITS
            place(
                m,
                platform,
                f"pe_{column}",
                pe,
                x=x.x,
                w=self.w[column],
                x_exponents=x.exponents,
                w_exponents=self.w_exponents.word_select(column, bits),
                control=control,
                below=self.below[column],
            )
            m.d.comb += self.result[column].eq(pe.result)
        return m


class FusedResult(Part[Fp16FusedConfig]):
    """A sum and its exponent to FP32; a stage holds without its bit of ``enable``."""

    def __init__(self, config: Fp16FusedConfig):
        super().__init__(
            config,
            {
                "enable": In(config.convert_latency),
                "value": In(_result_layout(config)),
                "result": Out(RESULT_BITS),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, stages = self.config, self.config.convert_latency
        convert = IntToFloat(IntToFloatConfig(bits=config.accumulator_bits, stages=stages))
        total = self.value.total.as_signed()
        place(m, platform, "convert", convert, enable=self.enable, value=total)
        exponent = delayed(m, self.value.exponent, stages, "exponent", self.enable, reset_less=True)
        fraction, field = convert.result[:FRACTION_BITS], convert.result[FRACTION_BITS:-1]
        scaled = Signal(len(field))
        m.d.comb += [
            scaled.eq(Mux(field == 0, 0, field + exponent - (SCALE + config.guard))),
            self.result.eq(Cat(fraction, scaled, convert.result[-1])),
        ]
        return m


class Fp16FusedArray(Unit[Fp16FusedConfig]):
    """R x C output-stationary array: ``y = x @ w.T`` for a tile of R tokens and C outputs.

    ``x`` brings L consecutive input features of R activations a beat, ``last`` on the tile's final
    one; ``w`` brings those of the C weights; ``y`` gives R rows of C results, row 0 first. At a
    tile's end sums and exponents go to result registers, which move up row by row to one rounding
    to FP32 a column. Values: see :mod:`nibbleforge.golden.fp16_fused`.

    * Throughput: a beat a cycle. Tiles follow each other without a bubble as long as their
      ``T = ceil(K / L)`` steps are at least R, since sums drain while the next tile accumulates.
    * Latency: a beat taken in cycle t goes through exponents in t + 1, products in t + 2 and the
      accumulator in t + 3. The final beat's sums go to the result registers in that cycle, c; row i
      leaves in ``c + 1 + convert_latency + i``.
    * Schedule: without waits step n is cycle n. Tile i has steps ``i*T + 1`` to ``(i+1)*T``, its
      beat f step ``i*T + 1 + f``, taken in the cycle of the beat before (the run's first one in
      cycle 0). Tile i's ``c[i]`` is step ``(i+1)*T + 2``; before that step all steps wait until
      ``c[i] = c[i-1] + max(T, R)``.

    Stalls while a finished tile waits for the one before to drain: then only rows move.

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.fp16_fused.Fp16FusedConfig`.
    """

    def __init__(self, config: Fp16FusedConfig):
        super().__init__(config, ARRAY)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        x = registered(m, platform, "x", self.x)
        w = registered(m, platform, "w", self.w)
        drain = RowDrain(RowDrainConfig(rows=config.rows))
        place(m, platform, "drain", drain)
        control = Signal(_control_layout)
        flow = Signal()
        self._sequence(m, x, w, control, drain)

        size = config.lanes * OPERAND_BITS
        weights = Signal(data.ArrayLayout(_w_layout(config), config.columns))
        exponents = []
        for c in range(config.columns):
            column = FusedWeights(config)
            value = w.payload.as_value().word_select(c, size)
            place(m, platform, f"weights_{c}", column, value=value, enable=control.stages[0])
            m.d.comb += weights[c].eq(column.w)
            exponents.append(column.exponents)
        w_exponents = Signal(config.columns * config.lanes * EXPONENT_BITS)
        m.d.comb += w_exponents.eq(Cat(exponents))

        parts = [(name, control[name]) for name, _ in _control_layout]
        below: Value = Const(0, config.columns * _result_layout(config).size)
        for r in reversed(range(config.rows)):
            own = [drain.moves[r] if name == "pull" else part for name, part in parts]
            row = FusedRow(config)
            place(
                m,
                platform,
                f"row_{r}",
                row,
                value=x.payload.value.as_value().word_select(r, size),
                w=weights,
                w_exponents=w_exponents,
                control=Cat(own),
                below=below,
            )
            below = row.result
        self._leave(m, platform, drain, flow, row.result)
        return m

    def _sequence(
        self,
        m: Module,
        x: stream.Interface,
        w: stream.Interface,
        control: data.View,
        drain: RowDrain,
    ) -> None:
        """Steps of tiles, and what goes with them through the stages."""
        config = self.config
        valid = Signal(name="operands_valid")
        begins = Signal(init=1)
        step = Signal()
        ends = Signal()
        go = Signal()
        steps = delays(m, step, config.lead, "step", go)
        finals = delays(m, ends, config.lead, "ends", go)
        firsts = delays(m, begins, config.lead, "first", go)
        m.d.comb += [
            valid.eq(x.valid & w.valid),
            go.eq(~(finals[-1] & drain.busy)),
            step.eq(go & valid),
            ends.eq(step & x.payload.last),
            x.ready.eq(step),
            w.ready.eq(step),
            control.stages.eq(Mux(go, Cat(steps), 0)),
            control.begins.eq(begins),
            control.first.eq(firsts[-1]),
            control.load.eq(finals[-1] & go),
            drain.load.eq(control.load),
        ]
        with m.If(step):
            m.d.sync += begins.eq(x.payload.last)
        m.d.comb += [
            self.events.macs.eq(Mux(step, config.macs_per_step, 0)),
            self.events.x_beats.eq(self.x.valid & self.x.ready),
            self.events.w_beats.eq(self.w.valid & self.w.ready),
            self.events.y_beats.eq(self.y.valid & self.y.ready),
            self.events.tiles.eq(ends),
            self.events.stall_operands.eq(go & ~begins & ~valid),
            self.events.stall_drain.eq(~go),
        ]

    def _leave(
        self, m: Module, platform: object, drain: RowDrain, flow: Signal, rows: data.View
    ) -> None:
        """Rows of results through the roundings to FP32."""
        config = self.config
        stages = config.convert_latency
        row = Signal(_leaving_layout, name="leaving")
        leaving = delays(m, row, stages, "leaving", flow)
        takes = Signal(stages, name="roundings_take")
        m.d.comb += [
            row.valid.eq(drain.valid),
            row.last.eq(drain.last),
            drain.pull.eq(flow & drain.valid),
            takes.eq(Cat(stage.valid & flow for stage in leaving[:-1])),
            flow.eq(~self.y.valid | self.y.ready),
            self.y.valid.eq(leaving[-1].valid),
            self.y.payload.last.eq(leaving[-1].last),
        ]
        for c in range(config.columns):
            result = FusedResult(config)
            place(m, platform, f"result_{c}", result, enable=takes, value=rows[c])
            m.d.comb += self.y.payload.value[c].eq(result.result)


_control_layout = data.StructLayout({"stages": 3, "begins": 1, "first": 1, "load": 1, "pull": 1})
_leaving_layout = data.StructLayout({"valid": 1, "last": 1})


def _result_layout(config: Fp16FusedConfig) -> data.StructLayout:
    """What an element has at a tile's end."""
    return data.StructLayout({"total": config.accumulator_bits, "exponent": SUM_BITS})


def _x_layout(config: Fp16FusedConfig) -> data.StructLayout:
    """Activations of L lanes, without their exponents."""
    lanes = config.lanes
    multiples: dict[str, int] = {}
    if config.multiplier == "carry_save":
        multiples = {name: lanes * _bits_of(times) for name, times in MULTIPLES.items()}
    return data.StructLayout({"significand": lanes * SIGNIFICAND_BITS, **multiples, "sign": lanes})


def _w_layout(config: Fp16FusedConfig) -> data.StructLayout:
    """Weights of L lanes, without their exponents: what their digits choose, or themselves."""
    lanes = config.lanes
    if config.multiplier == "operators":
        return data.StructLayout({"significand": lanes * SIGNIFICAND_BITS, "sign": lanes})
    names = [_choice(digit, n) for digit, size in enumerate(DIGITS) for n in range(1, 1 << size)]
    return data.StructLayout({**dict.fromkeys(names, lanes), "sign": lanes})


def _choice(digit: int, times: int) -> str:
    """Name of the lanes whose digit is a certain number."""
    return f"digit_{digit}_is_{times}"


def _bits_of(times: int) -> int:
    """Bits of a multiple of a significand."""
    return (times * ((1 << SIGNIFICAND_BITS) - 1)).bit_length()


def _dot_bits(config: Fp16FusedConfig) -> int:
    """Bits of a dot product, as far as the accumulator has them."""
    bits = config.guard + PRODUCT_BITS + 1 + (config.lanes - 1).bit_length()
    return min(bits, config.accumulator_bits)


class _Halves:
    """FP16 numbers of L lanes in their parts."""

    def __init__(self, m: Module, value: Value, lanes: int):
        self.significands: list[Value] = []
        exponents, signs = [], []
        for lane in range(lanes):
            half = Signal(HALF_LAYOUT, name=f"half_{lane}")
            normal = Signal(name=f"normal_{lane}")
            exponent = Signal(EXPONENT_BITS, name=f"exponent_{lane}")
            m.d.comb += [
                half.eq(value.word_select(lane, OPERAND_BITS)),
                normal.eq(half.exponent != 0),
                exponent.eq(Cat(half.exponent[0] | ~normal, half.exponent[1:])),
            ]
            self.significands.append(Cat(half.fraction, normal))
            exponents.append(exponent)
            signs.append(half.sign)
        self.exponents = Cat(exponents)
        self.signs = Cat(signs)


def _slices(m: Module, words: Value, bits: int, lanes: int, name: str) -> list[Value]:
    """Bit i of the words of all lanes, for each i."""
    slices: list[Value] = []
    for i in range(bits):
        vector = Signal(lanes, name=f"{name}_{i}")
        m.d.comb += vector.eq(Cat(words[lane * bits + i] for lane in range(lanes)))
        slices.append(vector)
    return slices


def _moved(
    m: Module,
    places: Mapping[int, Value],
    moves: list[Value],
    keep: Value,
    lanes: int,
    sign: Value | None = None,
) -> dict[int, Value]:
    """Numbers of all lanes moved down, those without ``keep`` gone.

    Parameters
    ----------
    places
        Bits of all lanes by their place; what leaves place 0 is lost.
    moves
        Bit s of each lane's distance; two bits at a time choose one of four. Small distances come
        first: numbers are short then.
    sign
        What comes in at the top; by default 0.
    """
    top = max(places)
    current = dict(places)
    for stage in range(0, len(moves), 2):
        bits = moves[stage : stage + 2]
        last = stage + 2 >= len(moves)
        chosen = []
        for number in range(1 << len(bits)):
            choice = Signal(lanes, name=f"moves_{number << stage}_of_{stage}")
            wanted = [bit if number >> i & 1 else ~bit for i, bit in enumerate(bits)]
            m.d.comb += choice.eq(reduce(and_, [*wanted, *([keep] if last else [])]))
            chosen.append((number << stage, choice))
        after: dict[int, Value] = {}
        for i in range(top + 1):
            above = [(current.get(i + distance), choice) for distance, choice in chosen]
            terms = [vector & choice for vector, choice in above if vector is not None]
            beyond = [choice for distance, choice in chosen if i + distance > top]
            if sign is not None and beyond:
                terms.append(sign & reduce(or_, beyond))
            if terms:
                after[i] = Signal(lanes, name=f"moved_{stage}_{i}")
                m.d.comb += after[i].eq(reduce(or_, terms))
        current = after
    return current
