"""Which neurons the neuron-skipping FFN goes through: those that are predicted, or all."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from ...golden.bitmap import BitmapConfig
from ...golden.reglu.config import OPERAND_BITS, WORD_BITS, RegluConfig
from ..bitmap import BitmapDecoder
from ..lib.base import Part
from ..lib.emission import place
from ..lib.memories import address_bits, memory_of
from ..lib.queues import Queue, QueueConfig, place_queue
from .requests import candidate_layout, neuron_bits


class NeuronPredictor(Part[RegluConfig]):
    """z8 to the z memory, scores to a mask, the mask to indices.

    ``z`` with ``z_done`` is the next z8, its ``end`` the token's last one: from the next cycle on
    ``z_ready`` tells that all are there, ``z_last`` is the address of the last word, and a word
    addressed in a cycle is there in the next one. ``score`` with ``score_done`` is that of the next
    neuron; the neuron is predicted if it exceeds ``threshold``.
    """

    def __init__(self, config: RegluConfig):
        address = address_bits(config.z_words)
        super().__init__(
            config,
            {
                "start": In(1),
                "z_done": In(1),
                "z": In(signed(OPERAND_BITS)),
                "z_end": In(1),
                "z_ready": Out(1),
                "z_last": Out(address),
                "z_address": In(address),
                "z_word": Out(config.lanes * OPERAND_BITS),
                "score_done": In(1),
                "score": In(signed(config.dot_bits)),
                "threshold": In(signed(WORD_BITS)),
                "score_end": In(1),
                "take": In(1),
                "candidate": Out(candidate_layout(config)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._keep_z(m)
        words = self._mask_words(m, platform)
        self._decode(m, platform, words)
        return m

    def _keep_z(self, m: Module) -> None:
        """The z memory, written element by element, read a word at a time."""
        lanes = self.config.lanes
        memory = memory_of(m, "z_words", lanes * OPERAND_BITS, self.config.z_words)
        write = memory.write_port(granularity=OPERAND_BITS)
        read = memory.read_port()
        word = Signal(address_bits(self.config.z_words))
        lane = Signal(address_bits(lanes))
        m.d.comb += [
            *(write.en[i].eq(self.z_done & (lane == i)) for i in range(lanes)),
            write.addr.eq(word),
            write.data.eq(Cat(self.z for _ in range(lanes))),
            read.addr.eq(self.z_address),
            self.z_word.eq(read.data),
        ]
        with m.If(self.z_done):
            m.d.sync += [self.z_last.eq(word), self.z_ready.eq(self.z_end)]
            m.d.sync += lane.eq(lane + 1)
            with m.If(lane == lanes - 1):
                m.d.sync += [lane.eq(0), word.eq(word + 1)]
        with m.If(self.start):
            m.d.sync += [self.z_ready.eq(0), lane.eq(0), word.eq(0)]

    def _mask_words(self, m: Module, platform: object) -> Queue:
        """Words of the mask; each with whether it is the token's last."""
        config = self.config
        group = config.mask_group
        words = Queue(QueueConfig(width=group + 1, depth=config.mask_words))
        place_queue(m, platform, "words", words)
        position = Signal(range(group))
        mask = Signal(group)
        last = Signal()
        complete = Signal()
        predicted = Signal()
        m.d.comb += [
            predicted.eq(self.score > self.threshold),
            words.push.eq(complete),
            words.entry.eq(Cat(mask, last)),
        ]
        m.d.sync += complete.eq(self.score_done & ((position == group - 1) | self.score_end))
        with m.If(self.score_done):
            m.d.sync += [
                mask.eq(Mux(position == 0, 0, mask) | (predicted << position)),
                last.eq(self.score_end),
                position.eq(Mux(self.score_end, 0, position + 1)),
            ]
        return words

    def _decode(self, m: Module, platform: object, words: Queue) -> None:
        """Indices of the neurons in the mask, until they are taken."""
        group = self.config.mask_group
        decoder = BitmapDecoder(BitmapConfig(group=group, value_width=0, beat=1))
        place(m, platform, "decoder", decoder)
        number = Signal(address_bits(self.config.mask_words))
        ended = Signal()
        pairs = decoder.pairs
        pair_taken = Signal()
        m.d.comb += [
            pair_taken.eq(pairs.valid & pairs.ready),
            decoder.bitmap.valid.eq(words.valid),
            Cat(decoder.bitmap.payload.mask.as_value(), decoder.bitmap.payload.last).eq(words.head),
            words.pop.eq(words.valid & decoder.bitmap.ready),
            self.candidate.valid.eq(pairs.valid & pairs.payload.count),
            self.candidate.neuron.eq(Cat(pairs.payload.index.as_value(), number)),
            self.candidate.ended.eq(ended),
            pairs.ready.eq(self.take | ~pairs.payload.count),
        ]
        with m.If(pair_taken):
            m.d.sync += [number.eq(number + pairs.payload.group_last), ended.eq(pairs.payload.last)]
        with m.If(self.start):
            m.d.sync += [number.eq(0), ended.eq(0)]


class NeuronCounter(Part[RegluConfig]):
    """Every neuron in turn, where there is no predictor."""

    def __init__(self, config: RegluConfig):
        super().__init__(
            config,
            {
                "start": In(1),
                "neurons": In(config.max_neurons.bit_length()),
                "take": In(1),
                "candidate": Out(candidate_layout(config)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        neuron = Signal(neuron_bits(self.config))
        ended = Signal(init=1)
        m.d.comb += [
            self.candidate.valid.eq(~ended),
            self.candidate.neuron.eq(neuron),
            self.candidate.ended.eq(ended),
        ]
        with m.If(self.take):
            m.d.sync += [neuron.eq(neuron + 1), ended.eq(neuron == self.neurons - 1)]
        with m.If(self.start):
            m.d.sync += [neuron.eq(0), ended.eq(0)]
        return m
