"""Readable Verilog against what Yosys wrote: equal in every cycle, proved by Yosys."""

import re
import subprocess
import sys
from functools import reduce
from operator import or_
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib.wiring import In, Out
from nibbleforge.golden.contract.config import Config
from nibbleforge.hw.lib import emission
from nibbleforge.hw.lib.base import Part
from nibbleforge.hw.lib.memories import buffer_of
from nibbleforge.hw.lib.readable import Description, readable
from nibbleforge.hw.lib.verilog_module import _wrap

OPERANDS = 4
RESULTS = 3

# Proves by induction that both modules give the same: every register is an output.
PROOF = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in ("read_verilog both.v", "hierarchy", "proc", "opt_clean",
                "miter -equiv -flatten -make_outputs one other miter",
                "sat -verify -prove trigger 0 -tempinduct miter"):
    libyosys.Pass.call(design, command)
"""


class Drawing(Config):
    """What a drawn module depends on."""

    seed: int


class Drawn(Part[Drawing]):
    """Expressions drawn at random, of unequal widths and signs, with registers and conditions."""

    def __init__(self, config: Drawing):
        self.rng = np.random.default_rng(config.seed)
        shapes = [self._shape() for _ in range(OPERANDS + RESULTS)]
        operands = {f"i{n}": In(shape) for n, shape in enumerate(shapes[:OPERANDS])}
        results = {f"o{n}": Out(shape) for n, shape in enumerate(shapes[OPERANDS:])}
        super().__init__(config, {**operands, **results})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        values: list[Value] = [getattr(self, f"i{n}") for n in range(OPERANDS)]
        for number in range(RESULTS):
            named = Signal(self._shape(), name=f"named_{number}")
            self._assign(m, named, values)
            values.append(named)
            result = getattr(self, f"o{number}")
            if self.rng.integers(2):
                m.d.comb += result.eq(self._value(values, depth=3))
                continue
            if self.rng.integers(3) == 0:
                selector = Signal(2, name=f"way_{number}")
                m.d.comb += selector.eq(self._value(values, depth=1))
                self._switch(m.d.sync, m, result, selector, values)
                values.append(result)
                continue
            with m.If(self._value(values, depth=2).bool()):
                m.d.sync += result.eq(self._value(values, depth=3))
            with m.Elif(self._value(values, depth=2).any()):
                m.d.sync += result.eq(result + 1)
            values.append(result)
        return m

    def _assign(self, m: Module, signal: Signal, values: list[Value]) -> None:
        """A value in one of the ways in which a process may compute it."""
        way = self.rng.integers(4)
        if way == 0:
            m.d.comb += signal.eq(self._value(values, depth=4))
            return
        if self.rng.integers(2):
            m.d.comb += signal.eq(self._value(values, depth=2))
        if way == 1:
            selector = self._value(values, depth=1)[: 1 + self.rng.integers(2)]
            self._switch(m.d.comb, m, signal, selector, values)
            return
        with m.If(self._value(values, depth=2).any()):
            m.d.comb += signal.eq(self._value(values, depth=2))
        if way == 2:
            with m.Elif(self._value(values, depth=2).any()):
                m.d.comb += signal[:1].eq(self._value(values, depth=2))
        with m.Else():
            m.d.comb += signal.eq(self._value(values, depth=2))

    def _switch(
        self, domain: Any, m: Module, signal: Signal, selector: Value, values: list[Value]
    ) -> None:
        """A case with labels that are alike, that set nothing, or that are missing."""
        few = [self._value(values, depth=2) for _ in range(2)]
        with m.Switch(selector):
            for label in range(1 + self.rng.integers(1 << len(selector))):
                with m.Case(label):
                    if (way := self.rng.integers(4)) == 0:
                        continue
                    if way == 1:
                        with m.If(self._value(values, depth=1).any()):
                            domain += signal.eq(few[0])
                    else:
                        domain += signal.eq(few[self.rng.integers(2)])
            if self.rng.integers(2):
                with m.Default():
                    domain += signal.eq(few[0])

    def _shape(self) -> object:
        width = int(self.rng.integers(1, 6))
        return (signed if self.rng.integers(2) else unsigned)(width)

    def _value(self, values: list[Value], depth: int) -> Value:
        """An operator on values, or one of them."""
        if depth == 0 or self.rng.integers(8) == 0:
            return values[self.rng.integers(len(values))]
        a, b, c = (self._value(values, depth - 1) for _ in range(3))
        low = int(self.rng.integers(len(a)))
        drawn = [
            lambda: a + b,
            lambda: a - b,
            lambda: a * b if len(a) + len(b) < 9 else a ^ b,
            lambda: a & b,
            lambda: a | ~b,
            lambda: Mux(c, a, b),
            lambda: Mux(a == 0, b, c),
            lambda: a > b,
            lambda: (a == b) & c.any(),
            lambda: Cat(a, b)[:8],
            lambda: a[low:],
            lambda: (a + b)[: low + 1],
            lambda: -a,
            lambda: a >> b[:2],
        ]
        return drawn[self.rng.integers(len(drawn))]()[:8]


def two_ways(seed: int) -> tuple[str, str]:
    """A drawn module as Yosys wrote it, and readable."""
    texts = []
    for name in ("one", "other"):
        emitter = emission.Emitter(name)
        module = emitter.convert(Drawn(Drawing(seed=seed)), name)
        texts.append((emission._yosys([module]), {name: module.description}))
    # an expression says by itself what is signed; declarations would make whole slices signed, too
    return texts[0][0].replace(" signed ", " "), readable(*texts[1])


@pytest.mark.parametrize("seed", range(24))
def test_drawn_expressions_keep_their_values(tmp_path, seed):
    assert equal(tmp_path, *two_ways(seed))


def test_the_proof_notices_a_lost_carry(tmp_path):
    """The negative control of the test above."""
    ports = "(input clk, input rst, input [1:0] a, output y);"
    one = f"module one{ports}\n  wire [2:0] s = a + 2'h3;\n  assign y = s > 2'h2;\nendmodule\n"
    other = f"module other{ports}\n  assign y = (a + 2'h3) > 2'h2;\nendmodule\n"
    assert not equal(tmp_path, one, other)


def test_a_sum_keeps_its_carry_in_a_comparison():
    text = (
        "module m(a, y);\n  input [1:0] a;\n  wire [1:0] a;\n  output y;\n  wire y;\n"
        "  wire [2:0] _0_;\n  assign _0_ = a + 2'h3;\n  assign y = _0_ > 2'h2;\nendmodule\n"
    )
    found = readable(text, {"m": Description("A sum.", ["a", "y"])})
    assert "assign y = _0_ > 3'd2;" in found
    wide = readable(text.replace("a + 2'h3", "a + 3'h3"), {"m": Description("", ["a", "y"])})
    assert "assign y = (a + 3'd3) > 3'd2;" in wide


def equal(folder, one: str, other: str) -> bool:
    """Whether two modules of these names are equal."""
    (folder / "both.v").write_text(f"{one}\n{other}")
    command = [sys.executable, "-c", PROOF]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "proof did fail" in done.stderr, done.stdout + done.stderr
    return done.returncode == 0


class Table(Part[Drawing]):
    """A buffer that has contents, and one that has none."""

    def __init__(self, config: Drawing):
        super().__init__(config, {"address": In(4), "data": Out(16)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        filled = buffer_of(m, "filled", 16, 16, [1234, 0, 0xBEEF])
        empty = buffer_of(m, "empty", 16, 16)
        for memory in (filled, empty):
            write, read = memory.write_port(), memory.read_port(domain="comb")
            m.d.comb += [write.en.eq(self.address == 7), read.addr.eq(self.address)]
            with m.If(self.address != 9):
                m.d.sync += self.data.eq(read.data)
        return m


def test_a_buffer_is_filled_with_what_it_has():
    verilog, _ = emission.to_verilog(Table(Drawing(seed=0)), "table_of_words")
    fills = """  initial begin : fill_filled
    integer i;
    for (i = 0; i < 16; i = i + 1)
      filled[i] = 16'h0;
    filled[0] = 16'h4d2;
    filled[2] = 16'hbeef;
  end
"""
    assert fills in verilog
    assert verilog.count("initial") == 1


def test_zeros_of_a_buffer_are_not_even_written_for_yosys(monkeypatch):
    """Amaranth writes contents bit by bit: those of a large core took minutes."""
    written = []
    convert = emission.rtlil.convert

    def watched(*given, **options):
        written.append(convert(*given, **options))
        return written[-1]

    monkeypatch.setattr(emission.rtlil, "convert", watched)
    emission.to_verilog(Table(Drawing(seed=0)), "table_of_words")
    (text,) = written
    assert text.count("cell $meminit_v2") == 2
    assert text.count("connect \\DATA 256'") == 1


class Chosen(Part[Drawing]):
    """Two registers that one label of a case sets."""

    def __init__(self, config: Drawing):
        super().__init__(config, {"way": In(2), "sum": Out(4), "last": Out(4)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.Switch(self.way):
            with m.Case(1):
                m.d.sync += [self.sum.eq(self.sum + 3), self.last.eq(self.sum)]
            with m.Case(2):
                m.d.sync += [self.sum.eq(self.last), self.last.eq(1)]
        return m


def test_registers_that_one_label_sets_are_a_block(tmp_path):
    emitter = emission.Emitter("one")
    module = emitter.convert(Chosen(Drawing(seed=0)), "one")
    text = emission._yosys([module])
    found = readable(text, {"one": module.description})
    assert len(re.findall(r"'h[12]: begin\n +sum <= .*\n +last <= .*\n +end\n", found)) == 2
    assert equal(tmp_path, text, found.replace("module one ", "module other "))


class Labelled(Part[Drawing]):
    """Cases with labels that set nothing, the same, or what holds anyway."""

    def __init__(self, config: Drawing):
        outputs = {"few": Out(4), "kept": Out(4), "one": Out(4), "half": Out(4), "nested": Out(4)}
        super().__init__(config, {"way": In(2), "a": In(4), "b": In(4), **outputs})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.few.eq(5)
        with m.Switch(self.way):
            with m.Case(0):
                pass
            with m.Case(1):
                m.d.comb += self.few.eq(self.a)
            with m.Case(2):
                m.d.comb += self.few.eq(self.b)
                m.d.sync += self.one.eq(self.one + 1)
            with m.Case(3):
                m.d.comb += self.few.eq(self.a)
        with m.Switch(self.way):
            with m.Case(0):
                m.d.sync += self.kept.eq(self.a)
            with m.Case(1), m.If(self.a[0]):
                m.d.sync += self.kept.eq(0)
            with m.Case(2):
                m.d.sync += self.kept.eq(self.a)
            with m.Default():
                m.d.sync += self.kept.eq(self.kept - 1)
        with m.Switch(self.way[0]), m.Case(0):
            m.d.sync += self.half.eq(self.b)
        with m.If(self.a[1]), m.If(self.b[1]):
            m.d.sync += self.nested.eq(self.a)
        with m.Elif(self.a[2]):
            m.d.sync += self.nested.eq(self.b)
        return m


def test_labels_are_as_few_as_they_can_be(tmp_path):
    emitter = emission.Emitter("one")
    module = emitter.convert(Labelled(Drawing(seed=0)), "one")
    text = emission._yosys([module])
    found = readable(text, {"one": module.description})
    assert "      2'h1, 2'h3: few = a;\n      2'h2: few = b;\n      default: few = 4'h5;\n" in found
    assert "      2'h0, 2'h2: kept <= a;\n" in found
    assert "    if (way == 2'd2)\n      one <= one + 1'b1;\n" in found
    assert "    if (~way[0])\n      half <= b;\n" in found
    assert "empty" not in found
    assert equal(tmp_path, text, found.replace("module one ", "module other "))


class Machine(Part[Drawing]):
    """A state machine, one state of which is called as a net is."""

    def __init__(self, config: Drawing):
        super().__init__(config, {"a": In(2), "b": In(4), "found": Out(4), "STOP": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.FSM() as machine:
            with m.State("WAIT"):
                m.d.comb += self.found.eq(self.b)
                with m.If(self.a[0]):
                    m.next = "COUNT"
            with m.State("COUNT"), m.Switch(self.a):
                with m.Case(1):
                    m.next = "STOP"
                with m.Case(2):
                    m.next = "WAIT"
                with m.Default():
                    m.d.comb += self.found.eq(1)
            with m.State("STOP"), m.If(self.a == 3):
                m.next = "WAIT"
        m.d.comb += self.STOP.eq(machine.ongoing("STOP"))
        return m


def test_states_are_constants(tmp_path):
    emitter = emission.Emitter("one")
    module = emitter.convert(Machine(Drawing(seed=0)), "one")
    text = emission._yosys([module])
    found = readable(text, {"one": module.description})
    assert "  localparam [1:0] WAIT = 2'h0;\n  localparam [1:0] COUNT = 2'h1;\n" in found
    assert "  localparam [1:0] fsm_state_STOP = 2'h2;\n" in found
    assert "assign STOP = fsm_state == fsm_state_STOP;" in found
    assert "      COUNT:\n        case (a)\n          2'h1: fsm_state <= fsm_state_STOP;\n" in found
    assert not re.search(r"fsm_state (?:[=!]=|<?=) \d", found)
    assert equal(tmp_path, text, found.replace("module one ", "module other "))


class Coded(Part[Drawing]):
    """Nets whose numbers stand for something."""

    codes = MappingProxyType({"kind": {0: "KIND_NONE", 1: "KIND_ROW", 3: "KIND_WORD"}})

    def __init__(self, config: Drawing):
        super().__init__(config, {"a": In(2), "kind": In(2), "next_kind": Out(2), "kinds": Out(2)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held_kind = Signal(2)
        m.d.comb += self.next_kind.eq(Mux(self.a[0], Mux(self.a[1], 3, 1), held_kind))
        with m.Switch(self.kind):
            with m.Case(1, 3):
                m.d.sync += held_kind.eq(self.a)
            with m.Case(2):
                m.d.sync += held_kind.eq(3)
        m.d.comb += self.kinds.eq(Mux(held_kind == 1, 1, self.a))
        return m


def test_codes_are_constants(tmp_path):
    emitter = emission.Emitter("one")
    module = emitter.convert(Coded(Drawing(seed=0)), "one")
    text = emission._yosys([module])
    found = readable(text, {"one": module.description})
    constants = re.findall(r"^  localparam .*$", found, re.MULTILINE)
    assert constants == [
        f"  localparam [1:0] KIND_{name} = 2'h{code};"
        for name, code in (("NONE", 0), ("ROW", 1), ("WORD", 3))
    ]
    assert "assign next_kind = a[0] ? (a[1] ? KIND_WORD : KIND_ROW) : held_kind;" in found
    assert (
        "      KIND_ROW, KIND_WORD: held_kind <= a;\n      2'h2: held_kind <= KIND_WORD;" in found
    )
    assert "assign kinds = (held_kind == KIND_ROW) ? 2'h1 : a;" in found
    assert equal(tmp_path, text, found.replace("module one ", "module other "))


class Joined(Part[Drawing]):
    """A row of ors that is too long for a line."""

    def __init__(self, config: Drawing):
        super().__init__(config, {"a": In(12), "b": In(36), "most": Out(3)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parts = [self.b.word_select(i, 3) & self.a[i].replicate(3) for i in range(12)]
        m.d.sync += self.most.eq(reduce(or_, parts))
        return m


def test_a_row_of_one_operator_is_one_expression(tmp_path):
    emitter = emission.Emitter("one")
    module = emitter.convert(Joined(Drawing(seed=0)), "one")
    text = emission._yosys([module])
    found = readable(text, {"one": module.description})
    (row,) = re.findall(r"^    most <= ([^;]*);", found, re.MULTILINE)
    assert row.count("|") == 11
    assert "\n      | " in row
    assert equal(tmp_path, text, found.replace("module one ", "module other "))


def test_bits_that_nobody_reads_are_not_assigned():
    text = (
        "module m(a, b, y);\n  input [3:0] a;\n  wire [3:0] a;\n  input [3:0] b;\n"
        "  wire [3:0] b;\n  output y;\n  wire y;\n  wire [3:0] sum;\n  wire [4:0] _0_;\n"
        "  assign { _0_[4], sum } = a + b;\n  assign y = &sum;\n{}endmodule\n"
    )
    described = {"m": Description("A sum.", ["a", "b", "y"])}
    assert "assign sum = a + b;" in readable(text.replace("{}", ""), described)
    carried = text.replace("{}", "").replace("&sum", "_0_[4]")
    assert "assign { _0_[4], sum } = a + b;" in readable(carried, described)


def test_lines_end_between_operands_not_within_them():
    terms = [f"(operand_{number} & {{4{{bit_{number}}}}})" for number in range(8)]
    lines = _wrap(f"  assign total = {' | '.join(terms)};")
    assert len(lines) > 1
    assert all(line.count("(") == line.count(")") for line in lines)
