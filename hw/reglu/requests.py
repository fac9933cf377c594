"""Which rows the neuron-skipping FFN asks for, in an order that depends on data alone."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, ValueLike
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ...golden.contract.ports import port_of
from ...golden.reglu.config import MATRIX_BITS, OPERAND_BITS, Matrix, RegluConfig, ports
from ..lib.base import Part, payload_layout
from ..lib.queues import Records
from ..lib.streams import payload_registers

MATRIX_CODES = {"matrix": {int(matrix): f"MATRIX_{matrix.name}" for matrix in Matrix}}
"""Names of what numbers of matrices stand for, in Verilog."""

G16_BITS = 15
"""Bits of g16 of a neuron that survives its gate: it is not negative."""


def neuron_bits(config: RegluConfig) -> int:
    """Bits of a neuron's number."""
    return max(1, (config.max_neurons - 1).bit_length())


def token_layout(config: RegluConfig) -> data.StructLayout:
    """How many rows a token needs of B, and of A."""
    rank = {"rank": config.max_rank.bit_length()} if config.predictor else {}
    return data.StructLayout({"neurons": config.max_neurons.bit_length(), **rank})


def candidate_layout(config: RegluConfig) -> data.StructLayout:
    """The next predicted neuron, if it is there; whether there are no more of them."""
    return data.StructLayout({"valid": 1, "neuron": neuron_bits(config), "ended": 1})


def result_layout(bits: int) -> data.StructLayout:
    """Whether a neuron survives its gate or its up row, and what it goes on with."""
    return data.StructLayout({"alive": 1, "value": bits})


def row_layout(config: RegluConfig) -> data.StructLayout:
    """A row of gate, up or down; ``value`` is what goes with it: g16 with up, h with down."""
    return data.StructLayout(
        {"matrix": MATRIX_BITS, "neuron": neuron_bits(config), "value": G16_BITS}
    )


class Requester(Part[RegluConfig]):
    """Asks for A, for B, then for rows of gate, up and down, by the rule of the unit.

    Works from the cycle after ``start`` until ``quiet``. ``asked`` tells whether A and B have been
    asked for; ``awaited`` is the oldest other row that has been, until ``received``. Results come
    with their strobes and wait to be applied.
    """

    codes = MATRIX_CODES

    def __init__(self, config: RegluConfig):
        request = port_of(ports(config), "request")
        super().__init__(
            config,
            {
                "start": In(1),
                "token": In(token_layout(config)),
                "candidate": In(candidate_layout(config)),
                "take": Out(1),
                "request": Out(stream.Signature(payload_layout(request))),
                "asked": Out(2),
                "awaited_valid": Out(1),
                "awaited": Out(row_layout(config)),
                "received": In(1),
                "gate_done": In(1),
                "gate": In(result_layout(G16_BITS)),
                "up_done": In(1),
                "up": In(result_layout(OPERAND_BITS)),
                "down_done": In(1),
                "quiet": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        survivors = Records(m, platform, "survivors", self._neuron(G16_BITS), config.survivors)
        hidden = Records(m, platform, "hidden", self._neuron(OPERAND_BITS), config.in_flight)
        ask = Signal()
        ask_other = Signal()  # for up or down
        row = Signal(row_layout(config))
        apply = Signal()
        results = _Results(m, platform, self, ask, row, apply)
        rows, free = self._request(m, ask, row)

        used = Signal(range(config.survivors + 1))
        want_gate = Signal()
        eligible = Signal()
        m.d.comb += [
            want_gate.eq(~self.candidate.ended & (used != config.survivors)),
            eligible.eq(want_gate | hidden.valid | survivors.valid),
            apply.eq(rows & (results.full | ~eligible)),
            ask.eq(rows & eligible & ~results.full & free & (~want_gate | self.candidate.valid)),
            self.take.eq(ask & want_gate),
            ask_other.eq(ask & ~want_gate),
            hidden.pop.eq(ask_other & hidden.valid),
            survivors.pop.eq(ask_other & ~hidden.valid),
            self.quiet.eq(rows & ~eligible & self.candidate.ended & results.none),
        ]
        with m.If(self.quiet):
            m.d.sync += rows.eq(0)
        self._choose(m, row, want_gate, hidden, survivors)
        results.survive(m, survivors, hidden)
        m.d.sync += used.eq(used + self.take - results.dead_gate - survivors.pop)
        self._await(m, platform, ask, row)
        return m

    def _neuron(self, bits: int) -> data.StructLayout:
        """A neuron and what it goes on with."""
        return data.StructLayout({"neuron": neuron_bits(self.config), "value": bits})

    def _request(self, m: Module, ask: Signal, row: data.View) -> tuple[Signal, Signal]:
        """The register that offers a request: whether rows are asked for, and can be."""
        free = Signal()
        request = payload_registers(m, self.request.payload, "request")
        m.d.comb += free.eq(~self.request.valid | self.request.ready)
        with m.If(self.request.ready):
            m.d.sync += self.request.valid.eq(0)
        with m.If(ask):
            self._load(m, request, row.matrix, row.neuron, 1)
        return self._bursts(m, free, request), free

    def _load(
        self, m: Module, request: Any, matrix: ValueLike, row: ValueLike, count: ValueLike
    ) -> None:
        m.d.sync += [
            self.request.valid.eq(1),
            request.matrix.eq(matrix),
            request.row.eq(row),
            request.count.eq(count),
        ]

    def _bursts(self, m: Module, free: Signal, request: Any) -> Signal:
        """Ask for A, then for B; whether single rows can be asked for."""
        rows = Signal(name="asks_rows")
        if not self.config.predictor:
            m.d.comb += self.asked.eq(0)
            with m.If(self.start):
                m.d.sync += rows.eq(1)
            return rows
        a = Signal(name="asks_a")
        b = Signal(name="asks_b")
        loads_a = Signal()
        loads_b = Signal()
        m.d.comb += [loads_a.eq(a & free), loads_b.eq(b & free)]
        with m.If(self.start):
            m.d.sync += a.eq(1)
        with m.If(loads_a):
            m.d.sync += [a.eq(0), b.eq(1)]
            self._load(m, request, Matrix.A, 0, self.token.rank)
        with m.If(loads_b):
            m.d.sync += [b.eq(0), rows.eq(1)]
            self._load(m, request, Matrix.B, 0, self.token.neurons)
        m.d.comb += self.asked.eq(Cat(b | rows, rows))
        return rows

    def _choose(
        self, m: Module, row: data.View, want_gate: Signal, hidden: Records, survivors: Records
    ) -> None:
        """The row that is next: a gate, else a down, else an up."""
        up, down = survivors.head, hidden.head
        matrix = Mux(want_gate, Matrix.GATE, Mux(hidden.valid, Matrix.DOWN, Matrix.UP))
        neuron = Mux(hidden.valid, down.neuron, up.neuron)
        m.d.comb += [
            row.matrix.eq(matrix),
            row.neuron.eq(Mux(want_gate, self.candidate.neuron, neuron)),
            row.value.eq(Mux(want_gate, 0, Mux(hidden.valid, down.value, up.value))),
        ]

    def _await(self, m: Module, platform: object, ask: Signal, row: data.View) -> None:
        """Rows on their way, for who receives them."""
        awaited = Records(m, platform, "awaited_rows", row.shape(), self.config.in_flight)
        m.d.comb += [
            awaited.push.eq(ask),
            awaited.entry.eq(row),
            awaited.pop.eq(self.received),
            self.awaited_valid.eq(awaited.valid),
            self.awaited.eq(awaited.head),
        ]


class _Results:
    """Results of the rows asked for, applied in the order of the requests.

    ``full`` and ``none``: as many rows as may be, or none, are asked for and not yet applied.
    """

    def __init__(
        self,
        m: Module,
        platform: object,
        requester: Requester,
        ask: Signal,
        row: data.View,
        apply: Signal,
    ):
        config = requester.config
        depth = config.in_flight
        layout = data.StructLayout({"matrix": MATRIX_BITS, "neuron": neuron_bits(config)})
        rows = Records(m, platform, "unapplied", layout, depth)
        gates = Records(m, platform, "gates", result_layout(G16_BITS), depth)
        ups = Records(m, platform, "ups", result_layout(OPERAND_BITS), depth)
        downs = Signal(range(depth + 1))
        count = Signal(range(depth + 1))
        down = Signal()
        self.neuron, self.gate, self.up = rows.head.neuron, gates, ups
        self.full = Signal()
        self.none = Signal()
        self.dead_gate = Signal()
        of_gate = Signal()
        of_up = Signal()
        of_down = Signal()
        matrix = rows.head.matrix
        m.d.comb += [
            of_gate.eq(rows.valid & (matrix == Matrix.GATE)),
            of_up.eq(rows.valid & (matrix == Matrix.UP)),
            of_down.eq(rows.valid & (matrix == Matrix.DOWN)),
            rows.push.eq(ask),
            rows.entry.matrix.eq(row.matrix),
            rows.entry.neuron.eq(row.neuron),
            rows.pop.eq(gates.pop | ups.pop | down),
            gates.push.eq(requester.gate_done),
            gates.entry.eq(requester.gate),
            gates.pop.eq(apply & of_gate & gates.valid),
            ups.push.eq(requester.up_done),
            ups.entry.eq(requester.up),
            ups.pop.eq(apply & of_up & ups.valid),
            down.eq(apply & of_down & (downs != 0)),
            self.full.eq(count == depth),
            self.none.eq(count == 0),
            self.dead_gate.eq(gates.pop & ~gates.head.alive),
        ]
        m.d.sync += [
            downs.eq(downs + requester.down_done - down),
            count.eq(count + ask - rows.pop),
        ]

    def survive(self, m: Module, survivors: Records, hidden: Records) -> None:
        """A neuron that lives on waits for its up row to be asked for, or its down row."""
        for result, queue in ((self.gate, survivors), (self.up, hidden)):
            m.d.comb += [
                queue.push.eq(result.pop & result.head.alive),
                queue.entry.neuron.eq(self.neuron),
                queue.entry.value.eq(result.head.value),
            ]
