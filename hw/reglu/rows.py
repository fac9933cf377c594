"""Rows of the neuron-skipping FFN: which one comes next, and its products and their sum."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ...golden.contract.ports import port_of
from ...golden.reglu.config import MATRIX_BITS, OPERAND_BITS, WORD_BITS, Matrix, RegluConfig, ports
from ..lib.adders import binary_tree
from ..lib.base import Part, payload_layout
from ..lib.delays import delayed, delays
from ..lib.memories import address_bits, memory_of
from .requests import G16_BITS, MATRIX_CODES, row_layout, token_layout

PRODUCT_BITS = 2 * OPERAND_BITS
TREE_FAN_IN = 8  # three levels of adders


def word_write_layout(config: RegluConfig) -> data.StructLayout:
    """A word for the x memory."""
    word = config.lanes * OPERAND_BITS
    return data.StructLayout({"enable": 1, "address": address_bits(config.x_words), "word": word})


def z_layout(config: RegluConfig) -> data.StructLayout:
    """Whether all of z8 is in its memory, and the address of its last word."""
    return data.StructLayout({"ready": 1, "last": address_bits(config.z_words)})


def tag_layout() -> data.StructLayout:
    """What goes along with a beat.

    ``valid``: there is one; ``matrix``: whose; ``first``, ``final``: its place in the row; ``end``:
    the row is the last one of A, or of B.
    """
    flags = dict.fromkeys(("valid", "first", "final", "end"), 1)
    return data.StructLayout({**flags, "matrix": MATRIX_BITS})


def operand_layout() -> data.StructLayout:
    """What a row goes on with: ``word`` of its final beat, ``value`` as in its request."""
    return data.StructLayout({"word": WORD_BITS, "value": G16_BITS})


class RowEngine(Part[RegluConfig]):
    """Takes rows, in the order in which they were asked for, and multiplies.

    The dot product with x, or z, of a row whose final beat is accepted in cycle t is ``dot`` in
    t + T + 3, with ``tag`` and ``operand``, whose word is 0 in the next cycle, unless another row
    is done. Of a beat of down ``down`` tells in t + 1, when
    ``address`` is the word of y that it adds to; ``products`` are there in t + 2.
    """

    codes = MATRIX_CODES

    def __init__(self, config: RegluConfig):
        rows = port_of(ports(config), "rows")
        super().__init__(
            config,
            {
                "rows": In(stream.Signature(payload_layout(rows))),
                "start": In(1),
                "running": In(1),
                "token": In(token_layout(config)),
                "x_write": In(word_write_layout(config)),
                "x_last": In(address_bits(config.x_words)),
                "z": In(z_layout(config)),
                "z_address": Out(address_bits(config.z_words)),
                "z_word": In(config.lanes * OPERAND_BITS),
                "asked": In(2),
                "awaited_valid": In(1),
                "awaited": In(row_layout(config)),
                "received": Out(1),
                "beat": Out(1),
                "row": Out(1),
                "down_done": Out(1),
                "wrong": Out(1),
                "down": Out(1),
                "address": Out(address_bits(config.x_words)),
                "products": Out(config.lanes * PRODUCT_BITS),
                "dot": Out(signed(config.dot_bits)),
                "tag": Out(tag_layout()),
                "operand": Out(operand_layout()),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tag = Signal(tag_layout(), name="next_tag")
        word = Signal(self._word_bits)
        self._sequence(m, tag, word)
        tags = delays(m, tag, self.config.tree_stages + 3, "tag")
        operand = Signal(operand_layout(), name="row_operand", reset_less=True)
        with m.If(tag.valid):
            m.d.sync += [
                operand.word.eq(self.rows.payload.word),
                operand.value.eq(self.awaited.value),
                self.address.eq(word),
            ]
        m.d.comb += self.down.eq(tags[1].valid & (tags[1].matrix == Matrix.DOWN))
        self._multiply(m, tags, operand, word)
        self._sum(m, tags)
        *ends, given, gone = (tag.valid & tag.final for tag in tags[1:])
        late = delayed(m, operand, len(ends), "operand", Cat(ends), reset_less=True)
        with m.If(given):
            m.d.sync += self.operand.eq(late)
        with m.Elif(gone):
            m.d.sync += self.operand.word.eq(0)
        m.d.comb += self.tag.eq(tags[-1])
        return m

    @property
    def _word_bits(self) -> int:
        """Bits of the number of a beat in its row."""
        config = self.config
        words = max(config.x_words, config.z_words) if config.predictor else config.x_words
        return address_bits(words)

    def _sequence(self, m: Module, tag: data.View, word: Signal) -> None:
        """Which beat is next, whether it can be taken, and whether it is what it should be."""
        rows, awaited = self.rows, self.awaited
        burst = _Burst(m, self)
        last = Signal.like(word)
        row = Signal.like(rows.payload.row, name="expected_row")
        apart = Signal()
        wrong_row = Signal()
        m.d.comb += [
            apart.eq((awaited.matrix != Matrix.DOWN) | ~self.down | (self.x_last != 0)),
            tag.matrix.eq(Mux(burst.any, Mux(burst.a, Matrix.A, Matrix.B), awaited.matrix)),
            row.eq(Mux(burst.any, burst.row, awaited.neuron)),
            last.eq(Mux(burst.b, self.z.last, self.x_last)),
            rows.ready.eq(self.running & Mux(burst.any, burst.asked, self.awaited_valid & apart)),
            tag.valid.eq(rows.valid & rows.ready),
            tag.first.eq(word == 0),
            tag.final.eq(word == last),
            tag.end.eq(burst.any & burst.last),
            self.beat.eq(tag.valid),
            self.row.eq(tag.valid & tag.final),
            self.received.eq(self.row & ~burst.any),
            self.down_done.eq(self.row & (tag.matrix == Matrix.DOWN)),
            wrong_row.eq((rows.payload.matrix != tag.matrix) | (rows.payload.row != row)),
            self.wrong.eq(tag.valid & (wrong_row | (rows.payload.last != tag.final))),
        ]
        with m.If(tag.valid):
            m.d.sync += word.eq(Mux(tag.final, 0, word + 1))
        burst.follow(m)

    def _multiply(self, m: Module, tags: list[data.View], operand: data.View, word: Signal) -> None:
        """Each element of a beat times x, z or h; without a beat all operands hold."""
        accepted, tag, *_ = tags
        config, lanes = self.config, range(self.config.lanes)
        memory = memory_of(m, "x_words", config.lanes * OPERAND_BITS, config.x_words)
        write = memory.write_port()
        read = memory.read_port()
        values = Signal(config.lanes * OPERAND_BITS, reset_less=True)
        with m.If(accepted.valid):
            m.d.sync += values.eq(self.rows.payload.value.as_value())
        m.d.comb += [
            write.en.eq(self.x_write.enable),
            write.addr.eq(self.x_write.address),
            write.data.eq(self.x_write.word),
            read.en.eq(accepted.valid),
            read.addr.eq(word),
            self.z_address.eq(word),
        ]
        factors = Signal.like(values)
        h = operand.value[:OPERAND_BITS]
        with m.If(self.down):
            m.d.comb += factors.eq(Cat(h for _ in lanes))
        with m.Elif((tag.matrix == Matrix.B) & config.predictor):
            m.d.comb += factors.eq(self.z_word)
        with m.Else():
            m.d.comb += factors.eq(read.data)
        products = Signal.like(self.products, name="product_register", reset_less=True)
        for lane in lanes:
            value, factor = (
                v.word_select(lane, OPERAND_BITS).as_signed() for v in (values, factors)
            )
            product = Signal(signed(PRODUCT_BITS), name=f"product_{lane}")
            m.d.comb += product.eq(value * factor)
            with m.If(tag.valid):
                m.d.sync += products.word_select(lane, PRODUCT_BITS).eq(product)
        m.d.comb += self.products.eq(products)

    def _sum(self, m: Module, tags: list[data.View]) -> None:
        """Tree of adders, a register behind three levels of them, and the accumulator."""
        lanes, stages = range(self.config.lanes), range(self.config.tree_stages)
        terms = [self.products.word_select(lane, PRODUCT_BITS).as_signed() for lane in lanes]
        for stage in stages:
            sums: list[Signal] = []
            each = TREE_FAN_IN**stage  # lanes of a term
            of = min(TREE_FAN_IN * each, len(lanes))
            for i in range(0, len(terms), TREE_FAN_IN):
                total = binary_tree(terms[i : i + TREE_FAN_IN], _Named(m, each, i))
                name = f"sum_of_{of}_{len(sums)}"
                sums.append(Signal(total.shape(), name=name, reset_less=True))
                with m.If(tags[stage + 2].valid):
                    m.d.sync += sums[-1].eq(total)
            terms = sums
        tag = tags[-2]
        dot = Signal(self.dot.shape(), name="accumulator", reset_less=True)
        with m.If(tag.valid):
            m.d.sync += dot.eq(Mux(tag.first, 0, dot) + terms[0])
        m.d.comb += self.dot.eq(dot)


class _Named:
    """Gives partial sums of the tree names, by how many lanes they sum and which ones.

    Parameters
    ----------
    m
        The module.
    each
        Lanes of a term.
    first
        The first term.
    """

    def __init__(self, m: Module, each: int, first: int):
        self.m, self.each, self.first = m, each, first

    def __call__(self, total: Value, terms: int, place: int) -> Signal:
        """A sum of so many terms, and its place among those."""
        name = f"sum_of_{terms * self.each}_{self.first // terms + place}"
        partial = Signal(total.shape(), name=name)
        self.m.d.comb += partial.eq(total)
        return partial


class _Burst:
    """Rows of A, then of B, where there are any."""

    def __init__(self, m: Module, engine: RowEngine):
        self.engine = engine
        self.a = Signal(name="in_a")
        self.b = Signal(name="in_b")
        self.any = Signal(name="in_burst")
        self.asked = Signal(name="burst_asked")
        self.last = Signal(name="burst_last")
        self.row = Signal(engine.config.row_bits, name="burst_row")
        self.row_taken = Signal(name="burst_row_taken")
        if not engine.config.predictor:
            return
        token, asked = engine.token, engine.asked
        final = Signal(engine.config.count_bits + 1, name="burst_final_row")
        m.d.comb += [
            final.eq(Mux(self.a, token.rank, token.neurons) - 1),
            self.row_taken.eq(engine.row & self.any),
            self.any.eq(self.a | self.b),
            self.asked.eq(Mux(self.a, asked[0], asked[1] & engine.z.ready)),
            self.last.eq(self.row == final),
        ]

    def follow(self, m: Module) -> None:
        """Go on to the next row, and from A to B."""
        engine = self.engine
        if not engine.config.predictor:
            return
        with m.If(self.row_taken):
            m.d.sync += self.row.eq(Mux(self.last, 0, self.row + 1))
            with m.If(self.last):
                m.d.sync += [self.a.eq(0), self.b.eq(self.a)]
        with m.If(engine.start):
            m.d.sync += self.a.eq(1)
