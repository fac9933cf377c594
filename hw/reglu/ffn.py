"""Neuron-skipping ReGLU FFN."""

from amaranth.hdl import Module, Mux, Signal

from ...golden.reglu.config import Matrix, RegluConfig
from ...golden.reglu.unit import REGLU_FFN
from ..lib.base import Unit, connect
from ..lib.emission import place
from ..lib.memories import address_bits
from ..lib.streams import payload_registers
from .predictor import NeuronCounter, NeuronPredictor
from .requests import MATRIX_CODES, Requester, token_layout
from .rows import RowEngine
from .sums import OutputSums
from .values import NeuronValues, factor_layout


class RegluFFN(Unit[RegluConfig]):
    """ReGLU FFN that reads only rows of neurons that add to its outputs, and of those predicted to.

    ``x`` brings a token, L features a beat; its first beat brings the number of neurons D, the rank
    r of the predictor and the factor to h. ``request`` asks for rows of A, B, gate, up and down
    (down stored transposed), and ``rows`` must bring them in that order, L elements a beat, 0
    beyond a row's end, the row's factor or threshold on its final beat. ``y`` gives the sums.

    * Equation: ``z8 = A x``, ``p = B z8``; of neurons whose p exceeds their threshold (without
      predictor, of all) ``g = gate x``; where ``g > 0``, ``u = up x``; unless ``u <= 0`` (double
      ReLU only), ``y += h * down``, h from ``g16 * u16``: integers and roundings of
      :mod:`nibbleforge.golden.reglu.ffn`.
    * Throughput: L multiplications a cycle, ``ceil(d/L)`` cycles a row, ``ceil(r/L)`` one of B.
    * Latency: with T = ``tree_stages``, a row whose final beat is taken in cycle t has its dot
      product in t + T + 3. z8 can be read from t + T + 6 on, when the first beat of B may come; a
      word of the mask is offered to the decoder, see :class:`nibbleforge.hw.bitmap.BitmapDecoder`,
      from t + T + 5 on; the result of a gate is there from t + T + 6 on, of an up from t + T + 9
      on, of a down from t + 1 on.
    * Token: with its first beat of x in cycle a and its last one in e, rows are taken from e + 1
      on. In the first cycle q in which the mask is decoded to its end, every result is applied
      and no neuron waits, all is done: y is there from q + 2 on, a beat a cycle, and the next
      token's x is taken from the cycle after y's last beat on.
    * Requests: one action a cycle, A in a + 1, B next. Then in every cycle: if ``in_flight`` rows
      of gate, up and down are asked for whose results have not been applied, or none can be asked
      for, the oldest result is applied as soon as it is there. Otherwise the next predicted
      neuron's gate is asked for (its index awaited) if fewer than ``survivors`` neurons are between
      their gate's request and their up's; otherwise the down of the neuron that has waited for it
      longest; otherwise the up of the neuron that has. A request made in cycle c is offered from c
      + 1 on; the next one can be made in the cycle in which it is accepted. So the order of
      requests depends on data alone.

    Stalls while rows are missing, between A and B until z8 is there, with ``d <= L`` a cycle
    between rows of down, and while consumers of requests or outputs are not ready. A row that is
    not the one asked for, or ends elsewhere, counts as that one, and all of the token's beats of y
    have ``error`` set.

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.reglu.config.RegluConfig`.
    """

    codes = MATRIX_CODES

    def __init__(self, config: RegluConfig):
        super().__init__(config, REGLU_FFN)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        token = _Token(config)
        requester, rows, values = Requester(config), RowEngine(config), NeuronValues(config)
        neurons = NeuronPredictor(config) if config.predictor else NeuronCounter(config)
        sums = OutputSums(config)
        place(m, platform, "requester", requester)
        place(m, platform, "row_engine", rows)
        place(m, platform, "values", values)
        place(m, platform, "candidates", neurons)
        place(m, platform, "output_sums", sums)

        self._take_token(m, token)
        self._request(m, token, requester, neurons)
        self._take_rows(m, token, rows, requester)
        self._evaluate(m, token, rows, values, requester)
        if isinstance(neurons, NeuronPredictor):
            self._predict(m, rows, values, neurons)
        self._sum(m, token, rows, sums)
        with m.If(requester.quiet):
            m.d.sync += token.running.eq(0)
        with m.If(sums.done):
            m.d.sync += token.loading.eq(1)
        m.d.comb += sums.drain.eq(requester.quiet)
        return m

    def _take_token(self, m: Module, token: "_Token") -> None:
        """The beats of x; the first one brings what holds for the token."""
        x = self.x
        m.d.comb += [
            x.ready.eq(token.loading),
            token.load.eq(x.valid & token.loading),
            token.start.eq(token.load & (token.place == 0)),
        ]
        with m.If(token.load):
            m.d.sync += [
                token.place.eq(Mux(x.payload.last, 0, token.place + 1)),
                token.last.eq(token.place),
                token.loading.eq(~x.payload.last),
                token.running.eq(x.payload.last),
            ]
        size = payload_registers(m, token.size, "token")
        to_h = payload_registers(m, token.to_h, "to_h")
        with m.If(token.start):
            m.d.sync += [
                size.neurons.eq(x.payload.neurons),
                to_h.mult.eq(x.payload.h_mult),
                to_h.shift.eq(x.payload.h_shift),
            ]
            if self.config.predictor:
                m.d.sync += size.rank.eq(x.payload.rank)

    def _request(
        self,
        m: Module,
        token: "_Token",
        requester: Requester,
        neurons: NeuronPredictor | NeuronCounter,
    ) -> None:
        """Rows are asked for, of neurons one after the other."""
        connect(m, requester.request, self.request)
        m.d.comb += [
            requester.start.eq(token.start),
            requester.token.eq(token.size),
            requester.candidate.eq(neurons.candidate),
            neurons.start.eq(token.start),
            neurons.take.eq(requester.take),
            self.events.requests.eq(self.request.valid & self.request.ready),
            self.events.predicted.eq(requester.take),
            self.events.stall_request.eq(self.request.valid & ~self.request.ready),
        ]
        if isinstance(neurons, NeuronCounter):
            m.d.comb += neurons.neurons.eq(token.size.neurons)

    def _take_rows(self, m: Module, token: "_Token", rows: RowEngine, requester: Requester) -> None:
        """Rows arrive; a wrong one is an error of the token."""
        connect(m, self.rows, rows.rows)
        m.d.comb += [
            rows.start.eq(token.start),
            rows.running.eq(token.running),
            rows.token.eq(token.size),
            rows.x_write.enable.eq(token.load),
            rows.x_write.address.eq(token.place),
            rows.x_write.word.eq(self.x.payload.value.as_value()),
            rows.x_last.eq(token.last),
            rows.asked.eq(requester.asked),
            rows.awaited_valid.eq(requester.awaited_valid),
            rows.awaited.eq(requester.awaited),
            requester.received.eq(rows.received),
            requester.down_done.eq(rows.down_done),
            self.events.row_beats.eq(rows.beat),
            self.events.rows.eq(rows.row),
            self.events.macs.eq(Mux(rows.beat, self.config.lanes, 0)),
            self.events.stall_rows.eq(token.running & ~rows.beat),
        ]
        with m.If(token.start):
            m.d.sync += token.error.eq(0)
        with m.Elif(rows.wrong):
            m.d.sync += token.error.eq(1)

    def _evaluate(
        self,
        m: Module,
        token: "_Token",
        rows: RowEngine,
        values: NeuronValues,
        requester: Requester,
    ) -> None:
        """Dot products become what neurons go on with, or their end."""
        m.d.comb += [
            values.tag.eq(rows.tag),
            values.operand.eq(rows.operand),
            values.dot.eq(rows.dot),
            values.to_h.eq(token.to_h),
            requester.gate_done.eq(values.gate_done),
            requester.gate.eq(values.gate),
            requester.up_done.eq(values.up_done),
            requester.up.eq(values.up),
            self.events.gate_survivors.eq(values.gate_done & values.gate.alive),
            self.events.false_positives.eq(values.gate_done & ~values.gate.alive),
            self.events.survivors.eq(values.up_done & values.up.alive),
        ]

    def _predict(
        self, m: Module, rows: RowEngine, values: NeuronValues, neurons: NeuronPredictor
    ) -> None:
        """Rows of A give z, rows of B scores."""
        m.d.comb += [
            neurons.z_done.eq(values.z_done),
            neurons.z.eq(values.z),
            neurons.z_end.eq(values.z_end),
            neurons.z_address.eq(rows.z_address),
            rows.z_word.eq(neurons.z_word),
            rows.z.ready.eq(neurons.z_ready),
            rows.z.last.eq(neurons.z_last),
            neurons.score_done.eq(rows.tag.valid & rows.tag.final & (rows.tag.matrix == Matrix.B)),
            neurons.score.eq(rows.dot),
            neurons.threshold.eq(rows.operand.word),
            neurons.score_end.eq(rows.tag.end),
        ]

    def _sum(self, m: Module, token: "_Token", rows: RowEngine, sums: OutputSums) -> None:
        """Rows of down add to y, which leaves when there are no more of them."""
        connect(m, sums.y, self.y)
        m.d.comb += [
            sums.clear.eq(token.load),
            sums.place.eq(token.place),
            sums.add.eq(rows.down),
            sums.address.eq(rows.address),
            sums.products.eq(rows.products),
            sums.last.eq(token.last),
            sums.error.eq(token.error),
            self.events.tokens.eq(sums.done),
            self.events.y_beats.eq(self.y.valid & self.y.ready),
            self.events.stall_out.eq(self.y.valid & ~self.y.ready),
        ]


class _Token:
    """What is known of the token under work, and how far it is."""

    def __init__(self, config: RegluConfig):
        self.loading = Signal(init=1)
        self.running = Signal()
        # a beat of x; the first one
        self.load = Signal()
        self.start = Signal()
        self.place = Signal(address_bits(config.x_words))
        self.last = Signal.like(self.place, name="last_place")
        self.size = Signal(token_layout(config), name="token_size")
        self.to_h = Signal(factor_layout())
        self.error = Signal(name="token_error")
