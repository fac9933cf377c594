"""Parameter fuzz: any configuration works, or is refused with one clear sentence."""

import os
import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibbleforge.golden.bitmap import ENCODER, BitmapConfig
from nibbleforge.golden.dense import DenseConfig
from nibbleforge.golden.errors import UserError
from nibbleforge.golden.units import UNITS
from nibbleforge.hw.generate import generate
from nibbleforge.sim.native import Model
from nibbleforge.tb.scoreboard import check_counts, check_timing, check_values
from nibbleforge.tb.stalls import PROFILES, gates
from nibbleforge.tb.stimuli import STIMULI

SEEDS = (0, 9, 1, 7, 5, 8)  # a scattering and a gathering decoder, encoders, arrays of either kind
SOAK = int(os.environ.get("NIBBLEFORGE_FUZZ", "20"))  # further random configurations under `slow`

# --- any parameters -------------------------------------------------------------------------------

WILD = st.one_of(
    st.integers(-3, 300),
    st.integers(),
    st.sampled_from([1 << 20, 1 << 31, 1 << 64, 10**40, -(10**40)]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["8", "gather", "scatter", "balanced", "twos", "a\nb", "0x10", "1e3"]),
    st.booleans(),
    st.none(),
    st.binary(max_size=4),
    st.lists(st.integers(0, 9), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from([np.int64(8), np.float32(4), object(), len, BitmapConfig]),
)
LIKELY = {
    "group": st.sampled_from([4, 8, 16, 32, 64, 128]),
    "beat": st.sampled_from([1, 2, 4, 8, 16, 32, 64]),
    "width": st.integers(0, 9),
    "value_width": st.integers(-1, 17),
    "mode": st.sampled_from(["gather", "scatter"]),
    "rows": st.integers(0, 257),
    "columns": st.integers(0, 257),
    "k": st.sampled_from([2, 3, 4, 8]),
    "passes": st.integers(0, 3),
    "recode": st.sampled_from(["balanced", "twos"]),
    "max_k": st.integers(0, (1 << 20) + 1),
}


@st.composite
def parameters(draw):
    """A configuration class and a value for some of its fields, few of them wild."""
    kind = draw(st.sampled_from([BitmapConfig, DenseConfig]))
    fields = draw(st.sets(st.sampled_from(list(kind.model_fields))))
    wild = draw(st.sets(st.sampled_from([*sorted(kind.model_fields), "lanes"]), max_size=2))
    values = {name: draw(LIKELY[name]) for name in sorted(fields - wild)}
    return kind, values | {name: draw(WILD) for name in sorted(wild)}


@settings(deadline=None, max_examples=300)
@given(parameters())
def test_any_parameters(drawn):
    """A configuration whose declarations all hold together, or one sentence."""
    kind, values = drawn
    try:
        config = kind(**values)
    except UserError as error:
        sentence = str(error)
        assert re.fullmatch(r"[^\n\r]+\.", sentence)
        assert any(name in sentence for name in [*values, *kind.model_fields])
        return
    assert kind(**config.model_dump()) == config
    assert all(type(v) in (int, str) for v in config.model_dump().values())
    unit = next(unit for unit in UNITS.values() if unit.config is kind)
    for design in unit.designs(config):
        assert all(port.width > 0 for port in design.ports(config))
        assert all(bits > 0 for bits in design.bandwidth(config).values())
        assert all(event.width > 0 for event in design.events(config))


# --- legal parameters -----------------------------------------------------------------------------


DESIGNS = ("bitmap_decoder", "bitmap_encoder", "dense_array")


def draw(name, rng):
    """A small configuration of a design, legal or not."""
    if name == "dense_array":
        return DenseConfig(
            rows=rng.randint(1, 8),
            columns=rng.randint(1, 8),
            k=rng.choice([2, 4, 4, 8]),
            passes=rng.randint(1, 2),
            recode=rng.choice(["balanced", "twos"]),
            max_k=rng.choice([1, 2, 30, rng.randint(1, 1 << 20)]),
        )
    return BitmapConfig(
        group=rng.choice([4, 8, 16, 32]),
        beat=rng.choice([1, 2, 4, 8, 16, 32]),
        width=rng.randint(1, 8),
        value_width=rng.choice([0, 1, 4, 4, rng.randint(2, 16)]),
        mode=rng.choice(["gather", "scatter"]),
    )


def legal(seed):
    """A design and a small legal configuration; the three designs take turns."""
    rng = random.Random(seed)
    name = DESIGNS[seed % len(DESIGNS)]
    while True:
        try:
            config = draw(name, rng)
        except UserError:
            continue
        owner = next(unit for unit in UNITS.values() if unit.config is type(config))
        for design in owner.designs(config):
            if design.name == name:
                return design, config


def test_masks_have_no_encoder():
    sentence = "the encoder needs values: value_width must be at least 1, got 0."
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        generate(ENCODER, BitmapConfig(value_width=0))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1 << 32))
def test_legal_parameters_generate(seed):
    design, config = legal(seed)
    generated = generate(design, config)
    assert re.search(rf"^module {design.name}\(", generated.verilog, re.M)
    assert generated.manifest["config_hash"] == config.config_hash
    assert [port["name"] for port in generated.manifest["ports"]] == [
        port.name for port in design.ports(config)
    ]


def check(seed):
    """Build what the seed draws; play random operands freely, stalled, and after a reset."""
    rng = random.Random(seed)
    design, config = legal(seed)
    model = Model(design, config, optimise="quick")
    for operands in range(4):
        source = np.random.default_rng([seed, operands])
        schedule = design.schedule(config, STIMULI[design.name].random(config, source))
        golden = schedule.counts()
        for profile in ("none", rng.choice(PROFILES[1:])):
            free = profile == "none"
            seen = model.run(
                schedule.beats,
                gates=gates(profile, model.ports, seed),
                trace=True,
                garbage=True,
                reset_after=rng.randint(0, golden.cycles),
            ).seen
            found = check_values(model.ports, schedule.beats, seen)
            found += check_counts(design, config, golden, seen, free_flow=free)
            found += check_timing(schedule, seen) if free else []
            assert not found, f"seed {seed}, {design.name}, {config}, {profile}: {found[0]}"


@pytest.mark.parametrize("seed", SEEDS)
def test_legal_parameters_work(seed):
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 10 + SOAK))
def test_many_legal_parameters_work(seed):
    check(seed)
