"""Parameter fuzz: any configuration works, or is refused with one clear sentence."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibbleforge.golden.bitmap import ENCODER, BitmapConfig
from nibbleforge.golden.contract.elements import TREES
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.dense import DenseConfig
from nibbleforge.golden.units import UNITS
from nibbleforge.hw.generate import generate
from nibbleforge.sim.verify import fuzz

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
    "activation_bits": st.none() | st.just("none") | st.integers(2, 17),
    "weight_bits": st.integers(1, 5),
    "passes": st.integers(0, 3),
    "recode": st.sampled_from(["balanced", "twos"]),
    "lanes": st.integers(0, 33),
    "tree": st.sampled_from(TREES),
    "max_k": st.integers(0, (1 << 20) + 1),
    "dequant": st.none()
    | st.just("none")
    | st.fixed_dictionaries(
        {},
        optional={
            "weight_group": st.sampled_from([4, 16, 32, 48, 128]),
            "convert_latency": st.integers(0, 4),
            "multiply_latency": st.integers(0, 4),
            "add_latency": st.integers(0, 5),
        },
    ),
}


@st.composite
def parameters(draw):
    """A configuration class and a value for some of its fields, few of them wild."""
    kind = draw(st.sampled_from([BitmapConfig, DenseConfig]))
    fields = draw(st.sets(st.sampled_from(list(kind.model_fields))))
    wild = draw(st.sets(st.sampled_from([*sorted(kind.model_fields), "widths"]), max_size=2))
    values = {name: draw(LIKELY[name]) for name in sorted(fields - wild)}
    return kind, values | {name: draw(WILD) for name in sorted(wild)}


def _leaves(dumped):
    for value in dumped.values():
        if isinstance(value, dict):
            yield from _leaves(value)
        elif value is not None:
            yield value


@settings(max_examples=300)
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
    assert all(type(v) in (int, str) for v in _leaves(config.model_dump()))
    unit = next(unit for unit in UNITS.values() if unit.config is kind)
    for design in unit.designs(config):
        assert all(port.width > 0 for port in design.ports(config))
        assert all(bits > 0 for bits in design.bandwidth(config).values())
        assert all(event.width > 0 for event in design.events(config))


# --- legal parameters -----------------------------------------------------------------------------


def test_masks_have_no_encoder():
    sentence = "the encoder needs values: value_width must be at least 1, got 0."
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        generate(ENCODER, BitmapConfig(value_width=0))


@pytest.mark.deep
@settings(max_examples=12)
@given(st.integers(0, 1 << 32))
def test_legal_parameters_generate(seed):
    design, config = fuzz.draw(seed)
    generated = generate(design, config)
    assert re.search(rf"^module {design.name} \(", generated.verilog, re.M)
    assert generated.manifest["config_hash"] == config.config_hash
    assert [port["name"] for port in generated.manifest["ports"]] == [
        port.name for port in design.ports(config)
    ]


@pytest.mark.first(1, deep=2)
@pytest.mark.parametrize("seed", range(2))
def test_legal_parameters_work(seed):
    checked = fuzz.check(seed)
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 50
