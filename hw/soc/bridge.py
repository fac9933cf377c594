"""From a serial line to the registers and streams of a core."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ...golden.contract.config import Config
from ...golden.soc.registers import ADDRESS_BITS
from ...golden.soc.serial import MOST_WORDS, PATIENCE
from ..lib.base import Part
from ..lib.emission import place
from ..lib.queues import Queue, QueueConfig, place_queue
from .axi import WORD
from .uart import BYTE, UartConfig, UartReceiver, UartTransmitter

_ARGUMENTS = {"R": 2, "W": 6, "S": 1, "G": 1, "M": 5}
"""Bytes that follow the letter of a command, words of a stream apart."""
_TO_MEMORY = {"memory_write": Out(1), "memory_word": Out(WORD), "memory_data": Out(WORD)}
_ADDRESS = 2 * BYTE  # bits of an address as it is sent
_ARGUMENT = _ADDRESS + WORD
_ANSWER = BYTE + WORD


class UartBridgeConfig(Config):
    """Parameters of the bridge."""

    line: UartConfig
    """The serial line."""
    bus_width: int = Parameter(ge=WORD)
    """Bits of a word of the core's streams."""
    patience: int = Parameter(default=PATIENCE, ge=1)
    """Cycles of silence after which an incomplete command is forgotten."""
    memory_words: int = Parameter(default=0, ge=0, lt=1 << WORD)
    """Words of 32 bits of the memory beside the core; 0: there is none."""


class UartBridge(Part[UartBridgeConfig]):
    """Does what a host asks for over a serial line.

    Commands and answers are those of :mod:`nibbleforge.golden.soc.serial`.

    * A write offers address and data at once and waits for the response; a read likewise.
    * A word in is offered to the stream when its last byte is there. If it has not left when the
      next one is complete, that one and all others of the command are dropped.
    * Words out wait in a queue of :data:`~nibbleforge.golden.soc.serial.MOST_WORDS` words of 32
      bits; the stream waits while it is full.
    * A word for memory is written in the cycle after its last byte was received.
    """

    def __init__(self, config: UartBridgeConfig):
        bus = config.bus_width
        super().__init__(
            config,
            {
                "rx": In(1),
                "tx": Out(1),
                "s_axi_awaddr": Out(ADDRESS_BITS),
                "s_axi_awvalid": Out(1),
                "s_axi_awready": In(1),
                "s_axi_wdata": Out(WORD),
                "s_axi_wvalid": Out(1),
                "s_axi_wready": In(1),
                "s_axi_bresp": In(2),
                "s_axi_bvalid": In(1),
                "s_axi_bready": Out(1),
                "s_axi_araddr": Out(ADDRESS_BITS),
                "s_axi_arvalid": Out(1),
                "s_axi_arready": In(1),
                "s_axi_rdata": In(WORD),
                "s_axi_rresp": In(2),
                "s_axi_rvalid": In(1),
                "s_axi_rready": Out(1),
                "s_axis_tdata": Out(bus),
                "s_axis_tvalid": Out(1),
                "s_axis_tready": In(1),
                "m_axis_tdata": In(bus),
                "m_axis_tvalid": In(1),
                "m_axis_tready": Out(1),
                **(_TO_MEMORY if config.memory_words else {}),
            },
        )
        self.lanes = bus // WORD

    def elaborate(self, platform: object) -> Module:
        m = Module()
        receiver = UartReceiver(self.config.line)
        transmitter = UartTransmitter(self.config.line)
        place(m, platform, "receiver", receiver)
        place(m, platform, "transmitter", transmitter)
        self._byte, self._comes = receiver.byte, receiver.valid
        self._kind = Signal(BYTE, name="kind")
        self._argument = Signal(_ARGUMENT, name="argument")
        self._missing = Signal(range(_ARGUMENT // BYTE + 1), name="missing")  # bytes of it
        self._answer = Signal(_ANSWER, name="answer")
        self._left = Signal(range(_ANSWER // BYTE + 1), name="left")  # bytes of it
        self._words = Signal(BYTE, name="words")  # of the command, still to pass
        silence = Signal(range(self.config.patience + 1))
        forget = Signal()
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            transmitter.bytes.valid.eq(self._left != 0),
            transmitter.bytes.payload.eq(self._answer[:BYTE]),
            forget.eq(silence == self.config.patience),
        ]
        m.d.sync += silence.eq(Mux(self._comes | forget, 0, silence + 1))
        with m.If(transmitter.bytes.valid & transmitter.bytes.ready):
            m.d.sync += [self._answer.eq(self._answer >> BYTE), self._left.eq(self._left - 1)]
        self._offer(m)
        queue, there = self._results(m, platform)
        with m.FSM():
            with m.State("COMMAND"), m.If(self._comes):
                m.d.sync += self._kind.eq(self._byte)
                with m.Switch(self._byte):
                    for letter, size in _ARGUMENTS.items():
                        if letter == "M" and not self.config.memory_words:
                            continue
                        with m.Case(ord(letter)):
                            m.d.sync += self._missing.eq(size)
                            m.next = "ARGUMENT"
            self._collect(m, forget)
            self._access(m)
            self._take(m, forget)
            if self.config.memory_words:
                self._store(m, forget)
            self._give(m, queue, there)
        return m

    def _offer(self, m: Module) -> None:
        """What is offered to the core, each until it is taken; responses always are."""
        written = self._argument[-_ADDRESS - WORD :]
        m.d.comb += [
            self.s_axi_araddr.eq(self._argument[-_ADDRESS:]),
            self.s_axi_awaddr.eq(written[:_ADDRESS]),
            self.s_axi_wdata.eq(written[_ADDRESS:]),
            self.s_axi_rready.eq(1),
            self.s_axi_bready.eq(1),
        ]
        for channel in ("s_axi_ar", "s_axi_aw", "s_axi_w", "s_axis_t"):
            with m.If(getattr(self, f"{channel}ready")):
                m.d.sync += getattr(self, f"{channel}valid").eq(0)
        if self.config.memory_words:
            with m.If(self.memory_write):
                m.d.sync += [self.memory_write.eq(0), self.memory_word.eq(self.memory_word + 1)]

    def _results(self, m: Module, platform: object) -> tuple[Queue, Signal]:
        """Words out, and how many there are."""
        depth = MOST_WORDS // self.lanes
        queue = Queue(QueueConfig(width=self.config.bus_width, depth=depth))
        place_queue(m, platform, "results", queue)
        there = Signal(range(depth + 1))
        m.d.comb += [
            self.m_axis_tready.eq(queue.room),
            queue.push.eq(self.m_axis_tvalid & self.m_axis_tready),
            queue.entry.eq(self.m_axis_tdata),
        ]
        m.d.sync += there.eq(there + queue.push - queue.pop)
        return queue, there

    def _collect(self, m: Module, forget: Value) -> None:
        """Bytes of the argument, then what the command is."""
        with m.State("ARGUMENT"):
            with m.If(self._comes):
                m.d.sync += [
                    self._missing.eq(self._missing - 1),
                    self._argument.eq(Cat(self._argument[BYTE:], self._byte)),
                ]
            with m.If(self._missing == 0), m.Switch(self._kind):
                with m.Case(ord("R")):
                    m.d.sync += self.s_axi_arvalid.eq(1)
                    m.next = "READ"
                with m.Case(ord("W")):
                    m.d.sync += [self.s_axi_awvalid.eq(1), self.s_axi_wvalid.eq(1)]
                    m.next = "WRITE"
                with m.Case(ord("S")):
                    m.d.sync += self._words.eq(self._argument[-BYTE:])
                    m.next = "TAKE"
                with m.Case(ord("G")):
                    m.next = "COUNT"
                if self.config.memory_words:
                    with m.Case(ord("M")):
                        m.d.sync += [
                            self._words.eq(self._argument[-BYTE:]),
                            self.memory_word.eq(self._argument[-BYTE - WORD : -BYTE]),
                        ]
                        m.next = "STORE"
            with m.Elif(forget):
                m.next = "COMMAND"

    def _access(self, m: Module) -> None:
        """Responses of registers."""
        with m.State("READ"), m.If(self.s_axi_rvalid):
            status = Cat(self.s_axi_rresp != 0, Const(0, BYTE - 1))
            self._reply(m, Cat(status, self.s_axi_rdata))
        with m.State("WRITE"), m.If(self.s_axi_bvalid):
            self._reply(m, Cat(self.s_axi_bresp != 0, Const(0, BYTE - 1)))

    def _reply(self, m: Module, answer: Value) -> None:
        """Send bytes and be done."""
        m.d.sync += [self._answer.eq(answer), self._left.eq(len(answer) // BYTE), self._words.eq(0)]
        m.next = "GIVE"

    def _take(self, m: Module, forget: Value) -> None:
        """Words for the stream in."""
        gathered = Signal(self.config.bus_width)
        place_of = Signal(range(self.config.bus_width // BYTE))  # the next byte's in the word
        taken = Signal(BYTE)
        refused = Signal()
        word = Cat(gathered[BYTE:], self._byte)
        with m.State("TAKE"):
            with m.If(self._comes):
                m.d.sync += [gathered.eq(word), place_of.eq(place_of + 1)]
                with m.If(place_of[:2].all()):
                    m.d.sync += self._words.eq(self._words - 1)
                with m.If(place_of.all()):
                    with m.If(refused | (self.s_axis_tvalid & ~self.s_axis_tready)):
                        m.d.sync += refused.eq(1)
                    with m.Else():
                        m.d.sync += [
                            self.s_axis_tdata.eq(word),
                            self.s_axis_tvalid.eq(1),
                            taken.eq(taken + self.lanes),
                        ]
            with m.Elif((self._words == 0) | forget):
                m.d.sync += [place_of.eq(0), taken.eq(0), refused.eq(0)]
                with m.If(self._words == 0):
                    self._reply(m, taken)
                with m.Else():
                    m.next = "COMMAND"

    def _store(self, m: Module, forget: Value) -> None:
        """Words for the memory."""
        at = Signal(range(WORD // BYTE))  # the next byte's place in the word
        stored = Signal(BYTE)
        with m.State("STORE"):
            with m.If(self._comes):
                m.d.sync += [
                    self.memory_data.eq(Cat(self.memory_data[BYTE:], self._byte)),
                    at.eq(at + 1),
                ]
                with m.If(at.all()):
                    m.d.sync += self._words.eq(self._words - 1)
                    with m.If(self.memory_word < self.config.memory_words):
                        m.d.sync += [self.memory_write.eq(1), stored.eq(stored + 1)]
            with m.Elif((self._words == 0) | forget):
                m.d.sync += [at.eq(0), stored.eq(0)]
                with m.If(self._words == 0):
                    self._reply(m, stored)
                with m.Else():
                    m.next = "COMMAND"

    def _give(self, m: Module, queue: Queue, there: Signal) -> None:
        """Words of the stream out; the end of every command."""
        lane = Signal(range(self.lanes))
        shift = self.lanes.bit_length() - 1
        most = self._argument[-BYTE:] >> shift  # words of the bus
        words_of = Array(queue.head.word_select(i, WORD) for i in range(self.lanes))
        with m.State("COUNT"):
            words = Mux(most < there, most, there) << shift
            self._reply(m, words[:BYTE])
            m.d.sync += self._words.eq(words)
        with m.State("GIVE"), m.If(self._left == 0):
            with m.If(self._words == 0):
                m.next = "COMMAND"
            with m.Else():
                m.d.sync += [
                    self._answer.eq(words_of[lane]),
                    self._left.eq(WORD // BYTE),
                    self._words.eq(self._words - 1),
                    lane.eq(lane + 1),
                ]
                m.d.comb += queue.pop.eq(lane == self.lanes - 1)
