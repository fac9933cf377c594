"""Prices of memories fitted to macros in Liberty."""

import gzip
import itertools

import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.scripts.studies import memory_macros
from nibbleforge.sim.silicon.prices import read_table
from nibbleforge.sim.studies.memory_macros import fit, read_macros

PRICE = (1000.0, 20.0, 300.0, 5.0)  # whatever the size, a word, a bit of width, a bit


def macro(address, width, ports=2):
    """A library of one memory."""
    words = 1 << address
    fixed, word, column, bit = PRICE
    area = fixed + word * words + column * width + bit * words * width
    delay = 2 + words / 512
    pins = "".join(
        f"""bus (D{i}) {{ direction : input; memory_write () {{ address : A{i}; }} }}
        bus (Q{i}) {{ direction : output; memory_read () {{ address : A{i}; }}
          timing () {{ related_pin : CK; timing_type : rising_edge;
            cell_rise (t) {{ values ("{delay - 0.5}, {delay}", "{delay - 1}, {delay - 0.25}"); }}
            cell_fall (t) {{ values ("{delay - 0.5}, {delay - 0.125}"); }} }}
          timing () {{ related_pin : CK; timing_type : hold_rising;
            cell_rise (t) {{ values ("99"); }} }} }}
        """
        for i in range(ports)
    )
    return f"""library (l) {{ cell (RAM_{words}x{width}) {{ area : {area};
      memory () {{ type : ram; address_width : {address}; word_width : {width}; }}
      {pins} }} }}
    """


@pytest.fixture
def files(tmp_path):
    paths = []
    for address, width in itertools.product((6, 8, 9), (8, 16, 32)):
        path = tmp_path / f"{address}_{width}.lib.gz"
        path.write_bytes(gzip.compress(macro(address, width).encode()))
        paths.append(path)
    one_port = tmp_path / "one_port.lib"
    one_port.write_text(macro(10, 64, ports=1))
    return [*paths, one_port]


def test_macros_are_read(files):
    (found,) = read_macros(files[5])
    assert (found.words, found.width) == (256, 32)
    assert found.access_ns == 2.5  # the longest from the clock to the data
    assert read_macros(files[-1]) == []


def test_prices_that_are_exact_are_found(files):
    found = fit(files, "the source")
    price = found.price
    assert (price.fixed, price.word, price.column, price.bit) == pytest.approx(PRICE, rel=1e-3)
    assert price.access_of(512) == pytest.approx(3, rel=1e-3)
    assert (price.most_words, price.most_width, price.source) == (512, 32, "the source")
    assert found.area_error < 1e-3
    assert found.access_error < 1e-3


def test_too_few_macros(files):
    with pytest.raises(UserError) as error:
        fit(files[:3], "")
    assert str(error.value) == "prices take at least 4 macros of 2 ports, got 3."


def test_a_macro_that_says_too_little(tmp_path):
    path = tmp_path / "l.lib"
    path.write_text(macro(6, 8).replace("word_width : 8;", ""))
    with pytest.raises(UserError) as error:
        read_macros(path)
    assert str(error.value) == f"{path} says too little of the memory RAM_64x8: 'word_width'."


def test_what_is_printed_is_a_table(files, tmp_path, capsys):
    memory_macros.command(files, source='IHP"s')
    table = tmp_path / "table.toml"
    table.write_text(f'library = "l"\nunit = "u"\n{capsys.readouterr().out}')
    (price,) = read_table(table).memory
    assert price == fit(files, 'IHP"s').price
