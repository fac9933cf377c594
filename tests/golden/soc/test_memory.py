"""Rows in memory: layout, registers, and the schedule of bursts, worked out by hand."""

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.reglu.config import Matrix, RegluConfig
from nibbleforge.golden.reglu.unit import REGLU_FFN
from nibbleforge.golden.soc.memory import Image, Rows, config_around, fetching
from nibbleforge.golden.soc.registers import register_map
from nibbleforge.golden.soc.supply import FetchedRows
from nibbleforge.tb.tb_reglu import drawn

UNIT = RegluConfig(
    lanes=4, max_features=12, max_neurons=6, max_rank=8, in_flight=2, survivors=2, mask_group=4
)
D, NEURONS, RANK = 10, 5, 6


def core(**values):
    config = config_around(RegluConfig, fetches=True)(unit=UNIT, **values)
    found = fetching(config, REGLU_FFN.ports(UNIT))
    assert found is not None
    return found


def operands():
    return drawn(UNIT, np.random.default_rng(0), 2, (D, NEURONS, RANK), 0.5)


def image(rows):
    return Image.of(rows, REGLU_FFN.traffic(UNIT, operands())["rows"].words)


def test_rows_and_their_words_lie_one_after_the_other():
    """A: 6 rows of 3 beats and a word; B: 5 of 2 and a word; gate, up, down: 5 of 3 and a word."""
    _, rows = core()
    found, run = image(rows), operands()
    beat = 4
    assert (rows.beat_bytes, found.beats) == (beat, {"x": 3, "b": 2})
    assert found.base == {"a": 0, "b": 24 * beat, "gate": 39 * beat, "up": 59 * beat,
                          "down": 79 * beat}  # fmt: skip
    assert found.stride == {"a": 16, "b": 12, "gate": 16, "up": 16, "down": 16}
    assert len(found.content) == 99 * beat
    row = found.content[found.base["gate"] + 2 * 16 :][:16]
    assert row[:D].view(np.int8).tolist() == run.gate[2].tolist()
    assert row[D:12].tolist() == [0, 0]
    assert row[12:].view("<u4")[0] == int(run.gate_mult[2]) | int(run.gate_shift[2]) << 16
    row = found.content[found.base["b"] + 4 * 12 :][:12]
    assert row[:RANK].view(np.int8).tolist() == run.b[4].tolist()
    assert row[8:].view("<i4")[0] == run.thresholds[4]


@pytest.mark.parametrize("lanes", [1, 3, 17])
def test_beats_of_memory_are_powers_of_two(lanes):
    unit = UNIT.replace(lanes=lanes)
    rows = Rows.of(REGLU_FFN.ports(unit))
    assert rows.data_bits == max(32, 1 << (8 * lanes - 1).bit_length())
    assert rows.supported


def test_rows_wider_than_a_beat_of_axi_are_refused():
    unit = UNIT.replace(lanes=129)
    config = config_around(RegluConfig, fetches=True)(unit=unit)
    with pytest.raises(UserError) as caught:
        fetching(config, REGLU_FFN.ports(unit))
    assert str(caught.value) == "a beat of rows must have at most 1024 bits, as in AXI, got 1032."


def test_registers_say_where_rows_are():
    config, rows = core(address_bits=40)
    found = image(rows).settings(config, 0x12_3456_7000)
    assert (found["gate_base"], found["gate_base_high"]) == (0x3456_7000 + 39 * 4, 0x12)
    assert (found["gate_stride"], found["b_beats"], found["x_beats"]) == (16, 2, 3)
    known = register_map(REGLU_FFN, config, ())
    assert {name for name in found if name not in known} == set()
    assert "outputs" not in known
    assert known["gate_base_high"].width == 8


def test_rows_must_fit_the_addresses():
    config, rows = core()
    with pytest.raises(
        UserError, match=r"^rows must begin at a multiple of 4 bytes, got 0x1002\.$"
    ):
        image(rows).settings(config, 0x1002)
    with pytest.raises(UserError) as caught:
        image(rows).settings(config, (1 << 32) - 64)
    assert str(caught.value) == (
        "rows of 396 bytes from address 0xffffffc0 on do not fit addresses of 32 bits."
    )


def fetched(latency, address=0, **values):
    config, rows = core(**values)
    return FetchedRows(config, rows, image(rows), address, np.array(latency))


def test_one_row_by_hand():
    """Accepted in 5, taken in 6, asked for in 7, seen by memory in 8, which answers in 18."""
    supply = fetched([10])
    assert supply.take(Matrix.GATE, 1, 1, 3, 5, 0) == [19, 20, 21]
    assert supply.bursts == [(39 * 4 + 16, 4)]
    assert (supply.asked, supply.taken) == ([8], [18, 19, 20, 21])
    assert supply.pulses()["stall_memory"].cycles.tolist() == list(range(8, 18))


def test_rows_of_a_request_are_asked_for_every_other_cycle():
    supply = fetched([3])
    assert supply.take(Matrix.B, 0, 3, 2, 0, 0) == [7, 8, 10, 11, 13, 14]
    assert supply.asked == [3, 5, 7]  # memory is busy until 14
    assert supply.take(Matrix.GATE, 0, 1, 3, 1, 0) == [16, 17, 18]
    assert supply.asked[-1] == 10  # taken in 8, two after the ask in 6


def test_a_row_that_is_long_or_leaves_a_page_is_several_bursts():
    supply = fetched([1], 4096 - 39 * 4 - 4, burst=2)
    supply.take(Matrix.GATE, 0, 1, 3, 0, 0)
    assert supply.bursts == [(4092, 1), (4096, 2), (4104, 1)]
    assert supply.asked == [3, 5, 7]
    assert supply.taken == [4, 6, 7, 8]


def test_rows_ahead_are_bounded_and_the_unit_may_make_memory_wait():
    supply = fetched([1], rows_ahead=1)
    assert supply.take(Matrix.B, 0, 2, 2, 0, 20) == [20, 21, 25, 26]
    assert supply.taken == [4, 20, 21, 24, 25, 26]
    assert supply.begun == [2, 22]  # the cycle after the word of the row before


def test_latencies_are_those_of_bursts_in_turn():
    supply = fetched([1, 30])
    supply.take(Matrix.B, 0, 3, 2, 0, 0)
    assert [supply.taken[i] for i in (0, 3, 6)] == [4, 35, 38]
    beats = supply.beats()["m_axi_r"]
    assert beats.answers.port == "m_axi_ar"
    assert beats.answers.needs.tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert beats.answers.latency.tolist() == [1, 30, 1]
