"""The native harness: what a run records, and what it notices."""

import threading

import numpy as np
import pytest
from nibbleforge.golden.contract.layer import Layer
from nibbleforge.golden.contract.schedule import Beats
from nibbleforge.golden.dense import ARRAY, DenseConfig
from nibbleforge.golden.units import UNITS
from nibbleforge.hw.generate import generate
from nibbleforge.sim.run import native
from nibbleforge.sim.run.native import TAIL, Model
from nibbleforge.sim.tools.workers import Workers
from nibbleforge.tb.scoreboard import check_counts, check_timing, check_values
from nibbleforge.tb.stalls import gates

CONFIG = UNITS["dense"].presets["tiny"]

# The array with inputs that, held at 1, spoil what leaves it.
SPOILED = """
module dense_array({ports}, input flip, input drop, input mute);
  wire valid;
  wire [{width}:0] payload;
  reg odd = 0;
  always @(posedge clk) odd <= ~odd;
  assign y_valid = valid & ~mute & ~(drop & odd);
  assign y_payload = payload ^ flip;
  inner core (.clk(clk), .rst(rst), .x_valid(x_valid), .x_ready(x_ready), .x_payload(x_payload),
    .w_valid(w_valid), .w_ready(w_ready), .w_payload(w_payload), .y_valid(valid),
    .y_ready(y_ready & ~mute & ~(drop & odd)), .y_payload(payload), .events(events));
endmodule
"""


def operands(config: DenseConfig = CONFIG, tokens: int = 7, outputs: int = 11) -> Layer:
    rng = np.random.default_rng(3)
    low, high = config.activation_range
    x = rng.integers(low, high + 1, (tokens, 20)).astype(np.int8)
    return Layer(x, rng.integers(-8, 8, (outputs, 20), np.int8))


SCHEDULE = ARRAY.schedule(CONFIG, operands())
GOLDEN = SCHEDULE.counts()


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(ARRAY, CONFIG, optimise="quick")


def spoiled_verilog() -> str:
    """Top module around the generated one."""
    manifest = generate(ARRAY, CONFIG).manifest
    ports = ["input clk", "input rst", f"output [{manifest['events']['width'] - 1}:0] events"]
    for port in manifest["ports"]:
        there, back = ("input", "output") if port["direction"] == "in" else ("output", "input")
        name, top = port["name"], port["width"] - 1
        ports += [
            f"{there} {name}_valid",
            f"{back} {name}_ready",
            f"{there} [{top}:0] {name}_payload",
        ]
    wrapper = SPOILED.format(ports=", ".join(ports), width=manifest["ports"][2]["width"] - 1)
    return generate(ARRAY, CONFIG, name="inner").verilog + wrapper


@pytest.fixture(scope="module")
def spoiled() -> Model:
    names = ("flip", "drop", "mute")
    return Model(ARRAY, CONFIG, verilog=spoiled_verilog(), constants=names, optimise="quick")


def differences(model: Model, run: native.Run, *, free_flow: bool = True) -> list:
    found = check_values(model.ports, SCHEDULE.beats, run.seen)
    return found + check_counts(ARRAY, CONFIG, GOLDEN, run.seen, free_flow=free_flow)


def test_values_events_and_cycles(model):
    run = model.run(SCHEDULE.beats)
    assert differences(model, run) == []
    assert run.seen.span == GOLDEN.cycles
    assert run.cycles == GOLDEN.cycles + TAIL
    assert run.seconds > 0
    assert run.cycles_per_second == pytest.approx(run.cycles / run.seconds)
    assert (run.seen.cycles, run.seen.pulses) == ({}, {})


def test_a_trace_has_the_cycle_of_everything(model):
    run = model.run(SCHEDULE.beats, trace=True)
    assert set(run.seen.cycles) == {"x", "w", "y"}
    assert set(run.seen.pulses) == set(GOLDEN.events)
    assert check_timing(SCHEDULE, run.seen) == []


@pytest.mark.parametrize("garbage", [False, True])
def test_stalls_slow_a_run_down_and_change_nothing_else(model, garbage):
    patterns = gates("random", model.ports, seed=1)
    run = model.run(SCHEDULE.beats, gates=patterns, garbage=garbage)
    assert differences(model, run, free_flow=False) == []
    assert run.seen.span > 1.2 * GOLDEN.cycles
    again = model.run(SCHEDULE.beats, gates=patterns, garbage=garbage)
    assert again.seen.span == run.seen.span


@pytest.mark.parametrize("when", [1, 17, GOLDEN.cycles - 1])
def test_after_a_reset_a_run_is_as_from_the_start(model, when):
    run = model.run(SCHEDULE.beats, reset_after=when, trace=True)
    assert differences(model, run) == []
    assert check_timing(SCHEDULE, run.seen) == []


def test_a_run_that_hangs_is_given_up(model):
    """Without weights nothing comes out."""
    traffic = {**SCHEDULE.beats, "w": Beats(SCHEDULE.beats["w"].words[:0])}
    run = model.run(traffic, idle_limit=50)
    assert len(run.seen.words["y"]) == 0
    assert run.cycles < 60
    found = differences(model, run)
    assert found[0].place == "y"
    assert (found[0].expected, found[0].got) == (f"{GOLDEN.events['y_beats']} beats", "0 beats")


def test_beats_too_many_are_seen(model):
    """The run goes on after the final expected beat."""
    beats = SCHEDULE.beats["y"]
    traffic = {**SCHEDULE.beats, "y": Beats(beats.words[:-2])}
    run = model.run(traffic)
    assert len(run.seen.words["y"]) == len(beats)
    assert check_values(model.ports, traffic, run.seen)[0].place == "y"


def test_operands_without_segments(model):
    traffic = {name: Beats(beats.expand()) for name, beats in SCHEDULE.beats.items()}
    assert differences(model, model.run(traffic)) == []


def test_a_run_of_its_own_workers(model):
    with Workers(2) as workers:
        runs = [workers.start(lambda: model.run(SCHEDULE.beats, workers=workers)) for _ in range(1)]
        assert all(differences(model, run.result()) == [] for run in runs)


def test_runs_side_by_side_do_not_meet(model):
    with Workers(2) as workers:
        runs = [workers.start(model.run, SCHEDULE.beats) for _ in range(4)]
        assert all(differences(model, run.result()) == [] for run in runs)


def test_progress_comes_while_the_run_goes_on(model):
    layer = operands(tokens=600, outputs=600)
    reported, main = [], threading.get_ident()
    traffic = ARRAY.traffic(CONFIG, layer)
    run = model.run(
        traffic, progress=lambda done: reported.append((done, threading.get_ident() == main))
    )
    beats = len(traffic["y"])
    assert len(run.seen.words["y"]) == beats > 1 << 16
    assert reported == [(1 << 16, True)]
    assert check_values(model.ports, traffic, run.seen) == []


def test_the_bare_model(model):
    run = model.free_run(SCHEDULE.beats, 1000)
    assert run.cycles == 1000
    assert run.seconds > 0


def test_nothing_temporary_stays(model, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model.run(SCHEDULE.beats, trace=True)
    Model(ARRAY, CONFIG, optimise="quick")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_driver_is_an_error(model, tmp_path, monkeypatch):
    monkeypatch.setattr(native, "_store", lambda folder, name, array: "absent")
    with pytest.raises(RuntimeError, match=r"(?s) ended with 3:.*driver: cannot open absent"):
        model.run(SCHEDULE.beats)


# --- negative controls ----------------------------------------------------------------------------


def test_held_inputs_are_held(spoiled):
    run = spoiled.run(SCHEDULE.beats, trace=True)
    assert differences(spoiled, run) == []
    assert check_timing(SCHEDULE, run.seen) == []


def test_a_wrong_bit_is_noticed(spoiled):
    run = spoiled.run(SCHEDULE.beats, constants={"flip": 1}, trace=True)
    (found,) = differences(spoiled, run)
    assert found.place == "y beat 0"
    assert found.cycle == SCHEDULE.cycles["y"][0]


def test_a_valid_that_falls_before_ready_is_noticed(spoiled):
    patterns = {"y": np.tile(np.uint8([0, 0, 0, 1]), 3)}
    run = spoiled.run(SCHEDULE.beats, constants={"drop": 1}, gates=patterns)
    (text,) = run.seen.violations
    assert text.startswith("y changed in cycle ")
    assert text.endswith(" before it was accepted")


def test_an_output_that_stays_silent_is_noticed(spoiled):
    run = spoiled.run(SCHEDULE.beats, constants={"mute": 1}, idle_limit=100)
    assert len(run.seen.words["y"]) == 0
    assert differences(spoiled, run)


def test_broken_verilog_is_an_error():
    verilog = generate(ARRAY, CONFIG).verilog + "\nmodule broken(; endmodule\n"
    with pytest.raises(RuntimeError, match="syntax error"):
        Model(ARRAY, CONFIG, verilog=verilog, optimise="quick")
