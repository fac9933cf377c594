"""Expressions of Verilog put together from single operators.

Verilog evaluates an operator in a width that depends on where it stands: on the widest operand
around it and on the target. A result that Yosys gave a wire of its own may therefore move into
another expression only where it is evaluated in the very width of that wire.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from .verilog_module import NAME, SLICE, STEP, Assign, Module, Process, part_of

_LONGEST = 72  # characters of an expression that moves into another
_FEW = 3  # bits whose reduction is written with an operator between them
_LONGEST_CHAIN = 1000  # of what goes on as it began: choices, operands of the same operator

_ATOM = r"\d+'s?[bdh]\w+|[A-Za-z_]\w*(?:\[\d+(?::\d+)?\])?"
_GROUP = r"\{ [^{}]* \}"
_OPERAND = rf"\$signed\((?:{_ATOM}|{_GROUP})\)|{_ATOM}|{_GROUP}"
_UNARY = re.compile(rf"(~\||~&|~\^|[~|&^-]) ({_OPERAND})")
_BINARY = re.compile(rf"({_OPERAND}) (\S+) ({_OPERAND})")
_TERNARY = re.compile(rf"({_OPERAND}) \? ({_OPERAND}) : ({_OPERAND})")
_LITERAL = re.compile(r"(\d+)'(s?)([hd])([0-9a-f]+)")
_CONCATENATION = re.compile(r"\{ ([^{}]*) \}")
_SHIFTED = re.compile(r"\{ (\d+)'h0+, ([A-Za-z_]\w*)\[(\d+):(\d+)\] \}")
_INVERSE = re.compile(r"~(\|?) ([A-Za-z_]\w*)")
_COMPARED = re.compile(r"([A-Za-z_][\w[\]:]*) == \d+'[hd]\w+|~\| ([A-Za-z_][\w[\]:]*)")
_CUT = re.compile(r"(_\d+_)\[(?:\d+:)?0\]")
_EXTENDED = re.compile(rf"\{{ \d+'h0+, ({_ATOM}) \}}")
_CONDITION = re.compile(r"( *(?:end else )?if \()(\w+)(\) begin)")

_ASSOCIATIVE = {"&", "|", "^"}
_ARITHMETIC = {"+", "-", "*"}
_BITWISE = {"&", "|", "^", "~^", "+", "-", "*"}
"""Low bits of the result depend on low bits of the operands alone."""
_COMPARISONS = {"==", "!=", "<", "<=", ">", ">="}
_SHIFTS = {"<<", ">>"}


@dataclass(frozen=True)
class Expression:
    """An expression.

    Attributes
    ----------
    text
        Verilog.
    bits
        Width where nothing around it asks for more.
    signed
        Whether operands are extended by their sign.
    simple
        Whether it can be an operand as it is.
    closed
        Whether it has the same value in any context that is wide enough.
    low
        Width of the widest operand if low bits of the result depend on low bits of operands alone.
    moved
        Wires that it makes superfluous.
    operator
        What joins its operands, if it joins two.
    """

    text: str
    bits: int
    signed: bool = False
    simple: bool = False
    closed: bool = False
    low: int | None = None
    moved: frozenset[str] = frozenset()
    operator: str = ""

    @property
    def operand(self) -> str:
        """As an operand of another expression."""
        return self.text if self.simple else f"({self.text})"


class Expressions:
    """Puts the expressions of a module together.

    Parameters
    ----------
    module
        The module.
    outputs
        Outputs of every module.
    """

    def __init__(self, module: Module, outputs: Mapping[str, set[str]]):
        self.module = module
        self.outputs = outputs
        reads = Counter(module.reads(outputs))
        results = {
            statement.target: statement.value
            for statement in module.statements
            if isinstance(statement, Assign)
            and statement.target in module.nets
            and module.nets[statement.target].anonymous
        }
        self.repeated = {
            name
            for name, value in results.items()
            if reads[name] > 1 and (self._inverts(value, reads, results) or self._compares(value))
        }
        self.values = {
            name: value
            for name, value in results.items()
            if reads[name] == 1 or name in self.repeated
        }
        self.moved: set[str] = set()
        self.limit: int | None = None  # width of the target, where it takes low bits only
        self.last = ""  # the last alternative of a choice
        self.chained: set[str] = set()  # operands that their operator joins as well

    def _inverts(self, value: str, reads: Mapping[str, int], results: Mapping[str, str]) -> bool:
        """Whether it is the inverse of a net that stays: as short as a name for it would be."""
        match = _INVERSE.fullmatch(value)
        if match is None or (match[1] and self.module.bits(match[2]) != 1):
            return False
        return match[2] not in results or reads[match[2]] > 1

    def _compares(self, value: str) -> bool:
        """Whether it compares a net that has a name with a number: that says more than a name."""
        match = _COMPARED.fullmatch(value)
        net = self.module.nets.get((match[1] or match[2]).partition("[")[0]) if match else None
        return net is not None and not net.anonymous

    def inline(self) -> None:
        """Move every result without a name that is used once, and what merely inverts a net."""
        results: dict[str, Assign] = {}
        for statement in self.module.statements:
            if isinstance(statement, Assign) and statement.target in self.values:
                results[statement.target] = statement
            elif isinstance(statement, Assign):
                statement.value = self._assigned(statement.target, statement.value)
            elif isinstance(statement, Process):
                statement.body = [self._step(line) for line in statement.body]
            else:
                for pin, value in statement.pins.items():
                    if pin not in self.outputs[statement.module]:
                        statement.pins[pin] = self._done(self._operand(value, None), value)
        for name in self._readers_first():
            if name not in self.moved:
                results[name].value = self._assigned(name, results[name].value)
        self.module.statements = [
            statement
            for statement in self.module.statements
            if not (isinstance(statement, Assign) and statement.target in self.moved)
        ]

    def _readers_first(self) -> Iterator[str]:
        """Results, each after the one that reads it: that decides whether it moves."""
        readers = {
            read: name for name, value in self.values.items() for read in NAME.findall(value)
        }
        seen: set[str] = set()
        for name in self.values:
            chain = []
            while name in self.values and name not in seen:
                seen.add(name)
                chain.append(name)
                name = readers.get(name, "")
            yield from reversed(chain)

    def _done(self, found: Expression | None, otherwise: str) -> str:
        if found is None:
            return otherwise
        self.moved |= found.moved
        return found.text

    def _step(self, line: str) -> str:
        """A line of a process."""
        if step := STEP.fullmatch(line):
            return f"{step[1]}{step[2]} {step[3]} {self._assigned(step[2], step[4])};"
        if condition := _CONDITION.fullmatch(line):
            value = self._done(self._operand(condition[2], None), condition[2])
            return f"{condition[1]}{value}{condition[3]}"
        return line

    def _assigned(self, target: str, value: str) -> str:
        """What is assigned to a target as wide as it is."""
        bits = self.module.bits(target)
        if bits is None:
            return value
        name, part, rest = value.partition("[")
        if name in self.values and (not part or rest == f"{bits - 1}:0]" or rest == "0]"):
            whole = self.module.nets[name].width
            self.limit = bits
            found = self._expression(self.values[name], whole)
            self.limit = None
            if found is not None and (whole == bits or (found.low or whole) <= bits):
                self.moved |= found.moved | ({name} - self.repeated)
                return found.text
        return self._done(self._expression(value, bits), value)

    def _operand(self, text: str, bits: int | None, *, compared: bool = False) -> Expression | None:
        """An operand, evaluated in so many bits, or by itself; None if its width is not known.

        What it is compared with does not widen it where it is ``compared``.
        """
        limit = self.limit
        if not bits or compared:
            self.limit = None  # all bits matter
        found = self._inside(text, bits, compared=compared)
        self.limit = limit
        return found

    def _inside(self, text: str, bits: int | None, *, compared: bool) -> Expression | None:
        """The operand, no more of it than the target takes."""
        if text.startswith("$signed("):
            if (literal := _LITERAL.fullmatch(text[8:-1])) and (number := _signed(literal)):
                return number
            inner = self._operand(text[8:-1], None)
            if inner is None:
                return None
            return _joined(f"$signed({inner.text})", inner.bits, [inner], signed=True, simple=True)
        if literal := _LITERAL.fullmatch(text):
            return self._literal(text, literal)
        extended = _EXTENDED.fullmatch(text) if bits else None
        if extended and not _SHIFTED.fullmatch(text):
            return self._operand(extended[1], bits, compared=compared)
        if text.startswith("{"):
            return self._expression(text, 0)
        width = self.module.bits(text)
        if width is None:
            return None
        if (
            bits == width
            and not compared
            and (cut := _CUT.fullmatch(text))
            and (whole := self._cut(cut[1], width)) is not None
        ):
            return whole
        if text in self.values:
            chained = text in self.chained
            chained |= text == self.last and bool(_TERNARY.fullmatch(self.values[text]))
            longest = _LONGEST_CHAIN if chained else _LONGEST
            found = self._expression(self.values[text], width)
            if found is not None and not found.signed and len(found.text) <= longest:
                exact = found.bits == width
                fits = exact if bits is None else bits == width and (exact or not compared)
                limit = self.limit or 0  # no other bits of it matter
                low = limit <= width and found.low is not None and found.low <= limit
                if fits or low or (found.closed and bits is not None):
                    own = {text} - self.repeated
                    return replace(found, moved=found.moved | own)
        if self.limit is not None and self.limit < width:
            width = self.limit
            text = _low_part(text, width)
        return Expression(text, width, simple=True, closed=True)

    def _cut(self, name: str, bits: int) -> Expression | None:
        """The low bits of a result as all of it, where an operator takes no more than those."""
        if name not in self.values or name in self.repeated:
            return None
        limit, self.limit = self.limit, min(bits, self.limit or bits)
        found = self._expression(self.values[name], self.module.nets[name].width)
        self.limit = limit
        if found is None or found.signed or found.low is None or found.low > bits:
            return None
        return replace(found, moved=found.moved | {name}) if len(found.text) <= _LONGEST else None

    def _literal(self, text: str, literal: re.Match[str]) -> Expression:
        """A number, no wider than what is kept of the result."""
        bits, signed = int(literal[1]), bool(literal[2])
        if self.limit is not None and self.limit < bits and not signed:
            value = int(literal[4], 16 if literal[3] == "h" else 10)
            if value < 1 << self.limit:
                text, bits = f"{self.limit}'h{value:x}", self.limit
        return Expression(text, bits, signed, simple=True, closed=not signed)

    def _expression(self, value: str, bits: int) -> Expression | None:
        """What Yosys wrote for a target of so many bits, its operands put in."""
        if match := _TERNARY.fullmatch(value):
            return self._ternary(match[1], match[2], match[3], bits)
        if match := _BINARY.fullmatch(value):
            return self._binary(match[1], match[2], match[3], bits)
        if match := _UNARY.fullmatch(value):
            return self._unary(match[1], match[2], bits)
        if (match := _SHIFTED.fullmatch(value)) and (shifted := self._shifted(*match.groups())):
            return shifted
        if match := _CONCATENATION.fullmatch(value):
            parts = [self._operand(part, None) for part in match[1].split(", ")]
            found = [part for part in parts if part is not None]
            if len(found) < len(parts):
                return None
            text = self._concatenation(found)
            return _joined(text, sum(part.bits for part in found), found, simple=True, closed=True)
        return None

    def _shifted(self, zeros: str, name: str, high: str, low: str) -> Expression | None:
        """The upper part of a net below zeros, as the net moved down."""
        width = self.module.nets[name].width
        if int(high) != width - 1 or zeros != low:
            return None
        limit, self.limit = self.limit, None  # what is left of it are its upper bits
        net = self._operand(name, width)
        self.limit = limit
        if net is None or not net.closed:
            return None
        text = f"{net.operand} >> {low}"
        return _joined(text, net.bits, [net], closed=True)

    def _concatenation(self, parts: list[Expression]) -> str:
        """Neighbours are joined; equal parts in a row come as ``n{part}``."""
        texts: list[str] = []
        for part in parts:
            joined = self._neighbours(texts[-1], part.text) if texts else None
            texts[-1:] = [joined] if joined else [*texts[-1:], part.text]
        if len(texts) == 1 and len(parts) > 1 and self.module.bits(texts[0]) is not None:
            return texts[0]
        rows = [(text, len(list(same))) for text, same in groupby(texts)]
        if len(rows) == 1 and rows[0][1] > 1:
            return f"{{{rows[0][1]}{{{rows[0][0]}}}}}"
        rest = (f"{{{n}{{{text}}}}}" if n > 2 else ", ".join([text] * n) for text, n in rows)
        return f"{{ {', '.join(rest)} }}"

    def _neighbours(self, high: str, low: str) -> str | None:
        """Two parts of a concatenation as one: numbers, or bits of a net beside each other."""
        one, other = _LITERAL.fullmatch(high), _LITERAL.fullmatch(low)
        if one and other:
            if one[2] or other[2]:
                return None
            upper, lower = (int(part[4], 16 if part[3] == "h" else 10) for part in (one, other))
            width = int(one[1]) + int(other[1])
            return f"{width}'h{upper << int(other[1]) | lower:x}"
        above, below = SLICE.fullmatch(high), SLICE.fullmatch(low)
        if not (above and below) or above[1] != below[1]:
            return None
        if int(above[3] or above[2]) != int(below[2]) + 1:
            return None
        first, final = int(above[2]), int(below[3] or below[2])
        net = self.module.nets[above[1]]
        return net.name if first - final + 1 == net.width else part_of(net.name, first, final)

    def _context(self, texts: list[str], bits: int | None) -> list[Expression] | None:
        """Operands of an operator that is evaluated in the width of its target, or of a comparison.

        Where an operand is wider than the target, none moves that depends on the width.
        """
        plain = [self._plain(text) or 0 for text in texts]
        widest = max(plain) if all(plain) else 0
        width = widest if bits is None else bits if widest <= bits else 0
        found = [self._operand(text, width, compared=bits is None) for text in texts]
        return None if None in found else [part for part in found if part is not None]

    def _unsigned(self, texts: list[str]) -> list[str]:
        """Operands without their signs where these do not reach the bits that are kept."""
        plain = []
        for text in texts:
            inner = text[8:-1] if text.startswith("$signed(") else text
            wide = self.limit is not None and (self._plain(inner) or 0) >= self.limit
            if not wide and not _EXTENDED.fullmatch(inner):
                return texts
            plain.append(inner)
        return plain if self.limit is not None else texts

    def _plain(self, text: str) -> int | None:
        """Width of an operand as Yosys wrote it."""
        text = text.removeprefix("$signed(").removesuffix(")")
        if text.startswith("{"):
            parts = [self._plain(part) or 0 for part in text[2:-2].split(", ")]
            return sum(parts) if all(parts) else None
        literal = _LITERAL.fullmatch(text)
        return int(literal[1]) if literal else self.module.bits(text)

    def _ternary(self, condition: str, one: str, other: str, bits: int) -> Expression | None:
        if bits == 1 and self._plain(condition) == self._plain(one) == self._plain(other) == 1:
            if (one, other) == ("1'h1", "1'h0"):
                return self._operand(condition, 1)
            if other == "1'h0":
                return self._binary(condition, "&", one, 1)
            if one == "1'h1":
                return self._binary(condition, "|", other, 1)
        chosen = self._operand(condition, None)
        self.last = other
        branches = self._context([one, other], bits)
        if chosen is None or branches is None:
            return None
        text = f"{chosen.operand} ? {branches[0].operand} : {branches[1].operand}"
        return _joined(
            text,
            max(branch.bits for branch in branches),
            [chosen, *branches],
            signed=any(branch.signed for branch in branches),
            closed=all(branch.closed for branch in branches),
            low=_low(branches),
        )

    def _binary(self, one: str, operator: str, other: str, bits: int) -> Expression | None:
        if operator in _BITWISE:
            self._chain(operator, one, other)
            operands = self._context(self._unsigned([one, other]), bits)
        elif operator in _COMPARISONS:
            operands = self._context([one, other], None)
        elif operator in _SHIFTS:
            operands = self._context([one, other], 0)
        else:
            return None
        if operands is None:
            return None
        if operator in _COMPARISONS:
            operands = _equally_wide(operands)
        if operator in _COMPARISONS or operator in _ARITHMETIC:
            operands = [replace(operand, text=_decimal(operand.text)) for operand in operands]
        left, right = operands
        one, other = left.operand, right.operand
        if left.operator == operator and operator in _BITWISE:
            one = left.text
        if right.operator == operator and operator in _ASSOCIATIVE:
            other = right.text
        text = f"{one} {operator} {other}"
        if operator in _COMPARISONS:
            return _joined(text, 1, operands, closed=True)
        if operator in _SHIFTS:
            return _joined(text, left.bits, operands, signed=left.signed)
        return _joined(
            text,
            max(operand.bits for operand in operands),
            operands,
            signed=any(operand.signed for operand in operands),
            closed=operator in _ASSOCIATIVE and all(operand.closed for operand in operands),
            low=_low(operands),
            operator=operator,
        )

    def _chain(self, operator: str, *operands: str) -> None:
        """Note which operands go on with the same operator: a row of them is read term by term."""
        for operand in operands if operator in _ASSOCIATIVE else ():
            extended = _EXTENDED.fullmatch(operand) if operand[0] == "{" else None
            name = extended[1] if extended else operand
            value = self.values.get(name, "")
            match = _BINARY.fullmatch(value) if f" {operator} " in value else None
            if match is not None and match[2] == operator:
                self.chained.add(name)

    def _unary(self, operator: str, one: str, bits: int) -> Expression | None:
        if operator in "~-":
            operands = self._context([one], bits)
            if operands is None:
                return None
            (operand,) = operands
            inner = _alone(operand)
            simple = operator == "~"
            return _joined(
                f"{operator}{inner}", operand.bits, operands, signed=operand.signed, simple=simple,
                low=_low(operands),
            )  # fmt: skip
        if operator in "&|" and (few := self._few(operator, one)):
            return few
        alone = self._operand(one, None)
        if alone is None:
            return None
        inner = _alone(alone)
        if operator == "~|" and alone.bits > 1:
            return _joined(f"{inner} == {alone.bits}'h0", 1, [alone], closed=True)
        operator = "~" if operator == "~|" else operator
        inverted = operator == "~"
        return _joined(f"{operator}{inner}", 1, [alone], simple=inverted, closed=not inverted)

    def _few(self, operator: str, text: str) -> Expression | None:
        """A reduction of two or three bits as an operator between them."""
        match = _CONCATENATION.fullmatch(text)
        parts = [self._operand(part, None) for part in match[1].split(", ")] if match else []
        found = [part for part in parts if part is not None and part.bits == 1]
        if not 1 < len(found) <= _FEW or len(found) < len(parts):
            return None
        bits = [bit.text if bit.operator == operator else bit.operand for bit in found]
        text = f" {operator} ".join(reversed(bits))
        return _joined(text, 1, found, closed=True, operator=operator)


def _joined(
    text: str,
    bits: int,
    parts: list[Expression],
    *,
    signed: bool = False,
    simple: bool = False,
    closed: bool = False,
    low: int | None = None,
    operator: str = "",
) -> Expression:
    moved = frozenset[str]().union(*(part.moved for part in parts))
    return Expression(text, bits, signed, simple, closed, low, moved, operator)


def _equally_wide(operands: list[Expression]) -> list[Expression]:
    """Numbers as wide as what they are compared with."""
    widest = max(operand.bits for operand in operands)
    if any(operand.signed for operand in operands):
        return operands
    return [
        replace(operand, text=f"{widest}'{literal[3]}{literal[4]}", bits=widest)
        if (literal := _LITERAL.fullmatch(operand.text)) and operand.bits < widest
        else operand
        for operand in operands
    ]


def _signed(literal: re.Match[str]) -> Expression | None:
    """A number whose highest bit is its sign, in decimal."""
    bits = int(literal[1])
    value = int(literal[4], 16 if literal[3] == "h" else 10)
    if bits > 32:
        return None
    if value >> (bits - 1):
        bits, value = bits + 1, value - (1 << bits)
    text = f"{'-' if value < 0 else ''}{bits}'sd{abs(value)}"
    return Expression(text, bits, signed=True, simple=value >= 0)


def _decimal(text: str) -> str:
    """A number that is calculated with, of a few digits."""
    literal = _LITERAL.fullmatch(text)
    if not literal or literal[2] or literal[3] == "d" or not 1 < int(literal[1]) <= 32:
        return text
    return f"{literal[1]}'d{int(literal[4], 16)}"


def _alone(operand: Expression) -> str:
    """An operand of an operator that takes one."""
    text = operand.text
    plain = re.fullmatch(_ATOM, text) or (operand.simple and text[0] in "{$")
    return text if plain else f"({text})"


def _low_part(text: str, bits: int) -> str:
    """The low bits of a net or of a slice of one."""
    match = SLICE.fullmatch(text)
    name, low = (match[1], int(match[3] or match[2])) if match else (text, 0)
    return part_of(name, low + bits - 1, low)


def _low(operands: list[Expression]) -> int:
    return max(operand.low or operand.bits for operand in operands)
