"""Rows from memory: answers requests for rows by AXI4 read bursts."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ...golden.contract.config import Config
from ...golden.reglu.config import MATRIX_BITS, OPERAND_BITS, WORD_BITS, Matrix, RegluConfig, ports
from ..lib.base import Part, payload_layout
from ..lib.emission import place
from ..lib.queues import Queue, QueueConfig

PAGE_BITS = 12
"""A burst of AXI stays within 4,096 bytes."""

INCREMENTING = 1
"""Kind of bursts."""


class RowFetcherConfig(Config):
    """Parameters of the row fetcher."""

    unit: RegluConfig
    """The unit that asks."""
    address_bits: int = Parameter(default=32, ge=16, le=64)
    """Bits of a byte address."""
    outstanding: int = Parameter(default=16, ge=1, le=256)
    """Rows that are asked for ahead."""
    burst: int = Parameter(default=64, ge=1, le=256)
    """Most beats of a burst."""

    @property
    def data_bits(self) -> int:
        """Bits of a beat from memory: those of a beat of a row, filled up to a power of two."""
        return max(WORD_BITS, 1 << (self.unit.lanes * OPERAND_BITS - 1).bit_length())

    @property
    def most_beats(self) -> int:
        """Beats of the longest row, its word included."""
        return max(self.unit.x_words, self.unit.z_words) + 1


class RowFetcher(Part[RowFetcherConfig]):
    """AXI4 read master that answers requests for rows, in order.

    Row r of matrix m lies at ``base[m] + r * stride[m]``: its beats of L elements, each in a beat
    of memory, and then a beat with its 32-bit word. ``beats`` is how many beats of elements rows of
    B have, and those of all others. Addresses are multiples of a beat of memory.

    * Rows are asked for ahead, ``outstanding`` at most; a row is one burst, or several where it is
      longer than ``burst`` beats or crosses 4,096 bytes. A burst is asked for every other cycle.
    * Rows leave as fast as memory gives them, a beat later, for the word comes last.
    * ``error`` stays from an error response on until reset; the row goes on with what was read.

    Stalls while memory gives nothing, and while rows are not taken.
    """

    def __init__(self, config: RowFetcherConfig):
        declared = {port.name: port for port in ports(config.unit)}
        beats = range(config.most_beats + 1)
        super().__init__(
            config,
            {
                "request": In(stream.Signature(payload_layout(declared["request"]))),
                "rows": Out(stream.Signature(payload_layout(declared["rows"]))),
                "base": In(data.ArrayLayout(config.address_bits, len(Matrix))),
                "stride": In(data.ArrayLayout(config.address_bits, len(Matrix))),
                "row_beats": In(beats),
                "b_row_beats": In(beats),
                "error": Out(1),
                "m_axi_arid": Out(1),
                "m_axi_araddr": Out(config.address_bits),
                "m_axi_arlen": Out(8),
                "m_axi_arsize": Out(3),
                "m_axi_arburst": Out(2),
                "m_axi_arprot": Out(3),
                "m_axi_arcache": Out(4),
                "m_axi_arvalid": Out(1),
                "m_axi_arready": In(1),
                "m_axi_rid": In(1),
                "m_axi_rdata": In(config.data_bits),
                "m_axi_rresp": In(2),
                "m_axi_rlast": In(1),
                "m_axi_rvalid": In(1),
                "m_axi_rready": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        layout = data.StructLayout({"matrix": MATRIX_BITS, "row": config.unit.row_bits})
        queue = Queue(QueueConfig(width=layout.size, depth=config.outstanding))
        place(m, platform, "asked", queue)
        waiting = Signal(range(config.outstanding + 1))
        m.d.sync += waiting.eq(waiting + queue.push - queue.pop)
        self._ask(m, layout, queue, waiting != config.outstanding)
        self._answer(m, data.View(layout, queue.head), queue, waiting != 0)
        return m

    def _beats(self, matrix: Value) -> Value:
        """Beats of elements of a row."""
        return Mux(matrix == Matrix.B, self.b_row_beats, self.row_beats)

    def _ask(self, m: Module, layout: data.StructLayout, queue: Queue, room: Value) -> None:
        """Take requests, go through their rows, cut rows into bursts."""
        config = self.config
        size = (config.data_bits // 8 - 1).bit_length()
        matrix = Signal(MATRIX_BITS)
        row = Signal(config.unit.row_bits)
        rows_left = Signal(config.unit.count_bits)
        start = Signal(config.address_bits)  # of the row
        address = Signal(config.address_bits)
        beats_left = Signal(range(config.most_beats + 1))
        active = Signal()
        page_left = Signal(PAGE_BITS - size + 1)
        burst = Signal(range(config.burst + 1))
        ask = Signal()
        in_page = Mux(beats_left < page_left, beats_left, page_left)
        payload = self.request.payload
        base, stride = (Array([view[i] for i in range(len(Matrix))]) for view in
                        (self.base, self.stride))  # fmt: skip
        following = Signal(config.address_bits)
        m.d.comb += [
            self.request.ready.eq(~active),
            page_left.eq((1 << (PAGE_BITS - size)) - address[size:PAGE_BITS]),
            burst.eq(Mux(in_page < config.burst, in_page, config.burst)),
            following.eq(start + stride[matrix]),
            # a row enters the queue with its first burst
            ask.eq(active & (beats_left != 0) & ~self.m_axi_arvalid & (room | (address != start))),
            queue.push.eq(ask & (address == start)),
            queue.entry.eq(Cat(matrix, row)),
            self.m_axi_arsize.eq(size),
            self.m_axi_arburst.eq(INCREMENTING),
            self.m_axi_arcache.eq(0b0011),
        ]
        with m.If(self.m_axi_arready):
            m.d.sync += self.m_axi_arvalid.eq(0)
        with m.If(self.request.valid & self.request.ready):
            first = base[payload.matrix] + payload.row * stride[payload.matrix]
            m.d.sync += [
                active.eq(payload.count != 0),
                matrix.eq(payload.matrix),
                row.eq(payload.row),
                rows_left.eq(payload.count),
                start.eq(first),
                address.eq(first),
                beats_left.eq(self._beats(payload.matrix) + 1),
            ]
        with m.Elif(ask):
            m.d.sync += [
                self.m_axi_arvalid.eq(1),
                self.m_axi_araddr.eq(address),
                self.m_axi_arlen.eq(burst - 1),
                address.eq(address + Cat(Const(0, size), burst)),
                beats_left.eq(beats_left - burst),
            ]
        with m.Elif(active & (beats_left == 0)):
            m.d.sync += [
                active.eq(rows_left != 1),
                rows_left.eq(rows_left - 1),
                row.eq(row + 1),
                start.eq(following),
                address.eq(following),
                beats_left.eq(self._beats(matrix) + 1),
            ]

    def _answer(self, m: Module, asked: data.View, queue: Queue, expected: Value) -> None:
        """Beats from memory to beats of rows; one is held back until it is known to be the last."""
        config = self.config
        elements = config.unit.lanes * OPERAND_BITS
        held = Signal(elements)
        there = Signal()
        place_in_row = Signal(range(config.most_beats + 1))
        is_word = Signal()
        take = Signal()
        rows = self.rows.payload
        m.d.comb += [
            is_word.eq(place_in_row == self._beats(asked.matrix)),
            self.m_axi_rready.eq(expected & (~there | self.rows.ready)),
            take.eq(self.m_axi_rvalid & self.m_axi_rready),
            self.rows.valid.eq(self.m_axi_rvalid & expected & there),
            rows.value.as_value().eq(held),
            rows.word.eq(Mux(is_word, self.m_axi_rdata[:WORD_BITS], 0)),
            rows.matrix.eq(asked.matrix),
            rows.row.eq(asked.row),
            rows.last.eq(is_word),
            queue.pop.eq(take & is_word),
        ]
        with m.If(take):
            m.d.sync += [
                held.eq(self.m_axi_rdata[:elements]),
                there.eq(~is_word),
                place_in_row.eq(Mux(is_word, 0, place_in_row + 1)),
                self.error.eq(self.error | (self.m_axi_rresp != 0)),
            ]
