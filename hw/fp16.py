"""FP16 array with FP32 accumulation: the "GPU-like" baseline ``fp16``."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..golden.arithmetic.floating import FloatAddConfig, FloatMultiplyConfig, HalfToFloatConfig
from ..golden.fp16 import ARRAY, OPERAND_BITS, RESULT_BITS, Fp16Config
from .lib.base import Part, Unit
from .lib.delays import delayed, delays
from .lib.emission import place
from .lib.floating import WIDE_BITS, FloatAdd, FloatMultiply, Fp16ToFp32
from .lib.streams import RowDrain, RowDrainConfig, registered


class Fp16PE(Part[Fp16Config]):
    """A multiplier and an adder for each lane, and a result register for each of their sums.

    The ``add_latency`` sums of a lane go round in its adder's registers: with ``add`` each takes
    its turn, and ``x * w`` of ``multiply_latency`` cycles ago is added to it, or with ``clear`` to
    +0. A multiplier's stage holds without its bit of ``multiply``. With ``load[i]`` the sums whose
    turn it is go to result registers i; with ``pull[i]`` these take those of the row below. ``x``
    and ``w`` are upper bits of FP32.
    """

    def __init__(self, config: Fp16Config):
        super().__init__(
            config,
            {
                "x": In(config.lanes * WIDE_BITS),
                "w": In(config.lanes * WIDE_BITS),
                "control": In(_control_layout(config)),
                "below": In(config.sums * RESULT_BITS),
                "result": Out(config.sums * RESULT_BITS),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, control = self.config, self.control
        sums = Signal(config.lanes * RESULT_BITS)
        product = FloatMultiplyConfig(significand=11, first=11, stages=config.multiply_latency)
        for lane in range(config.lanes):
            multiply = FloatMultiply(product)
            add = FloatAdd(FloatAddConfig(bounded=True, stages=config.add_latency))
            place(m, platform, f"multiply_{lane}", multiply)
            place(m, platform, f"add_{lane}", add)
            m.d.comb += [
                multiply.enable.eq(control.multiply),
                multiply.a.eq(self.x.word_select(lane, WIDE_BITS)),
                multiply.b.eq(self.w.word_select(lane, WIDE_BITS)),
                add.enable.eq(control.add.replicate(config.add_latency)),
                add.a.eq(Mux(control.clear, 0, add.result)),
                add.b.eq(multiply.result),
                sums.word_select(lane, RESULT_BITS).eq(add.result),
            ]
        for i in range(config.add_latency):
            kept = Signal(len(sums), name=f"result_{i}", reset_less=True)
            with m.If(control.load[i]):
                m.d.sync += kept.eq(sums)
            with m.Elif(control.pull[i]):
                m.d.sync += kept.eq(self.below.word_select(i, len(sums)))
            m.d.comb += self.result.word_select(i, len(sums)).eq(kept)
        return m


class Fp16Row(Part[Fp16Config]):
    """C processing elements that share a token's activations."""

    def __init__(self, config: Fp16Config):
        bits = config.columns * config.sums * RESULT_BITS
        super().__init__(
            config,
            {
                "x": In(config.lanes * OPERAND_BITS),
                "w": In(config.columns * config.lanes * WIDE_BITS),
                "control": In(_control_layout(config)),
                "below": In(bits),
                "result": Out(bits),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        x = _widened(m, platform, self.x, config.lanes)
        bits = config.sums * RESULT_BITS
        for column in range(config.columns):
            pe = Fp16PE(config)
            place(
                m,
                platform,
                f"pe_{column}",
                pe,
                x=x,
                w=self.w.word_select(column, len(x)),
                control=self.control,
                below=self.below.word_select(column, bits),
            )
            m.d.comb += self.result.word_select(column, bits).eq(pe.result)
        return m


class Fp16Tree(Part[Fp16Config]):
    """Tree of adders that makes one result of all sums of a column.

    Sums i come a cycle later than sums i - 1; ``result`` follows sums 0 by as many cycles as there
    are stages, ``add_latency - 1 + reduce_latency``. A stage holds without its bit of ``enable``.
    """

    def __init__(self, config: Fp16Config):
        super().__init__(
            config,
            {
                "enable": In(_tree_stages(config)),
                "sums": In(config.sums * RESULT_BITS),
                "result": Out(RESULT_BITS),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        turns = []
        size = config.add_latency
        added = size * (config.lanes - 1).bit_length()
        for turn in range(config.add_latency):
            lanes = [
                self.sums.word_select(turn * config.lanes + lane, RESULT_BITS)
                for lane in range(config.lanes)
            ]
            total = self._tree(m, platform, lanes, f"turn_{turn}", self.enable[turn:])
            waits = self.enable[turn + added : size - 1 + added]
            turns.append(delayed(m, total, len(waits), f"total_{turn}", waits, reset_less=True))
        result = self._tree(m, platform, turns, "turns", self.enable[size - 1 + added :])
        m.d.comb += self.result.eq(result)
        return m

    def _tree(
        self, m: Module, platform: object, values: list[Value], name: str, enable: Value
    ) -> Value:
        """Neighbours added until one is left; an odd last one waits for its level."""
        stages = self.config.add_latency
        level = 0
        while len(values) > 1:
            takes = enable.word_select(level, stages)
            totals = []
            for i in range(0, len(values) - 1, 2):
                add = FloatAdd(FloatAddConfig(bounded=True, stages=stages))
                place(m, platform, f"{name}_{level}_{i // 2}", add)
                m.d.comb += [
                    add.enable.eq(takes),
                    add.a.eq(values[i]),
                    add.b.eq(values[i + 1]),
                ]
                totals.append(add.result)
            if len(values) % 2:
                waiting = f"{name}_{level}_last"
                totals.append(delayed(m, values[-1], stages, waiting, takes, reset_less=True))
            values, level = totals, level + 1
        return values[0]


class Fp16Array(Unit[Fp16Config]):
    """R x C output-stationary array: ``y = x @ w.T`` for a tile of R tokens and C outputs.

    ``x`` brings ``lanes`` consecutive input features of R activations a beat, ``last`` on the
    tile's final one; ``w`` brings those of the C weights; ``y`` gives R rows of C results, row 0
    first. At a tile's end the sums go to result registers, which move up row by row into one tree
    of adders a column. Values: see :mod:`nibbleforge.golden.fp16`.

    * Throughput: a beat a cycle. The ``add_latency`` sums of a lane take turns, so a tile lasts
      ``T = ceil(ceil(K / lanes) / add_latency) * add_latency`` steps; tiles follow each other
      without a bubble as long as ``T >= R``, since sums drain while the next tile accumulates.
    * Latency: a beat taken in cycle t is multiplied from t + 1 on; the first sums of a tile's final
      turn go to the result registers ``multiply_latency + 1`` steps after its final one, in cycle
      c; its row i leaves in ``c + add_latency * (1 + ceil(log2(lanes * add_latency))) + i``.
    * Schedule: without waits step n is cycle n. Tile i has steps ``i*T + 1`` to ``(i+1)*T``, its
      beat f step ``i*T + 1 + f``, taken in the cycle of the beat before (the run's first one in
      cycle 0). Tile i's ``c[i]`` is step ``(i+1)*T + multiply_latency + 1``; before that step all
      steps wait until ``c[i] = c[i-1] + max(T, R)``.

    Stalls while a finished tile waits for the one before to drain (with
    ``add_latency > 1`` also while the consumer is not ready and only part of a tile's sums are
    kept): then only rows move. A beat that misses its turn for want of operands waits until the
    turn comes again, ``add_latency`` cycles later.

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.fp16.Fp16Config`.
    """

    def __init__(self, config: Fp16Config):
        super().__init__(config, ARRAY)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        x = registered(m, platform, "x", self.x)
        w = registered(m, platform, "w", self.w)
        drain = RowDrain(RowDrainConfig(rows=config.rows))  # of registers 0
        place(m, platform, "drain", drain)
        step = Signal()
        go = Signal()
        flow = Signal()
        m.d.comb += [x.ready.eq(step), w.ready.eq(step)]
        control = Signal(_control_layout(config))
        turns = _Turns(config, go)
        turns.take(m, x.valid & w.valid, x.payload.last, step)
        self._work(m, control, step, go)
        leaving = self._drain(m, turns, control, drain, go, flow)
        pulls = delays(m, drain.moves, config.add_latency - 1, "moves", flow)
        self._count(m, turns, step, go)

        weights = _widened(m, platform, w.payload.value.as_value(), config.columns * config.lanes)
        bits = config.columns * config.sums * RESULT_BITS
        below: Value = Const(0, bits)
        for r in reversed(range(config.rows)):
            own = Signal(_control_layout(config), name=f"control_{r}")
            m.d.comb += [
                own.multiply.eq(control.multiply),
                own.add.eq(control.add),
                own.clear.eq(control.clear),
                own.load.eq(control.load),
                own.pull.eq(Cat(rows[r] & flow for rows in pulls)),
            ]
            row = Fp16Row(config)
            lanes = x.payload.value.as_value().word_select(r, config.lanes * OPERAND_BITS)
            # while sums go round without a beat: +0, which leaves them as they are
            x_of_row = lanes if config.add_latency == 1 else Mux(step, lanes, 0)
            inputs = {"x": x_of_row, "w": weights, "control": own, "below": below}
            place(m, platform, f"row_{r}", row, **inputs)
            below = row.result
        takes = Signal(_tree_stages(config), name="trees_take")
        m.d.comb += takes.eq(Cat(row.valid & flow for row in leaving[:-1]))
        for c in range(config.columns):
            tree = Fp16Tree(config)
            sums = below.word_select(c, config.sums * RESULT_BITS)
            place(m, platform, f"tree_{c}", tree, enable=takes, sums=sums)
            m.d.comb += self.y.payload.value[c].eq(tree.result)
        return m

    def _work(self, m: Module, control: data.View, step: Signal, go: Signal) -> None:
        """Multiply and add: with every beat, or in every cycle where several sums take turns."""
        stages = self.config.multiply_latency
        beats: list[Value] = [Const(1, 1)] * (stages + 1)
        if self.config.add_latency == 1:
            beats = delays(m, step, stages, "beat", go)
        m.d.comb += [
            control.multiply.eq(Cat(beats[:-1]) & go.replicate(stages)),
            control.add.eq(beats[-1] & go),
        ]

    def _drain(
        self,
        m: Module,
        turns: "_Turns",
        control: data.View,
        drain: RowDrain,
        go: Signal,
        flow: Signal,
    ) -> list[data.View]:
        """Sums to the result registers, rows through the trees, whose stages this returns.

        Registers i are always a row and a cycle behind registers i - 1. So once a tile's first
        sums are in theirs, the next ones go in step with the rows that leave.
        """
        config = self.config
        clear = delays(m, turns.fresh, config.multiply_latency, "clear", go)[-1]
        ends = delays(m, turns.ends, config.multiply_latency + config.add_latency, "ends", go)
        ends = ends[config.multiply_latency + 1 :]
        row = Signal(_leaving_layout, name="leaving")
        leaving = delays(m, row, _tree_stages(config), "leaving", flow)
        m.d.comb += [
            go.eq(~(ends[0] & drain.busy | Cat(ends[1:]).any() & ~flow)),
            control.clear.eq(clear),
            control.load.eq(Cat(ends) & go.replicate(len(ends))),
            row.valid.eq(drain.valid),
            row.last.eq(drain.last),
            drain.load.eq(control.load[0]),
            drain.pull.eq(flow & drain.valid),
            self.y.valid.eq(leaving[-1].valid),
            self.y.payload.last.eq(leaving[-1].last),
            flow.eq(~self.y.valid | self.y.ready),
        ]
        return leaving

    def _count(self, m: Module, turns: "_Turns", step: Signal, go: Signal) -> None:
        m.d.comb += [
            self.events.macs.eq(Mux(step, self.config.macs_per_step, 0)),
            self.events.x_beats.eq(self.x.valid & self.x.ready),
            self.events.w_beats.eq(self.w.valid & self.w.ready),
            self.events.y_beats.eq(self.y.valid & self.y.ready),
            self.events.tiles.eq(go & turns.ends),
            self.events.stall_operands.eq(go & turns.starves),
            self.events.stall_drain.eq(~go),
        ]


class _Turns:
    """Which sums of a tile take their turn, and which beat waits for it.

    ``fresh``: first turn of a tile, sums start from +0; ``ends``: final step of a tile;
    ``starves``: the tile waits for operands.
    """

    def __init__(self, config: Fp16Config, go: Signal):
        self.config = config
        self.go = go
        self.fresh = Signal(init=1)
        self.ends = Signal()
        self.starves = Signal()

    def take(self, m: Module, ready: Value, last: Value, step: Signal) -> None:
        """Decide whether the beat that is ready is worked off."""
        if self.config.add_latency == 1:
            self._take_at_once(m, ready, last, step)
            return
        size = self.config.add_latency
        turn = Signal(range(size))
        due = Signal(range(size))
        filling = Signal()  # all beats are worked off, the turn is not over
        begun = Signal()
        final = Signal(name="final_beat")
        over = Signal()
        m.d.comb += [
            step.eq(self.go & ready & (turn == due)),
            begun.eq((turn != 0) | ~self.fresh),
            over.eq(turn == size - 1),
            final.eq(filling | (step & last)),
            self.ends.eq(final & over),
            self.starves.eq(begun & ~filling & ~ready),
        ]
        with m.If(self.go & (begun | step)):
            m.d.sync += turn.eq(Mux(over, 0, turn + 1))
            m.d.sync += filling.eq(final & ~over)
            with m.If(over):
                m.d.sync += self.fresh.eq(final)
        with m.If(step):
            m.d.sync += due.eq(Mux(last | (due == size - 1), 0, due + 1))

    def _take_at_once(self, m: Module, ready: Value, last: Value, step: Signal) -> None:
        """Each lane has one sum: every beat comes in its turn."""
        m.d.comb += [
            step.eq(self.go & ready),
            self.ends.eq(step & last),
            self.starves.eq(~self.fresh & ~ready),
        ]
        with m.If(step):
            m.d.sync += self.fresh.eq(last)


def _control_layout(config: Fp16Config) -> data.StructLayout:
    """What the processing elements of a row do in a cycle."""
    turns = config.add_latency
    work = {"multiply": config.multiply_latency, "add": 1, "clear": 1}
    return data.StructLayout({**work, "load": turns, "pull": turns})


def _tree_stages(config: Fp16Config) -> int:
    """Cycles from result registers 0 of the first row to the result."""
    return config.add_latency - 1 + config.reduce_latency


_leaving_layout = data.StructLayout({"valid": 1, "last": 1})


def _widened(m: Module, platform: object, halves: Value, count: int) -> Value:
    """FP16 numbers in FP32, the upper bits."""
    wide = Signal(count * WIDE_BITS, name="wide")
    for i in range(count):
        widen = Fp16ToFp32(HalfToFloatConfig(bits=WIDE_BITS))
        place(m, platform, f"widen_{i}", widen, value=halves.word_select(i, OPERAND_BITS))
        m.d.comb += wide.word_select(i, WIDE_BITS).eq(widen.result)
    return wide
