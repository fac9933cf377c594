"""Formal proofs that what waits stays, unchanged, until it is accepted: units and their queues.

All inputs are free in every cycle, sources may withdraw what they offer, and a reset may come at
any time.
"""

import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from nibbleforge.golden import bitmap
from nibbleforge.golden.nm import unit as nm
from nibbleforge.golden.nm.config import NMConfig
from nibbleforge.golden.sparqle import unit as sparqle
from nibbleforge.golden.sparqle.config import SparqleConfig
from nibbleforge.hw.lib.queues import Queue, QueueConfig, place_queue
from nibbleforge.hw.nm.array import NMArray
from nibbleforge.hw.sparqle.array import SparqleArray
from nibbleforge.sim.verify import formal
from nibbleforge.tb.goals import Settings
from nibbleforge.tb.properties import Faulty, HandshakeProperties, QueueProperties

GOALS = [goal for goal in formal.GOALS if goal.design not in (bitmap.DECODER, bitmap.ENCODER)]


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: goal.name)
def test_every_claim_holds(goal, tmp_path):
    claims = formal.claims(goal, tmp_path)
    assert claims
    assert not [claim for claim in claims if claim.status != "PASS"]
    assert {claim.depth is None for claim in claims} == {goal.settings.mode == "prove"}


def test_arrays_and_parts_are_proved_for_all_runs():
    proved = {goal.subject for goal in GOALS if goal.settings.mode == "prove"}
    assert proved == {
        "sparqle_array",
        "nm_array",
        "dequantizer",
        "anda_compressor",
        "ListDecoder",
        "NeuronPredictor",
        "Requester",
        "OutputSums",
        "Queue",
    }
    tiny = {goal.subject for goal in GOALS if goal.config in (
        sparqle.UNIT.presets["tiny"], nm.UNIT.presets["tiny"])}  # fmt: skip
    assert tiny >= {"sparqle_array", "nm_array"}


# --- negative controls: what is broken must fail ----------------------------------------------


def error_rises_while_it_waits(m, outer, inner):
    """What comes after the tile is blamed on the rows that wait."""
    seen = Signal()
    m.d.sync += seen.eq(seen | (inner.events.w_beats & outer.y.valid & ~outer.y.ready))
    m.d.comb += outer.y.payload.error.eq(inner.y.payload.error | seen)


def withdrawn(m, outer, inner):
    refused = Signal()
    m.d.sync += refused.eq(outer.y.valid & ~outer.y.ready)
    m.d.comb += outer.y.valid.eq(inner.y.valid & ~refused)
    m.d.comb += inner.y.ready.eq(outer.y.ready & ~refused)


ARRAYS = {
    "sparqle": lambda: SparqleArray(
        SparqleConfig(rows=2, columns=1, k=2, group=4, beat=1, chunk=4, max_k=4)
    ),
    "nm": lambda: NMArray(NMConfig(rows=2, columns=2, span=1, max_k=8)),
}
FAULTS = {error_rises_while_it_waits: "y stays the same", withdrawn: "y stays valid"}


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_broken_array_fails(array, fault, tmp_path):
    properties = HandshakeProperties(Faulty(ARRAYS[array](), fault))
    result = formal.check(properties, Settings("bmc", "abc bmc3", depth=16), tmp_path)
    assert result.status == "FAIL"
    assert FAULTS[fault] in result.failed


class WrongQueue(Queue):
    """A queue whose head is the entry that was pushed last."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(self.config)
        newest = Signal(len(self.entry))
        for name in ("push", "entry", "pop"):
            m.d.comb += getattr(queue, name).eq(getattr(self, name))
        m.d.sync += newest.eq(Mux(self.push, self.entry, newest))
        m.d.comb += [self.valid.eq(queue.valid), self.head.eq(newest), self.room.eq(queue.room)]
        return m


@pytest.mark.parametrize("storage", ["memory", "registers"])
def test_a_broken_queue_fails(storage, tmp_path):
    queue = WrongQueue(QueueConfig(width=2, depth=3, storage=storage))
    result = formal.check(QueueProperties(queue), Settings(), tmp_path)
    assert result.status == "FAIL"


class QueueUser(wiring.Component):
    """Pushes what comes, pops when told: with ``careful`` only where it may."""

    def __init__(self, careful):
        self.careful = careful
        super().__init__({"push": In(1), "pop": In(1)})

    def elaborate(self, platform):
        m = Module()
        queue = Queue(QueueConfig(width=1, depth=2))
        place_queue(m, platform, "mine", queue)
        room, valid = (queue.room, queue.valid) if self.careful else (1, 1)
        m.d.comb += [queue.push.eq(self.push & room), queue.pop.eq(self.pop & valid)]
        return m


FAILURES = {"mine has room for what is pushed", "mine has what is popped"}


@pytest.mark.parametrize("careful", [True, False])
def test_who_pushes_without_room_fails(careful, tmp_path):
    result = formal.check(HandshakeProperties(QueueUser(careful)), Settings(), tmp_path)
    assert set(result.names) == FAILURES
    assert result.passed == careful
    assert careful or set(result.failed) <= FAILURES
