import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden.contract.ports import Field, Port
from nibbleforge.golden.units import UNITS


@st.composite
def fields(draw, name):
    signed = draw(st.booleans())
    return Field(
        name,
        draw(st.integers(1, 64 if signed else 63)),
        "a field",
        signed,
        draw(st.none() | st.integers(1, 5)),
    )


@st.composite
def ports(draw):
    count = draw(st.integers(1, 4))
    return Port("p", "in", tuple(draw(fields(f"f{i}")) for i in range(count)), "a port")


def bounds(field):
    half = 1 << (field.width - 1)
    return (-half, half - 1) if field.signed else (0, 2 * half - 1)


@st.composite
def traffic(draw):
    """A port and some beats, each a list with one value or list a field."""
    port = draw(ports())
    value = {field.name: st.integers(*bounds(field)) for field in port.fields}
    one = [
        value[f.name]
        if f.count is None
        else st.lists(value[f.name], min_size=f.count, max_size=f.count)
        for f in port.fields
    ]
    return port, draw(st.lists(st.tuples(*one), min_size=1, max_size=4))


def payload(port, beat):
    """The beat as one integer: first field and first element in the lowest bits."""
    total = position = 0
    for field, values in zip(port.fields, beat, strict=True):
        for value in values if field.count else [values]:
            total += value % 2**field.width << position
            position += field.width
    return total, position


def columns(port, beats):
    return {
        field.name: np.array([beat[i] for beat in beats], np.int64)
        for i, field in enumerate(port.fields)
    }


@given(traffic())
def test_pack_equals_one_big_integer(drawn):
    port, beats = drawn
    words = port.pack(**columns(port, beats))
    assert words.dtype == np.dtype("<u4")
    assert words.shape == (len(beats), port.words)
    for row, beat in zip(words.tolist(), beats, strict=True):
        expected, width = payload(port, beat)
        assert port.width == width
        assert len(row) == (width + 31) // 32
        assert sum(word << (32 * i) for i, word in enumerate(row)) == expected


@given(traffic())
def test_unpack_inverts_pack(drawn):
    port, beats = drawn
    given = columns(port, beats)
    words = port.pack(**given)
    back = port.unpack(words)
    assert list(back) == [field.name for field in port.fields]
    for name, values in back.items():
        assert values.dtype == np.int64
        assert values.tolist() == given[name].tolist()


@given(traffic())
def test_describe_names_every_field(drawn):
    port, beats = drawn
    words = port.pack(**columns(port, beats))
    for row, beat in zip(words, beats, strict=True):
        expected = {field.name: value for field, value in zip(port.fields, beat, strict=True)}
        assert dict(port.describe(row)) == expected


@given(traffic())
def test_unused_bits_are_ignored(drawn):
    port, beats = drawn
    words = port.pack(**columns(port, beats))
    unused = (1 << (32 * port.words)) - (1 << port.width)
    words[:, -1] |= np.uint32(unused >> (32 * (port.words - 1)))
    for name, values in port.unpack(words).items():
        assert values.tolist() == columns(port, beats)[name].tolist()


@given(fields("f"), st.data())
def test_values_that_do_not_fit(field, data):
    low, high = bounds(field)
    candidates = [value for value in (low - 1, high + 1) if -(1 << 63) <= value < 1 << 63]
    if not candidates:
        return
    wrong = data.draw(st.sampled_from(candidates))
    port = Port("p", "out", (field,), "a port")
    values = np.full((2, field.count) if field.count else 2, low, np.int64)
    values.flat[-1] = wrong
    smallest, largest = values.min(), values.max()
    sentence = f"field f of {field.width} bits cannot hold {smallest}..{largest}"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        port.pack(f=values)


PORT = Port(
    "pairs",
    "out",
    (Field("index", 6, "", count=2), Field("value", 4, "", True, 2), Field("last", 1, "")),
    "an example",
)


def test_a_beat_by_hand():
    words = PORT.pack(index=[[1, 63]], value=[[-1, 7]], last=[1])
    assert PORT.width == 21
    assert [hex(word) for word in words[0]] == [hex(0b1_0111_1111_111111_000001)]
    assert PORT.describe(words[0]) == {"index": [1, 63], "value": [-1, 7], "last": 1}


@pytest.mark.parametrize(
    "values", [{"index": [[0, 0]]}, {"index": [[0, 0]], "value": [[0, 0]], "last": [0], "x": [0]}]
)
def test_every_field_must_be_given(values):
    with pytest.raises(KeyError, match=r"port pairs has fields \['index', 'value', 'last'\]"):
        PORT.pack(**values)


def test_no_beats():
    empty = np.zeros((0, 2), int)
    words = PORT.pack(index=empty, value=empty, last=np.zeros(0, int))
    assert words.shape == (0, 1)
    assert {name: len(values) for name, values in PORT.unpack(words).items()} == {
        "index": 0,
        "value": 0,
        "last": 0,
    }


def test_booleans_are_bits():
    words = PORT.pack(index=[[0, 0]], value=[[0, 0]], last=np.array([True]))
    assert words.tolist() == [[1 << 20]]


EVERY_PRESET = [
    pytest.param(design, config, id=f"{unit.name}-{preset}-{design.name}")
    for unit in UNITS.values()
    for preset, config in unit.presets.items()
    for design in unit.designs(config)
]


@pytest.mark.parametrize(("design", "config"), EVERY_PRESET)
def test_declarations_of_every_preset(design, config):
    """Names are unique, both directions occur, and the laws name the inputs they assume."""
    declared = design.ports(config)
    names = [port.name for port in declared]
    assert len(set(names)) == len(names)
    assert {port.direction for port in declared} == {"in", "out"}
    assert list(design.bandwidth(config)) == [p.name for p in declared if p.direction == "in"]
    for port in declared:
        assert port.meaning
        assert all(field.meaning for field in port.fields)
        assert len({field.name for field in port.fields}) == len(port.fields)
        assert 0 < design.bandwidth(config).get(port.name, port.width) <= port.width
    for event in design.events(config):
        assert event.meaning
        assert event.kind in ("work", "time")
        assert event.width >= 1
    assert len({event.name for event in design.events(config)}) == len(design.events(config))
