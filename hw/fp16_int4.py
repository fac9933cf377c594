"""FP16 activations times INT4 weights: aligners in front of the mantissa array."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ..golden.anda.format import EXPONENT_BITS, MANTISSA_MAX, SIGNIFICAND_BITS
from ..golden.contract.config import Config
from ..golden.fp16 import OPERAND_BITS
from ..golden.fp16_int4 import ARRAY, Fp16Int4Config
from .figna import FignaArray
from .lib.base import Part, Unit, connect, forward_events
from .lib.emission import place
from .lib.memories import address_bits
from .lib.networks import largest_of, to_planes

FRACTION_BITS = SIGNIFICAND_BITS - 1


class AlignerConfig(Config):
    """Parameters of an aligner."""

    mantissa: int = Parameter(ge=1, le=MANTISSA_MAX)
    """Bits of a mantissa (M)."""
    lanes: int = Parameter(ge=1)
    """Elements a beat (L)."""
    beats: int = Parameter(ge=1)
    """Beats a group (N)."""


def _control_layout(beats: int) -> data.StructLayout:
    """What an aligner has to do.

    ``take``: store a beat of activations in word ``write``, the group's ``first``, or also its
    final one (``load``); mantissas are those of word ``read``.
    """
    bits = address_bits(beats)
    return data.StructLayout({"take": 1, "write": bits, "first": 1, "load": 1, "read": bits})


class Aligner(Part[AlignerConfig]):
    """A group of a row's FP16 activations to one exponent and signed mantissas.

    There is a word of registers for every beat of a group. A word whose mantissas leave can take
    the next group's beat in the same cycle. ``exponent`` is that of the group that was complete
    with the latest ``load``.
    """

    def __init__(self, config: AlignerConfig):
        super().__init__(
            config,
            {
                "x": In(config.lanes * OPERAND_BITS),
                "control": In(_control_layout(config.beats)),
                "exponent": Out(EXPONENT_BITS),
                "mantissas": Out(config.lanes * (config.mantissa + 1)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        exponent = self._exponent(m)
        elements = self._stored(m)
        m.d.comb += [
            self.exponent.eq(exponent),
            self.mantissas.eq(
                Cat(
                    self._mantissa(m, i, elements.word_select(i, OPERAND_BITS), exponent)
                    for i in range(self.config.lanes)
                )
            ),
        ]
        return m

    def _exponent(self, m: Module) -> Value:
        """Largest exponent of the group, found beat by beat: of zero and subnormal numbers, 1."""
        control, lanes = self.control, self.config.lanes
        words = [self.x.word_select(i, OPERAND_BITS) for i in range(lanes)]
        of_beat = Signal(EXPONENT_BITS, name="beat_largest")
        fields = to_planes([word[FRACTION_BITS:-1] for word in words])
        m.d.comb += of_beat.eq(Cat(largest_of(m, fields)))
        largest: Value = of_beat
        if self.config.beats > 1:
            before = Signal(EXPONENT_BITS, name="largest_before", reset_less=True)
            largest = Signal(EXPONENT_BITS, name="largest")
            m.d.comb += largest.eq(Mux(control.first | (before < of_beat), of_beat, before))
            with m.If(control.take & ~control.load):
                m.d.sync += before.eq(largest)
        exponent = Signal(EXPONENT_BITS, name="group_exponent", reset_less=True)
        with m.If(control.load):
            m.d.sync += exponent.eq(Cat(largest[0] | ~largest.any(), largest[1:]))
        return exponent

    def _stored(self, m: Module) -> Signal:
        """Store beats; that whose mantissas are asked for."""
        control = self.control
        words = []
        for number in range(self.config.beats):
            word = Signal(len(self.x), name=f"word_{number}", reset_less=True)
            stores = Signal(name=f"stores_{number}")
            m.d.comb += stores.eq(control.take & (control.write == number))
            with m.If(stores):
                m.d.sync += word.eq(self.x)
            words.append(word)
        chosen = Signal(len(self.x), name="elements")
        m.d.comb += chosen.eq(words[0])
        if len(words) > 1:
            with m.Switch(control.read):
                for number, word in enumerate(words):
                    with m.Case(number) if number < len(words) - 1 else m.Default():
                        m.d.comb += chosen.eq(word)
        return chosen

    def _mantissa(self, m: Module, number: int, element: Value, largest: Value) -> Value:
        """An element's M-bit mantissa, truncated, with its sign."""
        bits = self.config.mantissa
        field, sign = element[FRACTION_BITS:-1], element[-1]
        normal = Signal(name=f"normal_{number}")
        shift = Signal(EXPONENT_BITS, name=f"shift_{number}")
        magnitude = Signal(bits, name=f"magnitude_{number}")
        mantissa = Signal(signed(bits + 1), name=f"mantissa_{number}")
        below = Const(0, max(bits - SIGNIFICAND_BITS, 0))
        significand = Cat(below, element[:FRACTION_BITS], normal)
        m.d.comb += [
            normal.eq(field.any()),
            shift.eq(largest - Cat(field[0] | ~normal, field[1:])),
            magnitude.eq(significand[-bits:] >> shift),
            mantissa.eq(Mux(sign, -magnitude, magnitude)),
        ]
        return mantissa


class Fp16Int4Array(Unit[Fp16Int4Config]):
    """R x C array: ``y = x @ w.T`` for R tokens of FP16 activations and C outputs of INT4 weights.

    ``x`` brings L consecutive elements of R tokens a beat, ``G / L`` beats a group; in a group's
    final beat ``fresh`` says whether it takes the next scales, ``last`` whether it ends the tile.
    Each row's aligner finds the group's largest exponent while it stores the elements. Then it
    gives them to the row's processors, shifted right by what their exponents lack and truncated to
    M bits. Behind the aligners is :class:`nibbleforge.hw.figna.FignaArray`, and ``w``, ``scale``
    and ``y`` are its own.

    * Equation: that of the mantissa array with ``E`` the group's largest exponent (1 at least) and
      ``x_i = trunc(|x| * 2^(15 - E + M - 1))`` with the sign of x.
    * Throughput: that of the mantissa array; there is no idle cycle between groups.
    * Latency: the group whose final beat is taken in cycle t has its first mantissas in cycle
      t + 1: ``G / L`` cycles for the first.
    * Schedule: that of the mantissa array, ``G / L`` cycles later; ``x`` has its first ``G / L``
      beats from cycle 0 on, beat ``n + G / L`` is taken with the mantissas of beat n; the first
      beat of ``w`` in cycle 0.

    Stalls as the mantissa array does. A group that is complete needs no further activations.

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.fp16_int4.Fp16Int4Config`.
    """

    def __init__(self, config: Fp16Int4Config):
        super().__init__(config, ARRAY)
        self.array = FignaArray(config.array)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        array = self.array
        place(m, platform, "array", array)
        control = self._sequence(m)
        self._align(m, platform, control)
        connect(m, self.w, array.w)
        connect(m, self.scale, array.scale)
        connect(m, array.y, self.y)
        forward_events(m, self, array)
        m.d.comb += self.events.fp16_beats.eq(control.take)
        return m

    def _sequence(self, m: Module) -> data.View:
        """Words that are written and read; the handshakes of activations and mantissas."""
        x, array, final = self.x, self.array, self.config.beats - 1
        control = Signal(_control_layout(self.config.beats))
        write, read = control.write, control.read
        aligned = Signal()  # there is a group
        sent = Signal(name="mantissas_sent")
        free = Signal(name="word_free")
        fresh = Signal(name="group_fresh", reset_less=True)
        last = Signal(name="group_last", reset_less=True)
        m.d.comb += [
            free.eq(~aligned | (write < read) | (sent & (write == read))),
            x.ready.eq(free),
            control.take.eq(x.valid & free),
            control.first.eq(write == 0),
            control.load.eq(control.take & (write == final)),
            array.x.valid.eq(aligned),
            array.x.payload.last.eq(read == final),
            sent.eq(aligned & array.x.ready),
            array.exponent.valid.eq(aligned & (read == 0)),
            array.exponent.payload.fresh.eq(fresh),
            array.exponent.payload.last.eq(last),
        ]
        if final:
            self._count(m, write, control.take, "write_word")
            self._count(m, read, sent, "read_word")
        with m.If(control.load):
            m.d.sync += [aligned.eq(1), fresh.eq(x.payload.fresh), last.eq(x.payload.last)]
        with m.Elif(sent & (read == final)):
            m.d.sync += aligned.eq(0)
        return control

    def _count(self, m: Module, word: Value, step: Value, name: str) -> None:
        """Words of a group, one after the other."""
        count = Signal(len(word), name=name)
        final = self.config.beats - 1
        m.d.comb += word.eq(count)
        with m.If(step):
            m.d.sync += count.eq(Mux(count == final, 0, count + 1))

    def _align(self, m: Module, platform: object, control: data.View) -> None:
        """An aligner for every row."""
        config, array = self.config, self.array
        values, lanes = self.x.payload.value.as_value(), config.lanes
        mantissas = array.x.payload.value.as_value()
        kind = AlignerConfig(mantissa=config.mantissa, lanes=lanes, beats=config.beats)
        for r in range(config.rows):
            aligner = Aligner(kind)
            words = values.word_select(r, lanes * OPERAND_BITS)
            place(m, platform, f"aligner_{r}", aligner, x=words, control=control)
            m.d.comb += [
                array.exponent.payload.value[r].eq(aligner.exponent),
                mantissas.word_select(r, lanes * config.operand_bits).eq(aligner.mantissas),
            ]
