"""Properties of the parts of the neuron-skipping FFN, for :mod:`nibbleforge.sim.verify.formal`.

Their queues take what comes without asking for room. That there is room follows from how much may
be under way; what the surroundings contribute to that is assumed here.
"""

from amaranth.hdl import Assume, Elaboratable, Module, Signal, Value

from ..golden.reglu.config import Matrix
from ..hw.reglu.predictor import NeuronPredictor
from ..hw.reglu.requests import Requester
from .properties import HandshakeProperties, prove, reach, set_free


class RequesterProperties(HandshakeProperties):
    """The requester beside rows that come in order, each with one result, at any later time.

    Assumed: a token starts when the one before is done; a row is received only if it is awaited;
    a gate or an up row gives its result after it has been received, a down row is done with it.
    """

    def __init__(self, unit: Requester):
        super().__init__(unit)

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        unit = self.unit
        assume_starts(m, unit.start, unit.quiet)
        m.d.comb += Assume(~unit.received | unit.awaited_valid, "what is received was awaited")
        matrix = unit.awaited.matrix
        m.d.comb += Assume(
            unit.down_done == (unit.received & (matrix == Matrix.DOWN)), "a down row is done"
        )
        for name, kind, done in (
            ("gate", Matrix.GATE, unit.gate_done),
            ("up", Matrix.UP, unit.up_done),
        ):
            due = Signal(range(unit.config.in_flight + 2), name=f"{name}_due")
            m.d.sync += due.eq(due + (unit.received & (matrix == kind)) - done)
            m.d.comb += Assume(~done | (due != 0), f"a result of {name} is due")
            reach(m, f"all rows are of {name}", due == unit.config.in_flight)
        return m


class PredictorProperties(Elaboratable):
    """The predictor beside scores of up to as many neurons as there may be.

    Assumed: a token starts when all neurons of the one before are taken; its scores come after
    that, at most ``max_neurons`` of them and none after the final one.
    """

    def __init__(self, unit: NeuronPredictor):
        self.unit = unit

    def elaborate(self, platform: object) -> Module:
        m = Module()
        unit = self.unit
        neurons = unit.config.max_neurons
        set_free(m, unit)
        assume_starts(m, unit.start, unit.candidate.ended)
        scores = Signal(range(neurons + 1))  # still to come, at most
        with m.If(unit.start):
            m.d.sync += scores.eq(neurons)
        with m.Elif(unit.score_done):
            m.d.sync += scores.eq(scores - 1)
            with m.If(unit.score_end):
                m.d.sync += scores.eq(0)
        m.d.comb += [
            Assume(~unit.score_done | (scores != 0), "a score is due"),
            Assume(~unit.score_done | unit.score_end | (scores != 1), "the final score ends"),
            Assume(~unit.take | unit.candidate.valid, "what is taken is there"),
        ]
        waits, neuron = Signal(), Signal.like(unit.candidate.neuron)
        m.d.sync += [
            waits.eq(unit.candidate.valid & ~unit.take & ~unit.start),
            neuron.eq(unit.candidate.neuron),
        ]
        prove(m, "a candidate stays", ~waits | unit.candidate.valid)
        prove(m, "a candidate stays the same", ~waits | (unit.candidate.neuron == neuron))
        reach(m, "a candidate waits", waits & unit.take)
        reach(m, "the last neuron is taken", unit.take & (unit.candidate.neuron == neurons - 1))
        return m


def assume_starts(m: Module, start: Value, done: Value) -> None:
    """A token starts when there is none, or the one before is done."""
    busy = Signal()
    with m.If(start):
        m.d.sync += busy.eq(1)
    with m.Elif(done):
        m.d.sync += busy.eq(0)
    m.d.comb += Assume(~start | ~busy, "a token starts when the one before is done")
