"""RegluFFN: emitted Verilog against golden."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.sim import Simulator
from nibbleforge.golden.contract.schedule import Beats
from nibbleforge.golden.reglu.config import Matrix, RegluConfig, ports
from nibbleforge.golden.reglu.schedule import schedule
from nibbleforge.golden.reglu.thresholds import ALWAYS
from nibbleforge.golden.reglu.unit import REGLU_FFN
from nibbleforge.golden.reglu.values import compute
from nibbleforge.golden.units import unit
from nibbleforge.hw.reglu.ffn import RegluFFN
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import verify
from nibbleforge.sim.verify.jams import check_jams
from nibbleforge.sim.verify.regress import Variation, variations
from nibbleforge.tb import tb_reglu
from nibbleforge.tb.stalls import PROFILES

ODD_SHAPES = {
    "all ones": RegluConfig(
        lanes=1, max_features=1, max_neurons=1, max_rank=1, in_flight=1, survivors=1, mask_group=4
    ),
    "all ones, all neurons": RegluConfig(
        lanes=1, max_features=1, max_neurons=1, predictor=False, in_flight=1, survivors=1
    ),
    "one beat a row": RegluConfig(
        lanes=9, max_features=9, max_neurons=40, max_rank=9, in_flight=20, survivors=40,
        mask_group=8, double_relu=True,
    ),
    "one row ahead": RegluConfig(
        lanes=2, max_features=9, max_neurons=17, max_rank=5, in_flight=1, survivors=1, mask_group=4
    ),
    "three stages": RegluConfig(
        lanes=65, max_features=70, max_neurons=20, max_rank=66, in_flight=256, survivors=300,
        mask_group=128,
    ),
    "all neurons, double": RegluConfig(
        lanes=7, max_features=30, max_neurons=40, predictor=False, double_relu=True, in_flight=5,
        survivors=3,
    ),
}  # fmt: skip
OWN = [Variation("reglu", name, REGLU_FFN, config) for name, config in ODD_SHAPES.items()]
PRESETS = variations(["reglu"], list(unit("reglu").presets))
TINY = unit("reglu").presets["tiny"]


@pytest.fixture(scope="module")
def tiny():
    return Model(REGLU_FFN, TINY, optimise="quick")


def draw(config=TINY, seed=0, share=0.5, latency=(3,)):
    """Three tokens of the largest shape."""
    rank = config.max_rank if config.predictor else 0
    shape = (config.max_features, config.max_neurons, rank)
    found = tb_reglu.drawn(config, np.random.default_rng(seed), 3, shape, share)
    return replace(found, latency=np.array(latency, np.int64))


@pytest.mark.quick("tiny")
@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_both_harnesses_equal_golden_and_each_other(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_harnesses(variation, model, seeds=[0])
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 30


@pytest.mark.quick("tiny", "one row ahead", "all neurons, double", deep=ODD_SHAPES)
@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_random_and_corner_operands(variation):
    """Under every stall profile, with garbage where nothing is valid, after a reset in between."""
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_random(model, seeds=range(5))
    corners = schedule(model.config, tb_reglu.corner_run(model.config))
    for profile in ("none", "bursty"):
        checked += verify.check_schedule(model, corners, profile, label="corners")
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 200


@pytest.mark.first(1, deep=2)
@pytest.mark.parametrize("config", tb_reglu.SMALL, ids=lambda c: f"{c.lanes}-{c.in_flight}")
def test_all_that_can_become_of_neurons(config):
    checked = verify.check_exhaustive(Model(REGLU_FFN, config, optimise="quick"))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.parametrize("latency", [(1,), (2,), (10,), (50,), (200,), (1, 200, 7, 30)])
def test_any_latency(tiny, latency):
    """It moves the rows, but never changes what is asked for, nor the results."""
    golden = schedule(TINY, draw(latency=latency))
    checked = verify.check_schedule(tiny, golden)
    assert not checked.wrong, checked.wrong[0]
    first = schedule(TINY, draw(latency=(1,)))
    for port in ("request", "y"):
        np.testing.assert_array_equal(golden.beats[port].words, first.beats[port].words)


@pytest.mark.parametrize("predicted", [0, 1, TINY.max_neurons])
def test_none_one_or_all_predicted(tiny, predicted):
    operands = draw()
    thresholds = np.where(np.arange(TINY.max_neurons) < predicted, ALWAYS, -ALWAYS - 1)
    operands = replace(operands, thresholds=np.roll(thresholds, 13).astype(np.int32))
    assert (compute(TINY, operands).neurons.predicted.sum(axis=1) == predicted).all()
    checked = verify.check_schedule(tiny, schedule(TINY, operands))
    assert not checked.wrong, checked.wrong[0]


def test_what_does_not_count_is_ignored(tiny):
    """Numbers of the token after its first beat, words before a row's final beat and of down."""
    golden = schedule(TINY, draw())
    rng = np.random.default_rng(0)
    x_port, rows_port, _, _ = ports(TINY)
    x = x_port.unpack(golden.beats["x"].words)
    later = np.append(False, x["last"][:-1] == 0)
    for field in x_port.fields:
        if field.name in ("neurons", "rank", "h_mult", "h_shift"):
            other = rng.integers(0, 1 << field.width, len(later))
            x[field.name] = np.where(later, other, x[field.name])
    rows = rows_port.unpack(golden.beats["rows"].expand())
    unused = (rows["last"] == 0) | (rows["matrix"] == Matrix.DOWN)
    rows["word"] = np.where(unused, rng.integers(0, 1 << 32, len(unused)), rows["word"])
    beats = golden.beats | {
        "x": Beats(x_port.pack(**x)),
        "rows": replace(golden.beats["rows"], words=rows_port.pack(**rows), segments=None),
    }
    checked = verify.check_schedule(tiny, replace(golden, beats=beats))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.quick("one row ahead", "all neurons, double", deep=ODD_SHAPES)
@pytest.mark.parametrize("variation", OWN, ids=lambda v: v.name)
def test_rows_are_not_taken_before_they_are_asked_for(variation):
    """A source that knows what will be asked for, and offers it at once."""
    config = variation.config
    model = Model(variation.design, config, optimise="quick")
    golden = schedule(config, draw(config))
    rows = replace(golden.beats["rows"], answers=None)
    eager = replace(golden, beats=golden.beats | {"rows": rows})
    for profile in ("ready_first", "random", "skewed"):
        checked = verify.check_schedule(model, eager, profile)
        assert not checked.wrong, checked.wrong[0]
    seen = model.run(eager.beats, trace=True).seen
    needs = golden.beats["rows"].answers.needs  # requests before each beat
    assert (seen.cycles["rows"] >= seen.cycles["request"][needs - 1]).all()


@pytest.mark.quick("tiny", "all neurons, double", deep=["one beat a row"])
@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_waiting_cycles_are_counted_one_for_one(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    for seed in range(2):
        found = check_jams(
            model.design, model.config, lambda s, g: model.run(s.beats, gates=g).seen, seed
        )
        assert not found, found[0]


@pytest.mark.parametrize("profile", PROFILES)
def test_illegal_runs_end_and_report(tiny, profile):
    for seed in range(6):
        golden = tb_reglu.illegal_run(TINY, np.random.default_rng(seed))
        checked = verify.check_schedule(tiny, golden, profile, seed, garbage=profile != "none")
        assert not checked.wrong, checked.wrong[0]


@pytest.mark.parametrize("wrong", [None, "matrix", "row", "last"])
def test_an_error_ends_with_its_token_or_a_reset(wrong):
    config = RegluConfig(lanes=1, max_features=1, max_neurons=2, predictor=False)
    top, reset = Module(), Signal()
    ffn = RegluFFN(config)
    top.submodules.ffn = ResetInserter(reset)(ffn)
    error = ffn.y.payload.error

    async def token(sim, wrong=None):
        """One token of one neuron, whose gate's row may be a wrong one."""
        row = {"matrix": int(Matrix.GATE), "row": 0, "last": 1}
        if wrong is not None:
            row[wrong] ^= 1
        sim.set(ffn.x.payload.last, 1)
        sim.set(ffn.x.payload.neurons, 1)
        sim.set(ffn.request.ready, 1)
        sim.set(ffn.y.ready, 1)
        for name, value in row.items():
            sim.set(getattr(ffn.rows.payload, name), value)
        found = []
        for cycle in range(40):
            sim.set(ffn.x.valid, cycle == 0)
            sim.set(ffn.rows.valid, cycle == 5)
            await sim.tick()
            if sim.get(ffn.y.valid):
                found.append(sim.get(error))
        return found

    async def give(sim):
        assert await token(sim, wrong) == [wrong is not None]
        assert await token(sim) == [0]
        assert await token(sim, wrong) == [wrong is not None]
        sim.set(reset, 1)
        await sim.tick()
        sim.set(reset, 0)
        assert await token(sim) == [0]

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(give)
    simulator.run()


@pytest.mark.quick("one row ahead", deep=ODD_SHAPES)
@pytest.mark.parametrize("variation", OWN, ids=lambda v: v.name)
def test_lint(variation):
    assert not verify.check_lint(variation.design, variation.config)


@pytest.mark.parametrize("variation", PRESETS, ids=lambda v: v.name)
def test_stimuli_hit_every_functional_bin(variation):
    assert not verify.missing_bins(variation, range(80))
