"""Mutation testing: mutants of the emitted Verilog are killed or proved equivalent."""

import json
from dataclasses import replace

import pytest
from nibbleforge.golden import dense
from nibbleforge.golden.bitmap import DECODER, BitmapConfig
from nibbleforge.golden.contract.config import NoSettings
from nibbleforge.golden.contract.design import Design
from nibbleforge.golden.contract.events import Event
from nibbleforge.golden.contract.ports import Field, Port
from nibbleforge.golden.units import unit
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import mutation
from nibbleforge.sim.verify.equivalence import compare
from nibbleforge.sim.verify.jams import check_jams
from nibbleforge.sim.verify.mutation import SELECT, Campaign, Mutant, insert_mutants, mutate
from nibbleforge.tb.tb_bitmap import corner_groups

TINY = [
    (design, unit(name).presets["tiny"])
    for name in ("bitmap", "dense")
    for design in unit(name).designs(unit(name).presets["tiny"])
]
MORE = [
    (DECODER, unit("bitmap").presets["paper"]),
    (DECODER, BitmapConfig(group=8, beat=2, mode="scatter")),
    (DECODER, BitmapConfig(group=8, value_width=0, width=2)),
    (dense.ARRAY_2K, unit("dense2k").presets["tiny"]),
]

FLOATING = [
    (design, unit(name).presets["tiny"])
    for name in ("anda", "fp16")
    for design in unit(name).designs(unit(name).presets["tiny"])
]


def describe(case):
    return f"{case[0].name}-{case[1].config_hash[:6]}"


@pytest.mark.first(1, deep=3)
@pytest.mark.parametrize("case", TINY, ids=describe)
def test_three_mutants_are_killed(case):
    campaign = mutate(*case, count=3, seed=1)
    assert len(campaign.mutants) == 3
    assert campaign.killed_share == 1.0, campaign.table()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("case", TINY, ids=describe)
def test_of_mutants_of_a_small_design_95_percent_are_killed(case, seed, record_testsuite_property):
    _assert_killed(mutate(*case, count=40, seed=seed), record_testsuite_property)


@pytest.mark.slow
@pytest.mark.parametrize("case", MORE, ids=describe)
def test_of_mutants_of_other_shapes_95_percent_are_killed(case, record_testsuite_property):
    _assert_killed(mutate(*case, count=32, seed=0), record_testsuite_property)


@pytest.mark.slow
@pytest.mark.parametrize("case", FLOATING, ids=describe)
def test_of_mutants_of_floating_point_arrays_95_percent_are_killed(case, record_testsuite_property):
    _assert_killed(mutate(*case, count=40, seed=0), record_testsuite_property)


def _assert_killed(campaign, record_testsuite_property):
    record_testsuite_property("mutants", campaign.summary)
    assert len(campaign.mutants) >= 30
    assert len(campaign.having("killed")) >= 20
    assert campaign.killed_share >= 0.95, campaign.table()


# Insertion


def test_mutants_are_the_same_for_a_seed_and_leave_the_clock_alone():
    design, config = TINY[0]
    verilog, mutants = insert_mutants(design, config, 20, seed=3)
    assert (verilog, mutants) == insert_mutants(design, config, 20, seed=3)
    assert mutants != insert_mutants(design, config, 20, seed=4)[1]
    assert [mutant.number for mutant in mutants] == list(range(1, 21))
    assert not any("CLK" in mutant.place or "= clk" in mutant.place for mutant in mutants)
    assert f"input [4:0] {SELECT};" in verilog


# Equivalence


TOY = Design(
    name="toy",
    summary="",
    law="",
    ports=lambda _: (
        Port("a", "in", (Field("value", 4, ""),), ""),
        Port("b", "out", (Field("value", 4, ""),), ""),
    ),
    events=lambda _: (Event("beats", "work", ""),),
    bandwidth=lambda _: {},
    schedule=None,
    traffic=None,
    workload=None,
    cycles=None,
    hardware="",
    stimuli="",
)
# A register stage with a counter of 0, 1, 2, 0, ...; each variant adds one mistake.
TOY_VERILOG = """\
module toy(clk, rst, a_valid, a_payload, a_ready, b_valid, b_payload, b_ready, events, variant);
input clk, rst, a_valid, b_ready;
input [3:0] a_payload, variant;
output a_ready, b_valid;
output [3:0] b_payload;
output [0:0] events;
reg full = 0, waited = 0;
reg [3:0] held = 0, total = 0;
reg [1:0] phase = 0;
assign a_ready = !full || b_ready;
assign b_valid = full ^ (variant == 4 && rst) ^ (variant == 5 && waited && !a_valid);
assign events = (a_valid && a_ready) ^ (variant == 1 && phase == 3) ^ (variant == 6 && rst);
assign b_payload = held ^ (variant == 2 && total == 9) ^ (variant == 3 && !full);
always @(posedge clk) begin
  waited <= a_valid && !a_ready && !rst;
  if (a_ready) full <= a_valid;
  if (a_ready && a_valid) held <= a_payload;
  if (a_ready && a_valid) total <= total + 1;
  if (phase == 2) phase <= 0; else phase <= phase + 1;
  if (rst) begin full <= 0; total <= 0; phase <= 0; end
end
endmodule
"""


@pytest.mark.parametrize("variant", [0, 1, 3, 4, 5, 6])
def test_what_nobody_can_see_is_equivalent(variant):
    """Unreachable states, payload while valid is 0, outputs in reset, sources without manners."""
    found = compare(TOY, NoSettings(), TOY_VERILOG, {"variant": 0}, {"variant": variant})
    assert found.answer == "equal"


def test_what_differs_after_many_beats_is_not_equivalent():
    found = compare(TOY, NoSettings(), TOY_VERILOG, {"variant": 0}, {"variant": 2})
    assert found.answer == "different"
    assert int(found.reason.removeprefix("differs in cycle ")) >= 10


def test_a_proof_without_time_is_undecided():
    design, config = TINY[0]
    verilog, _ = insert_mutants(design, config, 1, seed=0)
    found = compare(design, config, verilog, {SELECT: 0}, {SELECT: 1}, seconds=1e-3)
    assert found.answer == "undecided"


# Runs


BROKEN_DECODER = """\
module bitmap_decoder(clk, rst, bitmap_valid, bitmap_payload, bitmap_ready, values_valid,
  values_payload, values_ready, pairs_valid, pairs_payload, pairs_ready, events, mutsel);
input clk, rst, bitmap_valid, values_valid, pairs_ready;
input [{bitmap}:0] bitmap_payload;
input [{values}:0] values_payload;
input [1:0] mutsel;
output bitmap_ready, values_ready, pairs_valid;
output [{pairs}:0] pairs_payload;
output [{events}:0] events;
assign bitmap_ready = 0;
assign values_ready = 0;
assign pairs_valid = mutsel == 1 && !rst;
assign pairs_payload = 0;
wire swings /* verilator public */;
assign swings = mutsel == 2 && !swings;
assign events = swings;
endmodule
"""


@pytest.fixture(scope="module")
def broken():
    config = TINY[0][1]
    widths = {port.name: port.width - 1 for port in DECODER.ports(config)}
    widths["events"] = sum(event.width for event in DECODER.events(config)) - 1
    verilog = "/* verilator lint_off UNOPTFLAT */\n" + BROKEN_DECODER.format(**widths)
    return Model(DECODER, config, verilog=verilog, constants=(SELECT,), optimise="quick")


@pytest.mark.parametrize(
    ("number", "symptom"), [(0, "got 0 beats"), (1, "no end"), (2, "never settles")]
)
def test_mutants_that_stop_or_never_stop_are_killed(broken, number, symptom):
    trials = mutation._trials(broken.design, broken.config)
    assert symptom in mutation._first_failure(broken, trials, number)


def test_a_design_that_fails_unmutated_is_refused(monkeypatch):
    wrong = [("seed 0", lambda player: [f"wrong in {player.number}"])]
    monkeypatch.setattr(mutation, "_trials", lambda *_: wrong)
    with pytest.raises(RuntimeError, match="without a mutation: seed 0: wrong in 0"):
        mutate(*TINY[0], 3, seed=1)


def test_a_waiting_cycle_counted_by_another_event_is_noticed(monkeypatch):
    design, config = TINY[1]
    verilog, _ = insert_mutants(design, config, 3, seed=1)  # built before
    model = Model(design, config, verilog=verilog, constants=(SELECT,), optimise="quick")

    def play(schedule, stalls):
        return model.run(schedule.beats, gates=stalls, constants={SELECT: 0}).seen

    assert check_jams(design, config, play) == []
    *others, stall_out = design.events(config)
    wrong = (*others, replace(stall_out, waits_for={"bitmap": 1}))
    (found,) = check_jams(replace(design, events=lambda _: wrong), config, play)
    assert (found.expected, found.got) == ("0 more", "37 more")


@pytest.mark.parametrize("width", [1, 2, 4])
def test_corners_leave_every_element_alone(width):
    config = BitmapConfig(group=64, beat=8, width=width)
    present = corner_groups(config).dense != 0
    left = present & (present.cumsum(axis=1) > width)
    alone = left[left.sum(axis=1) == 1]
    assert set(alone.argmax(axis=1)) == set(range(width, 64))


# Report


def test_report_counts_only_what_is_not_equivalent():
    mutants = (
        Mutant(1, "inv", "a/b.Y[0]", "killed", "values beat 3"),
        Mutant(2, "inv", "a/b.Y[1]", "equivalent"),
        Mutant(3, "inv", "a/b.Y[2]", "survived"),
    )
    campaign = Campaign("a", {}, 7, mutants, {"build": 1.0})
    assert campaign.killed_share == 0.5
    assert campaign.summary.startswith("a, seed 7: 1 killed, 1 equivalent, 1 survived of 3; 50.0%")
    assert len(campaign.table().splitlines()) == 4
    assert json.loads(campaign.to_json())["mutants"][0]["reason"] == "values beat 3"


def test_no_mutant_that_could_be_killed_is_no_failure():
    assert Campaign("a", {}, 0, (Mutant(1, "inv", "p", "equivalent"),), {}).killed_share == 1.0
