"""Rows from memory: answers requests for rows by bursts that it asks for."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ...golden.contract.config import Config
from ...golden.soc.memory import LENGTH_BITS, PAGE, FetchingConfig, Rows
from ..lib.base import Part
from ..lib.emission import place
from ..lib.queues import Queue, QueueConfig


class FetchedMatrix(Config):
    """What the fetcher knows of a matrix."""

    name: str
    """Its name."""
    code: int
    """Its number in requests."""
    family: str
    """Which of its inputs says how long rows are."""


class RowFetcherConfig(Config):
    """Parameters of the row fetcher."""

    matrices: tuple[FetchedMatrix, ...]
    """Matrices whose rows are asked for."""
    matrix_bits: int
    """Bits of a matrix's number."""
    row_bits: int
    """Bits of a row's number."""
    count_bits: int
    """Bits of a number of rows."""
    element_bits: int
    """Bits of a beat of a row."""
    word_bits: int
    """Bits of a row's word."""
    data_bits: int
    """Bits of a beat of memory."""
    most_beats: int
    """Beats of memory of the longest row, that of its word included."""
    requests: int = Parameter(ge=1)
    """Requests that wait for rows at most."""
    address_bits: int = 32
    """Bits of a byte address."""
    rows_ahead: int = 16
    """Rows that are asked for ahead."""
    burst: int = 64
    """Most beats of a burst."""

    @classmethod
    def of(cls, config: FetchingConfig, rows: Rows) -> "RowFetcherConfig":
        """For what a unit declares of its rows."""
        bits = {field.made: field.width for field in rows.request.fields}
        return cls(
            matrices=tuple(
                FetchedMatrix(name=matrix.name, code=int(matrix.code), family=matrix.family)
                for matrix in rows.request.asks
            ),
            matrix_bits=bits["matrix"],
            row_bits=bits["row"],
            count_bits=bits["count"],
            element_bits=rows.element_bits,
            word_bits=rows.word_bits,
            data_bits=rows.data_bits,
            most_beats=rows.most_beats,
            requests=rows.request.ahead,
            address_bits=config.address_bits,
            rows_ahead=config.rows_ahead,
            burst=config.burst,
        )

    @property
    def families(self) -> tuple[str, ...]:
        """Families of equally long rows."""
        return tuple(dict.fromkeys(matrix.family for matrix in self.matrices))

    @property
    def request(self) -> data.StructLayout:
        """Which rows are asked for."""
        return data.StructLayout(
            {"matrix": self.matrix_bits, "row": self.row_bits, "count": self.count_bits}
        )

    @property
    def answer(self) -> data.StructLayout:
        """A beat of a row."""
        return data.StructLayout(
            {
                "elements": self.element_bits,
                "word": self.word_bits,
                "matrix": self.matrix_bits,
                "row": self.row_bits,
                "last": 1,
            }
        )

    @property
    def burst_layout(self) -> data.StructLayout:
        """A burst: address in bytes, beats but one."""
        return data.StructLayout({"addr": self.address_bits, "len": LENGTH_BITS})


class RowFetcher(Part[RowFetcherConfig]):
    """Asks for the bursts of the rows that are requested, and makes rows of them, in order.

    Row i of a matrix lies at ``base + i * stride``: its beats, each in a beat of memory, and then a
    beat with its word. ``beats_FAMILY`` is how many beats of elements rows of a family have.
    Addresses are multiples of a beat of memory.

    * A row is one burst, or several where it is longer than ``burst`` beats or would leave a page
      of 4,096 bytes. Rows are asked for ahead, ``rows_ahead`` at most.
    * Schedule: a request accepted in cycle c is taken in c + 1, or two cycles after the final burst
      of the one before was taken; its first burst is offered in the next cycle, and then one every
      other cycle; a row's first one not before the cycle after the final beat of the row
      ``rows_ahead`` before it came. A beat of elements leaves with the beat of memory after it.
    * ``error`` tells of a beat that came with an error; its row goes on with what was read.
      ``awaits``: a row is awaited and there is no beat of it.

    Stalls while memory gives nothing or takes no burst, and while rows are not taken.
    """

    def __init__(self, config: RowFetcherConfig):
        settings: dict[str, object] = {}
        self.codes = {"matrix": {m.code: f"MATRIX_{m.name.upper()}" for m in config.matrices}}
        for matrix in config.matrices:
            settings |= {f"base_{matrix.name}": In(config.address_bits)}
            settings |= {f"stride_{matrix.name}": In(config.address_bits)}
        for family in config.families:
            settings[f"beats_{family}"] = In(range(config.most_beats))
        beat = data.StructLayout({"data": config.data_bits, "error": 1})
        super().__init__(
            config,
            {
                "request": In(stream.Signature(config.request)),
                "rows": Out(stream.Signature(config.answer)),
                **settings,
                "bursts": Out(stream.Signature(config.burst_layout)),
                "beats": In(stream.Signature(beat)),
                "error": Out(1),
                "awaits": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        requests = Queue(QueueConfig(width=config.request.size, depth=config.requests))
        layout = data.StructLayout({"matrix": config.matrix_bits, "row": config.row_bits})
        asked = Signal(layout, name="oldest_row")
        rows = Queue(QueueConfig(width=layout.size, depth=config.rows_ahead))
        place(m, platform, "requests", requests)
        place(m, platform, "asked", rows)
        under_way = Signal(range(config.rows_ahead + 1))
        room = Signal(name="room_for_row")
        expected = Signal(name="row_expected")
        m.d.sync += under_way.eq(under_way + rows.push - rows.pop)
        m.d.comb += [
            room.eq(under_way != config.rows_ahead),
            expected.eq(under_way != 0),
            asked.eq(rows.head),
            requests.push.eq(self.request.valid & self.request.ready),
            requests.entry.eq(self.request.payload.as_value()),
            self.request.ready.eq(requests.room),
        ]
        self._ask(m, requests, rows, room)
        self._answer(m, asked, rows, expected)
        return m

    def _of(self, m: Module, code: Value, what: str, name: str) -> Signal:
        """What the settings say of a matrix, its ``base``, ``stride`` or ``beats``, by a name."""
        width = range(self.config.most_beats) if what == "beats" else self._address()
        found = Signal(width, name=f"{name}_{what}")
        with m.Switch(code):
            for matrix in self.config.matrices:
                key = matrix.family if what == "beats" else matrix.name
                with m.Case(matrix.code):
                    m.d.comb += found.eq(getattr(self, f"{what}_{key}"))
            with m.Default():
                m.d.comb += found.eq(0)
        return found

    def _address(self) -> int:
        return self.config.address_bits

    def _ask(self, m: Module, requests: Queue, rows: Queue, room: Value) -> None:
        """Take requests, go through their rows, cut rows into bursts."""
        config = self.config
        size = (config.data_bits // 8 - 1).bit_length()
        page_bits = (PAGE - 1).bit_length()
        head = Signal(config.request, name="request_head")
        matrix = Signal(config.matrix_bits)
        row = Signal(config.row_bits)
        rows_left = Signal(config.count_bits)
        start = Signal(self._address())  # of the row
        stride = Signal(self._address())
        address = Signal(self._address())
        beats_left = Signal(range(config.most_beats + 1))
        active = Signal()
        begins = Signal()
        ask = Signal()
        take = Signal(name="take_request")
        row_ends = Signal()
        page_left = Signal(page_bits - size + 1)
        in_page = Signal.like(page_left)
        burst = Signal(max(LENGTH_BITS, config.burst.bit_length()))
        first = Signal(self._address(), name="request_start")
        first_base = self._of(m, head.matrix, "base", "request")
        first_stride = self._of(m, head.matrix, "stride", "request")
        first_beats = self._of(m, head.matrix, "beats", "request")
        beats = self._of(m, matrix, "beats", "matrix")
        following = Signal(self._address(), name="next_start")
        m.d.comb += [
            head.eq(requests.head),
            in_page.eq(Mux(beats_left < page_left, beats_left, page_left)),
            row_ends.eq(active & (beats_left == 0)),
            page_left.eq((1 << (page_bits - size)) - address[size:page_bits]),
            burst.eq(Mux(in_page < config.burst, in_page, config.burst)),
            first.eq(first_base + head.row * first_stride),
            following.eq(start + stride),
            self.bursts.valid.eq(active & (beats_left != 0) & (room | ~begins)),
            self.bursts.payload.addr.eq(address),
            self.bursts.payload.len.eq(burst - 1),
            ask.eq(self.bursts.valid & self.bursts.ready),
            # a row enters the queue with its first burst
            rows.push.eq(ask & begins),
            rows.entry.eq(Cat(matrix, row)),
            take.eq(requests.valid & ~active),
            requests.pop.eq(take),
        ]
        with m.If(take):
            m.d.sync += [
                active.eq(head.count != 0),
                matrix.eq(head.matrix),
                row.eq(head.row),
                rows_left.eq(head.count),
                start.eq(first),
                stride.eq(first_stride),
                address.eq(first),
                beats_left.eq(first_beats + 1),
                begins.eq(1),
            ]
        with m.Elif(ask):
            m.d.sync += [
                address.eq(address + Cat(Const(0, size), burst)),
                beats_left.eq(beats_left - burst),
                begins.eq(0),
            ]
        with m.Elif(row_ends):
            m.d.sync += [
                active.eq(rows_left != 1),
                rows_left.eq(rows_left - 1),
                row.eq(row + 1),
                start.eq(following),
                address.eq(following),
                beats_left.eq(beats + 1),
                begins.eq(1),
            ]

    def _answer(self, m: Module, asked: data.View, rows: Queue, expected: Value) -> None:
        """Beats of memory to beats of rows; one is held back until it is known to be the last."""
        config = self.config
        held = Signal(config.element_bits)
        holds = Signal()
        place_in_row = Signal(range(config.most_beats))
        is_word = Signal()
        take = Signal(name="take_beat")
        row = self.rows.payload
        content = self.beats.payload.data
        beats = self._of(m, asked.matrix, "beats", "oldest_row")
        m.d.comb += [
            is_word.eq(place_in_row == beats),
            self.beats.ready.eq(expected & (~holds | self.rows.ready)),
            take.eq(self.beats.valid & self.beats.ready),
            self.rows.valid.eq(self.beats.valid & expected & holds),
            row.elements.eq(held),
            row.word.eq(Mux(is_word, content[: config.word_bits], 0)),
            row.matrix.eq(asked.matrix),
            row.row.eq(asked.row),
            row.last.eq(is_word),
            rows.pop.eq(take & is_word),
            self.error.eq(take & self.beats.payload.error),
            self.awaits.eq(expected & ~self.beats.valid),
        ]
        with m.If(take):
            m.d.sync += [
                held.eq(content[: config.element_bits]),
                holds.eq(~is_word),
                place_in_row.eq(Mux(is_word, 0, place_in_row + 1)),
            ]
