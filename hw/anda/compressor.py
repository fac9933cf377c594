"""Anda's run-time bit-plane compressor.

Everything within a lane is bit-sliced: a vector holds the same bit of every element.
"""

from collections.abc import Sequence
from functools import reduce
from operator import and_, or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ...golden.anda.compressor import COMPRESSOR, VALUE_BITS, CompressorConfig
from ...golden.anda.format import EXPONENT_BITS, MANTISSA_MAX, SIGNIFICAND_BITS
from ...golden.contract.config import Config
from ..lib.base import Part, Unit
from ..lib.emission import place
from ..lib.networks import Planes, largest_of, to_planes

FRACTION_BITS = SIGNIFICAND_BITS - 1


class FieldsConfig(Config):
    """Parameters of the field extraction."""

    beat: int
    """Elements of a beat."""


class CompressorFields(Part[FieldsConfig]):
    """Bit planes of a beat's FP16 patterns, Inf and NaN replaced by 65504, and their maximum.

    ``planes`` holds the patterns bit by bit, ``largest`` is the maximum of the exponent fields,
    ``nonfinite`` the number of patterns that were Inf or NaN.
    """

    def __init__(self, config: FieldsConfig):
        super().__init__(
            config,
            {
                "value": In(config.beat * VALUE_BITS),
                "planes": Out(data.ArrayLayout(config.beat, VALUE_BITS)),
                "largest": Out(EXPONENT_BITS),
                "nonfinite": Out(range(config.beat + 1)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = self.config.beat
        given = to_planes([self.value.word_select(i, VALUE_BITS) for i in range(beat)])
        patterns = [Signal(beat, name=f"value_bit{bit}") for bit in range(VALUE_BITS)]
        m.d.comb += [plane.eq(bits) for plane, bits in zip(patterns, given, strict=True)]
        fraction, exponent = patterns[:FRACTION_BITS], patterns[FRACTION_BITS:-1]
        nonfinite = Signal(beat, name="is_nonfinite")
        m.d.comb += nonfinite.eq(_all(exponent))
        fields = [
            *(plane | nonfinite for plane in fraction),
            exponent[0] & ~nonfinite,
            *exponent[1:],
            patterns[-1],
        ]
        m.d.comb += [self.planes[bit].eq(plane) for bit, plane in enumerate(fields)]
        m.d.comb += self.nonfinite.eq(_total(list(nonfinite)))

        exponents = [self.planes[FRACTION_BITS + bit] for bit in range(EXPONENT_BITS)]
        m.d.comb += self.largest.eq(Cat(largest_of(m, exponents)))
        return m


class LaneConfig(Config):
    """Parameters of a lane."""

    beat: int
    """Elements a beat."""
    blocks: int
    """Beats a group."""
    direct: bool
    """Whether the group's final beat goes straight to the aligner: it is there when a group is
    loaded, and need not be stored."""


def _lane_control(blocks: int) -> data.StructLayout:
    """What a lane has to do.

    ``take``: there is a beat, block number ``block`` of the group; ``load``: start with the planes
    of the group that is there; ``step``: go to the next plane.
    """
    return data.StructLayout({"take": 1, "block": _counter_bits(blocks), "load": 1, "step": 1})


def _counter_bits(count: int) -> int:
    """Bits of a number below ``count``; a bit for 0 alone, too."""
    return max(1, (count - 1).bit_length())


class CompressorLane(Part[LaneConfig]):
    """Load buffer and serial aligner of one token.

    The aligner goes down from the group's exponent, one a plane, to 0. An element whose exponent
    it has reached emits its significand, most significant bit first; the others emit 0. That is
    what counting down the difference of exponents does, without subtracting.
    """

    def __init__(self, config: LaneConfig):
        group = config.beat * config.blocks
        super().__init__(
            config,
            {
                "control": In(_lane_control(config.blocks)),
                "planes": In(data.ArrayLayout(config.beat, VALUE_BITS)),
                "largest": In(EXPONENT_BITS),
                "sign": Out(group),
                "exponent": Out(EXPONENT_BITS),
                "plane": Out(group),
            },
        )

    @property
    def title(self) -> str:
        """With how it takes its group."""
        return "compressor_lane_direct" if self.config.direct else "compressor_lane"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        planes = self._collect(m)
        fraction, field = planes[:FRACTION_BITS], planes[FRACTION_BITS:-1]
        largest = self._maximum(m)
        with m.If(self.control.load):
            m.d.sync += [self.sign.eq(planes[-1]), self.exponent.eq(largest)]

        group = len(self.sign)
        normal = Signal(group)
        m.d.comb += normal.eq(_any(field))
        exponent = _registers("aligned", EXPONENT_BITS, group)
        significand = _registers("significand", SIGNIFICAND_BITS, group)
        reached = Signal(EXPONENT_BITS, reset_less=True)
        emits: Value = Const((1 << group) - 1, group)  # exponent >= reached, in its low bits
        for bit, plane in enumerate(exponent):
            lower, emits = emits, Signal(group, name=f"emits_{bit}")
            m.d.comb += emits.eq(Mux(reached[bit], plane & lower, plane | lower))
        active = Signal(group)
        m.d.comb += [
            active.eq(emits),
            self.plane.eq(significand[-1] & active),
        ]
        with m.If(self.control.step):
            m.d.sync += reached.eq(reached - (reached != 0))
            below: Value = Const(0, group)
            for plane in significand:
                m.d.sync += plane.eq((below & active) | (plane & ~active))
                below = plane
        with m.If(self.control.load):
            m.d.sync += reached.eq(largest)
            loaded = [field[0] | ~normal, *field[1:], *fraction, normal]
            m.d.sync += [a.eq(b) for a, b in zip(exponent + significand, loaded, strict=True)]
        return m

    def _collect(self, m: Module) -> Planes:
        """Store beats; the bit planes of the whole group in the cycle of ``load``."""
        control = self.control
        blocks = [[self.planes[bit] for bit in range(VALUE_BITS)]] if self.config.direct else []
        for number in reversed(range(self.config.blocks - self.config.direct)):
            stored = _registers(f"block_{number}", VALUE_BITS, self.config.beat)
            stores = Signal(name=f"stores_{number}")
            m.d.comb += stores.eq(control.take & (control.block == number))
            with m.If(stores):
                m.d.sync += [plane.eq(self.planes[bit]) for bit, plane in enumerate(stored)]
            blocks.insert(0, stored)
        return [Cat(block[bit] for block in blocks) for bit in range(VALUE_BITS)]

    def _maximum(self, m: Module) -> Value:
        """Exponent of the group in the cycle of ``load``: of zero and subnormal numbers, 1."""
        control = self.control
        stored = Signal(EXPONENT_BITS, name="stored_largest", reset_less=True)
        largest = Signal(EXPONENT_BITS, name="running_largest")
        opens = control.block == 0
        m.d.comb += largest.eq(Mux(opens | (stored < self.largest), self.largest, stored))
        with m.If(control.take):
            m.d.sync += stored.eq(largest)
        found = largest if self.config.direct else stored
        return Cat(found[0] | ~found.any(), found[1:])


class AndaCompressor(Unit[CompressorConfig]):
    """Compress groups of FP16 activations at run time: one exponent and M bit planes a group.

    ``x`` brings the same ``beat`` elements of ``lanes_per_beat`` lanes a beat, the blocks of lanes
    one after the other, then the next elements; its first beat of a group says M. When every lane
    has its group, ``sign`` gives the sign words, ``exponent`` the largest exponents and ``plane``
    M planes, most significant first. Zero and subnormal numbers have exponent 1; Inf and NaN become
    65504 with their sign; the exponents of a group with any have ``nonfinite`` set.

    A beat goes through field extraction to the load buffers, its maximum exponent to the running
    one. The group's final beat is not stored: it waits until planes, sign and exponents of the
    group before are gone, and goes to the aligners together with the stored ones.

    * Throughput: ``max(beats, M)`` cycles a group of ``beats = group/beat * lanes/lanes_per_beat``
      input beats; the next group is taken while planes leave.
    * Latency: a group whose final beat is taken in cycle t gives its sign word, its exponents and
      its first plane in cycle t + 1.
    * Schedule: the final beat of group j is taken in ``t[j] = t[j-1] + max(beats, M[j-1])``,
      ``t[0] = beats - 1``; its other beats from ``t[j-1] + 1`` on (``t[-1] = -1``), one a cycle;
      sign word and exponents leave in ``t[j] + 1``, plane p in ``t[j] + 1 + p``.

    Stalls at a group's final beat while the aligners are busy or its sign word or exponents cannot
    be given yet. ``stall_input`` counts cycles without a plane after the first beat of a group, as
    long as the unit takes beats.

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.anda.compressor.CompressorConfig`.
    """

    def __init__(self, config: CompressorConfig):
        super().__init__(config, COMPRESSOR)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        steps = _Steps(config)
        self._sequence(m, steps)
        fields = self._place_fields(m, platform)
        self._place_lanes(m, platform, steps, fields)

        found = Signal(range(config.lanes_per_beat * config.beat + 1))
        seen = Signal()
        nonfinite = Signal()
        m.d.comb += [
            found.eq(_total([part.nonfinite for part in fields])),
            nonfinite.eq(seen | (found != 0)),
            self.events.nonfinite.eq(Mux(steps.taken, found, 0)),
        ]
        with m.If(steps.taken):
            m.d.sync += seen.eq(nonfinite & ~steps.load)
        with m.If(steps.load):
            m.d.sync += self.exponent.payload.nonfinite.eq(nonfinite)
        return m

    def _sequence(self, m: Module, steps: "_Steps") -> None:
        """Beats of a group, then its planes; the handshakes of all ports."""
        config, x = self.config, self.x
        opens = Signal()
        final = Signal(name="final_beat")
        free = Signal()
        remaining = Signal(range(MANTISSA_MAX + 1))  # planes
        m.d.comb += [
            opens.eq((steps.block == 0) & (steps.lane_block == 0)),
            final.eq(
                (steps.block == config.element_blocks - 1)
                & (steps.lane_block == config.lane_blocks - 1)
            ),
            self.plane.valid.eq(remaining != 0),
            self.plane.payload.last.eq(remaining == 1),
            steps.step.eq(self.plane.valid & self.plane.ready),
            free.eq(
                (~self.plane.valid | (self.plane.ready & self.plane.payload.last))
                & (~self.sign.valid | self.sign.ready)
                & (~self.exponent.valid | self.exponent.ready)
            ),
            x.ready.eq(~final | free),
            steps.taken.eq(x.valid & x.ready),
            steps.load.eq(steps.taken & final),
        ]
        ends_lanes = steps.lane_block == config.lane_blocks - 1
        if config.lane_blocks > 1:
            with m.If(steps.taken):
                m.d.sync += steps.lane_block.eq(Mux(ends_lanes, 0, steps.lane_block + 1))
        if config.element_blocks > 1:
            with m.If(steps.taken & ends_lanes):
                m.d.sync += steps.block.eq(Mux(final, 0, steps.block + 1))
        for port in (self.sign, self.exponent):
            with m.If(steps.load):
                m.d.sync += port.valid.eq(1)
            with m.Elif(port.ready):
                m.d.sync += port.valid.eq(0)
        planes = self._planes(m, steps, opens)
        with m.If(steps.load):
            m.d.sync += remaining.eq(planes)
        with m.Elif(steps.step):
            m.d.sync += remaining.eq(remaining - 1)
        m.d.comb += [
            self.events.x_beats.eq(steps.taken),
            self.events.groups.eq(steps.load),
            self.events.planes.eq(steps.step),
            self.events.stall_input.eq(~self.plane.valid & ~opens & x.ready),
            self.events.stall_out.eq(
                Cat(p.valid & ~p.ready for p in (self.sign, self.exponent, self.plane)).any()
            ),
        ]

    def _planes(self, m: Module, steps: "_Steps", opens: Value) -> Value:
        """Planes of the group under way, read with its first beat."""
        mantissa = self.x.payload.mantissa
        given = Signal(range(MANTISSA_MAX + 1))
        m.d.comb += given.eq(
            Mux((mantissa == 0) | (mantissa > MANTISSA_MAX), MANTISSA_MAX, mantissa)
        )
        if self.config.beats == 1:
            return given
        kept = Signal.like(given, reset_less=True)
        with m.If(steps.taken & opens):
            m.d.sync += kept.eq(given)
        return kept

    def _place_fields(self, m: Module, platform: object) -> list[CompressorFields]:
        """One field extraction for every lane of a beat."""
        beat = self.config.beat
        value = self.x.payload.value.as_value()
        fields = [
            CompressorFields(FieldsConfig(beat=beat)) for _ in range(self.config.lanes_per_beat)
        ]
        for number, part in enumerate(fields):
            word = value.word_select(number, beat * VALUE_BITS)
            place(m, platform, f"fields_{number}", part, value=word)
        return fields

    def _place_lanes(
        self, m: Module, platform: object, steps: "_Steps", fields: list[CompressorFields]
    ) -> None:
        """Every lane, fed by the field extraction of its place in the beat."""
        config = self.config
        sign, plane = self.sign.payload.word.as_value(), self.plane.payload.bits.as_value()
        for number in range(config.lanes):
            lane_block, place_in_beat = divmod(number, config.lanes_per_beat)
            direct = lane_block == config.lane_blocks - 1
            lane = CompressorLane(
                LaneConfig(beat=config.beat, blocks=config.element_blocks, direct=direct)
            )
            place(m, platform, f"lane_{number}", lane)
            m.d.comb += [
                lane.control.take.eq(steps.taken & (steps.lane_block == lane_block)),
                lane.control.block.eq(steps.block),
                lane.control.load.eq(steps.load),
                lane.control.step.eq(steps.step),
                lane.planes.eq(fields[place_in_beat].planes),
                lane.largest.eq(fields[place_in_beat].largest),
                sign.word_select(number, config.group).eq(lane.sign),
                self.exponent.payload.value[number].eq(lane.exponent),
                plane.word_select(number, config.group).eq(lane.plane),
            ]


class _Steps:
    """What happens in a cycle.

    ``taken``: an input beat, elements number ``block`` of the lanes number ``lane_block``;
    ``load``: it is the group's final one; ``step``: a plane leaves.
    """

    def __init__(self, config: CompressorConfig):
        self.taken = Signal(name="taken")
        self.block = Signal(_counter_bits(config.element_blocks), name="block")
        self.lane_block = Signal(_counter_bits(config.lane_blocks), name="lane_block")
        self.load = Signal(name="load")
        self.step = Signal(name="step")


def _registers(name: str, planes: int, elements: int) -> list[Signal]:
    """Bit planes that are kept."""
    return [Signal(elements, name=f"{name}_bit{bit}", reset_less=True) for bit in range(planes)]


def _all(planes: Planes) -> Value:
    """Elements with every bit set."""
    return reduce(and_, planes)


def _any(planes: Planes) -> Value:
    """Elements with a bit set."""
    return reduce(or_, planes)


def _total(numbers: Sequence[Value]) -> Value:
    """Sum of numbers, as a tree."""
    if len(numbers) == 1:
        return numbers[0]
    half = len(numbers) // 2
    return _total(numbers[:half]) + _total(numbers[half:])
