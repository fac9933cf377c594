from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.ports import Field, Port
from nibbleforge.golden.dense import DenseConfig
from nibbleforge.golden.soc.config import Packing, ResultPacking, header
from nibbleforge.golden.soc.cores import core_of
from nibbleforge.golden.soc.memory import config_around
from nibbleforge.golden.units import core_name, unit

DENSE = DenseConfig(rows=4, columns=4, max_k=64, passes=1)


def core(**values):
    return config_around(DenseConfig)(unit=DENSE, **values)


@pytest.mark.parametrize(
    ("width", "lanes", "words", "size"),
    [(1, 32, 1, 1), (4, 8, 1, 1), (5, 4, 1, 2), (16, 2, 1, 3), (17, 1, 1, 5), (32, 1, 1, 5),
     (33, 1, 2, 10), (100, 1, 4, 20)],
)  # fmt: skip
def test_packing_by_hand(width, lanes, words, size):
    packing = Packing(width, 32)
    assert (packing.lanes, packing.words, packing.size(5)) == (lanes, words, size)


@given(st.integers(1, 200), st.sampled_from([32, 64, 128]), st.integers(0, 9), st.randoms())
def test_every_bit_is_where_the_packing_says(width, bus, count, rng):
    values = [rng.getrandbits(width) for _ in range(count)]
    words = -(-width // 32)
    raw = b"".join(value.to_bytes(4 * words, "little") for value in values)
    packing = Packing(width, bus)
    packed = packing.pack(np.frombuffer(raw, "<u4").reshape(-1, words))
    assert packed.shape == (packing.size(count), bus // 32)
    whole = int.from_bytes(packed.tobytes(), "little")
    room = bus // packing.lanes if packing.lanes > 1 else bus * packing.words
    assert whole == sum(value << i * room for i, value in enumerate(values))


def test_results_are_widened_to_whole_containers():
    fields = (Field("value", 24, "sums", True, 3), Field("ones", 12, "sum", True))
    packing = ResultPacking(Port("y", "out", fields, ""), 32)
    rows = packing.port.pack(value=[[-1, 5, -(1 << 23)]], ones=[-2])
    assert packing.words == 4
    assert packing.pack(rows).ravel().tolist() == [0xFFFFFFFF, 5, 0xFF800000, 0x0000FFFE]
    found = packing.unpack(packing.pack(rows))
    assert {name: values.tolist() for name, values in found.items()} == {
        "value": [[-1, 5, -(1 << 23)]],
        "ones": [-2],
    }


def test_header_by_hand():
    assert header(core(), 3, 2, 500).tolist() == [[3 | 2 << 8 | 500 << 16]]
    assert header(core(bus_width=128), 3, 2, 1).tolist() == [[3 | 2 << 8 | 1 << 16, 0, 0, 0]]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"block_beats": 100}, "block_beats must be a power of two of at least 2, got 100."),
        ({"depths": {"x": 3}}, "depths.x must be a power of two of at least 2, got 3."),
        ({"bus_width": 48}, "bus_width: input should be 32, 64 or 128, got 48."),
        ({"token_blocks": 0}, "token_blocks: input should be greater than or equal to 1, got 0."),
    ],
)
def test_illegal_parameters(values, sentence):
    with pytest.raises(UserError) as caught:
        core(**values)
    assert str(caught.value) == sentence


def test_parameters_of_the_unit_are_checked():
    with pytest.raises(UserError, match=r"^unit.rows: input should be greater than or equal to 1"):
        config_around(DenseConfig)(unit={"rows": 0})


def test_json_makes_the_same_configuration():
    config = core(depths={"w": 32})
    again = type(config)(**config.model_dump(mode="json"))
    assert again == config
    assert again.config_hash == config.config_hash


def test_units_with_blocks_and_streams_are_refused():
    owner = unit("dense2k")
    config = owner.presets["tiny"]
    (design,) = owner.designs(config)
    mixed = replace(
        design,
        name="mixed",
        ports=lambda config: (
            *design.ports(config),
            Port("more", "in", (Field("value", 4, ""),), ""),
        ),
    )
    with pytest.raises(UserError) as caught:
        core_of(replace(owner, designs=lambda _: (mixed,)))
    assert str(caught.value) == (
        "the core takes units whose inputs are blocks of tokens and outputs and that give results, "
        "or plain streams alone; mixed is none."
    )


def test_unknown_units_are_refused():
    with pytest.raises(UserError, match=r"^there is no unit 'nono'; the units are "):
        unit(core_name("nono"))
