"""BitmapDecoder and BitmapEncoder: formal proofs of handshakes, order, completeness and values.

All inputs are free in every cycle and a reset may come at any time: nothing is assumed.
"""

import re
from dataclasses import replace

import pytest
from amaranth.hdl import Assert, Cover, Module, Mux, Signal, Value
from amaranth.lib import wiring
from nibbleforge.golden import bitmap
from nibbleforge.golden.bitmap import BitmapConfig
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.hw.bitmap import BitmapDecoder, BitmapEncoder
from nibbleforge.hw.units import component
from nibbleforge.sim.tools import toolchain
from nibbleforge.sim.verify import formal
from nibbleforge.tb.goals import Goal, Settings
from nibbleforge.tb.properties import Faulty
from nibbleforge.tb.properties_bitmap import DecoderProperties, EncoderProperties

SMALL = BitmapConfig(group=4, beat=2, width=2, value_width=1)
GOALS = [goal for goal in formal.GOALS if goal.design in (bitmap.DECODER, bitmap.ENCODER)]
SHORT = Settings("bmc", "smtbmc z3", depth=12)


# --- the units --------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: goal.name)
def test_every_claim_holds(goal, tmp_path):
    """Prove and bmc: the unit is its specification; cover: what the proof speaks of can happen.

    Paths: no output of a stream hangs on an input in the same cycle, no ready on its own offer.
    """
    claims = formal.claims(goal, tmp_path)
    assert claims
    assert not [claim for claim in claims if claim.status != "PASS"]
    assert {claim.depth is None for claim in claims} == {
        goal.settings is None or goal.settings.mode == "prove"
    }


def test_paths_of_every_port_are_claimed():
    goals = [goal for goal in GOALS if goal.settings is None and goal.config.group == 8]
    found = [claim for goal in goals for claim in formal.claims(goal)]
    table = [(claim.design, claim.property) for claim in found]
    assert table == [
        ("bitmap_decoder", "offer of pairs comes from registers"),
        ("bitmap_decoder", "ready of bitmap does not wait for its offer"),
        ("bitmap_decoder", "ready of values does not wait for its offer"),
        ("bitmap_encoder", "offer of bitmap comes from registers"),
        ("bitmap_encoder", "offer of values comes from registers"),
        ("bitmap_encoder", "ready of dense does not wait for its offer"),
    ]


def test_goals_prove_and_cover_every_design_and_mode():
    for mode in ("prove", "cover", None):
        goals = [g for g in GOALS if mode == (g.settings and g.settings.mode)]
        kinds = {(g.design.name, g.config.mode, bool(g.config.value_width)) for g in goals}
        decoders = {("gather", True), ("gather", False), ("scatter", True)}
        assert {("bitmap_decoder", *kind) for kind in decoders} <= kinds
        assert any(name == "bitmap_encoder" for name, *_ in kinds)


# --- negative controls: what is broken must fail ----------------------------------------------


def passes(port):
    return port.valid & port.ready


def every_other(m, event):
    odd = Signal()
    m.d.sync += odd.eq(odd ^ event)
    return odd


def withdraws_what_it_offers(m, outer, inner):
    refused = Signal()
    m.d.sync += refused.eq(outer.pairs.valid & ~outer.pairs.ready)
    m.d.comb += outer.pairs.valid.eq(inner.pairs.valid & ~refused)
    m.d.comb += inner.pairs.ready.eq(outer.pairs.ready & ~refused)


def offers_again(m, outer, inner):
    odd = every_other(m, passes(outer.pairs))
    m.d.comb += inner.pairs.ready.eq(outer.pairs.ready & odd)


def loses_words(m, outer, inner):
    odd = every_other(m, passes(outer.bitmap))
    m.d.comb += inner.bitmap.valid.eq(outer.bitmap.valid & ~odd)
    m.d.comb += outer.bitmap.ready.eq(inner.bitmap.ready | odd)


def overflows(m, outer, inner):
    m.d.comb += outer.bitmap.ready.eq(1)


def swaps_values(m, outer, inner):
    for i in range(2):
        m.d.comb += inner.values.payload.value[i].eq(outer.values.payload.value[1 - i])


def stops(m, outer, inner):
    odd = every_other(m, passes(outer.pairs) & outer.pairs.payload.last)
    m.d.comb += outer.pairs.valid.eq(inner.pairs.valid & ~odd)
    m.d.comb += inner.pairs.ready.eq(outer.pairs.ready & ~odd)


def forgets_the_end_of_the_token(m, outer, inner):
    m.d.comb += outer.pairs.payload.last.eq(0)


def pads_with_ones(m, outer, inner):
    ends = every_other(m, passes(outer.dense) & outer.dense.payload.last)
    value = inner.values.payload.value[1]
    m.d.comb += outer.values.payload.value[1].eq(Mux(ends, 1, value))


def loses_groups(m, outer, inner):
    odd = every_other(m, passes(outer.dense))
    m.d.comb += inner.dense.valid.eq(outer.dense.valid & ~odd)
    m.d.comb += outer.dense.ready.eq(inner.dense.ready | odd)


def sends_values_twice(m, outer, inner):
    odd = every_other(m, passes(outer.values))
    m.d.comb += inner.values.ready.eq(outer.values.ready & odd)


FULL = {f"at most {limit} inside" for limit in ("2 groups", "2 beats", "5 beats")}
FAULTS = {  # and properties of which one tells
    withdraws_what_it_offers: {"output stays valid"},
    offers_again: {"count is right", "index 0 is the next set bit", "no output without a group"},
    loses_words: FULL,
    overflows: FULL,
    swaps_values: {"value 0 belongs to its bit", "value 1 belongs to its bit"},
    stops: {"a supplied group leaves in time", "a supplied group is offered in time"},
    forgets_the_end_of_the_token: {"last is right"},
    pads_with_ones: {"tail is padded with zeros"},
    loses_groups: FULL,
    sends_values_twice: {"no beats leave that did not enter"},
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_broken_unit_fails(fault, tmp_path):
    encodes = fault in (pads_with_ones, loses_groups, sends_values_twice)
    unit = Faulty((BitmapEncoder if encodes else BitmapDecoder)(SMALL), fault)
    properties = (EncoderProperties if encodes else DecoderProperties)(unit)
    result = formal.check(properties, SHORT, tmp_path)
    assert result.status == "FAIL"
    assert FAULTS[fault] & set(result.failed)
    assert result.trace == tmp_path / "trace.vcd"
    assert result.trace.stat().st_size


def offers_when_ready(m, outer, inner):
    m.d.comb += outer.pairs.valid.eq(inner.pairs.valid & outer.pairs.ready)


def accepts_what_is_offered(m, outer, inner):
    m.d.comb += outer.bitmap.ready.eq(inner.bitmap.ready & outer.bitmap.payload.last)


@pytest.mark.parametrize("fault", [offers_when_ready, accepts_what_is_offered])
def test_a_handshake_that_waits_for_the_other_side_is_seen(fault):
    found = formal.independence(Faulty(BitmapDecoder(SMALL), fault), bitmap.decoder_ports(SMALL))
    wrong = {name for name, status in found.items() if status != "PASS"}
    assert (
        wrong
        == {
            offers_when_ready: {"offer of pairs comes from registers"},
            accepts_what_is_offered: {"ready of bitmap does not wait for its offer"},
        }[fault]
    )


def with_twin(design, config):
    """Properties of a unit, and that its streams do what those of a copy of it do."""

    class WithTwin(DecoderProperties if design.name == "bitmap_decoder" else EncoderProperties):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            m.submodules.twin = twin = component(design, config)
            for port in design.ports(config):
                ours, theirs = getattr(self.unit, port.name), getattr(twin, port.name)
                payloads = Value.cast(ours.payload), Value.cast(theirs.payload)
                if port.direction == "in":
                    m.d.comb += [theirs.valid.eq(ours.valid), payloads[1].eq(payloads[0])]
                    same = ours.ready == theirs.ready
                else:
                    m.d.comb += theirs.ready.eq(ours.ready)
                    same = ours.valid == theirs.valid
                    same &= ~ours.valid | (payloads[0] == payloads[1])
                m.d.comb += Assert(same, f"{port.name} as the twin")
            return m

    return WithTwin(component(design, config))


def without_twin(text):
    """Drop the properties that compare with the twin."""
    return re.sub(r" *cell \$check \\\w+_as_the_twin\n.*?\n  end\n", "", text, flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("design", "config"),
    [
        (bitmap.DECODER, SMALL),
        (bitmap.DECODER, SMALL.replace(mode="scatter")),
        (bitmap.DECODER, SMALL.replace(value_width=0)),
        (bitmap.ENCODER, SMALL),
    ],
    ids=["gather", "scatter", "mask", "encoder"],
)
def test_random_mutants_fail(design, config, tmp_path):
    """The properties leave nothing open: what they let pass is, provably, the unit itself."""
    killed, equivalent, missed = [], [], []
    for change, text in formal.mutants(with_twin(design, config), count=24, seed=1).items():
        result = formal.check(without_twin(text), Settings(), tmp_path)
        assert result.status in ("PASS", "FAIL"), result.log
        assert not any("twin" in name for name in result.names)
        if result.status == "FAIL":
            killed.append(change)
        elif formal.check(text, Settings(), tmp_path).passed:
            equivalent.append(change)
        else:
            missed.append(change)
    assert not missed, missed
    assert len(killed) > len(equivalent)


# --- the tool itself --------------------------------------------------------------------------


class Counter(wiring.Component):
    """Counts to 3 and stays; its claim about 6 needs induction over more than one cycle."""

    def __init__(self, claim, flavour=Assert):
        self.claim, self.flavour = claim, flavour
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        count = Signal(3)
        with m.If((count != 3) & (count != 7)):
            m.d.sync += count.eq(count + 1)
        m.d.comb += self.flavour(self.claim(count), "the claim")
        return m


@pytest.mark.first(2, deep=5)
@pytest.mark.parametrize(
    ("claim", "flavour", "settings", "status"),
    [
        (lambda count: count != 7, Assert, Settings("prove", "abc pdr"), "PASS"),
        (lambda count: count != 3, Assert, Settings("prove", "abc pdr"), "FAIL"),
        (lambda count: count != 7, Assert, Settings("prove", "smtbmc z3", depth=2), "UNKNOWN"),
        (lambda count: count == 7, Cover, Settings("cover", "smtbmc z3", depth=9), "FAIL"),
        (lambda count: count != 3, Assert, Settings("bmc", "smtbmc z3", depth=3), "PASS"),
    ],
)
def test_what_a_run_says(claim, flavour, settings, status, tmp_path):
    """Out of reach of an induction is not proved, beyond the depth is not seen, unreached fails."""
    result = formal.check(Counter(claim, flavour), settings, tmp_path)
    assert (result.status, result.names) == (status, ("the claim",))
    assert result.failed == (("the claim",) if status == "FAIL" else ())
    assert result.passed == (status == "PASS")


def test_a_missing_tool_has_its_own_sentence(monkeypatch):
    monkeypatch.setitem(toolchain.TOOLS, "z3", replace(toolchain.TOOLS["z3"], finder=lambda: None))
    goal = Goal(bitmap.DECODER, SMALL, Settings())
    with pytest.raises(UserError) as error:
        formal.claims(goal)
    assert str(error.value) == toolchain.TOOLS["z3"].missing
