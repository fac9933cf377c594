"""Declared prices of memories."""

import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.sim.silicon.memories import Memory
from nibbleforge.sim.silicon.prices import TECH, MemoryPrice, PriceTable, find_table, read_table


def memory(words=64, width=8, clocked=(True,), writes=1):
    return Memory("nibbleforge_memory_0", "m", "bank", words, width, clocked, writes, 6)


def test_price():
    price = MemoryPrice(
        kind="k", source="s", fixed=100.0, bit=2.0, read=0.5, write=0.25, address=10.0
    )
    assert price.price(memory()) == 100 + 512 * 2.5 + 60
    assert price.price(memory(clocked=(True, False), writes=3)) == 100 + 512 * 3.5 + 60


def test_price_of_words_and_columns():
    price = MemoryPrice(
        kind="k", source="s", fixed=100.0, word=3.0, column=7.0, bit=2.0, access_ns=1.0,
        access_word_ns=0.5, most_words=32, most_width=8,
    )  # fmt: skip
    assert price.price(memory(words=32)) == 100 + 32 * 3 + 8 * 7 + 256 * 2
    assert price.access_of(16) == 9
    # two parts above each other: each has its own columns; two side by side: their own words
    assert price.price(memory(words=64)) == 2 * price.price(memory(words=32))
    assert price.price(memory(words=32, width=16)) == 2 * price.price(memory(words=32))
    assert price.access_of(64) == price.access_of(32)


def test_prices_of_ihp_are_those_of_its_macros():
    table = read_table(TECH / "sg13g2.toml")
    sram = table.memory[0]
    assert len(sram.macro) == 10
    for macro in sram.macro:
        assert sram.area_of(macro.words, macro.width) == pytest.approx(macro.area, rel=0.017)
        assert sram.access_of(macro.words) == pytest.approx(macro.access_ns, rel=0.081)
        whole = memory(macro.words, macro.width)
        assert table.kind_of(whole).kind == "sram"
    assert table.kind_of(memory(words=16)).kind == "latch array"


def test_the_cheapest_kind_that_suits_is_taken():
    table = read_table(TECH / "osu018.toml")
    assert table.kind_of(memory()).kind == "latch array"
    assert table.kind_of(memory(words=256)).kind == "sram"
    assert table.kind_of(memory(words=256, clocked=(False,))).kind == "latch array"
    assert table.kind_of(memory(words=256, clocked=(True, True))).kind == "latch array"
    assert table.kind_of(memory(words=256, writes=2)).kind == "latch array"
    small = PriceTable(library="l", unit="u", memory=[table.memory[0]])
    with pytest.raises(UserError) as error:
        small.kind_of(memory())
    assert str(error.value) == (
        "no kind in the memory table for l suits bank of m: 64 x 8 bits, 1 clocked read, "
        "1 write ports."
    )


def test_tables_that_come_along():
    for path in TECH.glob("*.toml"):
        table = read_table(path)
        assert find_table(table.library) == table
        assert all(entry.source for entry in table.memory)
    assert find_table("unheard of") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("library = ", "Invalid value"),
        ('library = "l"\nunit = "u"\nmemory = []', "at least 1 item"),
        ('library = "l"\nunit = "u"', "memory is required"),
        ('library = "l"\nunit = "u"\n[[memory]]\nkind = "k"\nsource = "s"\nbit = -1.0', "greater"),
    ],
)
def test_what_is_no_table(tmp_path, text, reason):
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(UserError, match=reason) as error:
        read_table(tmp_path / "t.toml")
    assert str(error.value).startswith(f"{tmp_path / 't.toml'} is not a memory table: ")
