"""Verilog of an element of a dot product by pair sums, its tree built of full adders.

Its lanes come in pairs: two bits of a pair's weights select 0, one activation, the other, or their
sum, which a row of elements would share. All selected numbers go into one tree, which ends in a
register, an accumulator and a result register.
"""

from collections.abc import Callable, Sequence

ACTIVATION, WEIGHT, ACCUMULATOR = 8, 4, 25  # bits

Adder = Callable[[str, str, str], tuple[str, str]]

_Columns = list[list[str]]  # bits to be added, by weight


class _Lines:
    """Verilog with a wire for every expression."""

    def __init__(self, full_adder: str) -> None:
        self.text: list[str] = []
        self.full_adder_module = full_adder
        self._number = 0

    def wire(self, expression: str = "") -> str:
        """A new wire."""
        self._number += 1
        name = f"n{self._number}"
        self.text.append(f"wire {name}{f' = {expression}' if expression else ''};")
        return name

    def full_adder(self, a: str, b: str, c: str) -> tuple[str, str]:
        """Sum and carry."""
        if self.full_adder_module:
            total, carry = self.wire(), self.wire()
            self.text.append(
                f"{self.full_adder_module} fa_{total} "
                f"(.A({a}), .B({b}), .C({c}), .Y({total}), .X({carry}));"
            )
            return total, carry
        half = self.wire(f"{a} ^ {b}")
        return self.wire(f"{half} ^ {c}"), self.wire(f"({a} & {b}) | ({half} & {c})")

    def add(self, bits: Sequence[str], one: bool) -> tuple[str, str]:
        """Sum and carry of up to three bits, or of up to two and a one."""
        match (*bits,):
            case ():
                return "1'b1" if one else "1'b0", ""
            case (a,):
                return (self.wire(f"~{a}"), a) if one else (a, "")
            case (a, b) if one:
                return self.wire(f"~({a} ^ {b})"), self.wire(f"{a} | {b}")
            case (a, b):
                return self.wire(f"{a} ^ {b}"), self.wire(f"{a} & {b}")
            case (a, b, c) if not one:
                return self.full_adder(a, b, c)
        raise ValueError(f"too many bits to add: {bits}")


def element(lanes: int, full_adder: str = "") -> str:
    """An element as module ``top``.

    Parameters
    ----------
    lanes
        Products a cycle, an even number.
    full_adder
        Module of a full adder with ports A, B, C, Y (sum) and X (carry) to instantiate everywhere;
        by default sums are expressions.
    """
    lines = _Lines(full_adder)
    pairs, width = lanes // 2, ACTIVATION + WEIGHT + (lanes - 1).bit_length()
    columns: _Columns = [[] for _ in range(width)]
    constant = sum(_add_pair(lines, columns, pair) for pair in range(pairs))
    reduced = _reduced(lines, columns)
    rows, _ = _carried(lines, reduced, constant % (1 << width), ripple=False)
    _, product = _carried(lines, rows, 0, ripple=True)
    term = f"{{{{{ACCUMULATOR - width}{{product[{width - 1}]}}}}, product}}"
    total = f"base + {term}"
    if full_adder:
        addends = [[f"base[{i}]", f"product[{min(i, width - 1)}]"] for i in range(ACCUMULATOR)]
        _, sums = _carried(lines, addends, 0, ripple=True)
        total = f"{{{', '.join(reversed(sums))}}}"
    top = ACCUMULATOR - 1
    ports = (
        "input clk, enable, first, load, pull",
        f"input [{ACTIVATION * lanes - 1}:0] x",
        f"input [{(ACTIVATION + 1) * pairs - 1}:0] pair_sums",
        f"input [{3 * WEIGHT * pairs - 1}:0] select",
        f"input [{top}:0] below",
        f"output reg [{top}:0] result",
    )
    declared = (
        f"reg signed [{width - 1}:0] product; reg [{top}:0] accumulator;",
        f"wire [{top}:0] base = accumulator & {{{ACCUMULATOR}{{~first}}}};",
    )
    behind = (
        f"wire [{top}:0] total = {total};",
        "always @(posedge clk) begin",
        f"product <= {{{', '.join(reversed(product))}}};",
        "if (enable) accumulator <= total;",
        "if (load) result <= total; else if (pull) result <= below;",
        "end endmodule\n",
    )
    return "\n".join([f"module top ({', '.join(ports)});", *declared, *lines.text, *behind])


def _add_pair(lines: _Lines, columns: _Columns, pair: int) -> int:
    """Put what a pair's weights select into the columns; the constant that belongs to it.

    The last bit of an activation and that of a weight count negatively. A negative bit is added
    inverted, and the constant takes that back.
    """
    constant = 0
    for j in range(WEIGHT):
        first, second, both = (f"select[{3 * (WEIGHT * pair + j) + i}]" for i in range(3))
        for i in range(ACTIVATION + 1):
            bit = min(i, ACTIVATION - 1)
            selected = (
                f"(x[{ACTIVATION * 2 * pair + bit}] & {first}) | "
                f"(x[{ACTIVATION * (2 * pair + 1) + bit}] & {second}) | "
                f"(pair_sums[{(ACTIVATION + 1) * pair + i}] & {both})"
            )
            negative = (i == ACTIVATION) != (j == WEIGHT - 1)
            constant -= negative << (i + j)
            columns[i + j].append(lines.wire(f"~({selected})" if negative else selected))
    return constant


def _reduced(lines: _Lines, columns: _Columns) -> _Columns:
    """At most two bits a column, by a tree after Dadda."""
    heights = [2]
    while heights[-1] < max(map(len, columns)):
        heights.append(heights[-1] * 3 // 2)
    columns = [list(column) for column in columns]
    for height in reversed(heights):
        for i, column in enumerate(columns):
            while len(column) > height:
                taken = 2 if len(column) == height + 1 else 3
                total, carry = lines.add(column[:taken], one=False)
                columns[i] = column = [*column[taken:], total]
                if i + 1 < len(columns):
                    columns[i + 1].append(carry)
    return columns


def _carried(
    lines: _Lines, columns: _Columns, ones: int, *, ripple: bool
) -> tuple[_Columns, list[str]]:
    """Add the bits of each column, and a constant: all at once, or with carries from bit to bit.

    Returns
    -------
    Columns of what is left (without ripple at most two bits), and the sums.
    """
    left: _Columns = [[] for _ in columns]
    sums, carry = [], ""
    for i, column in enumerate(columns):
        taken = [*column, carry] if ripple and carry else column
        total, carry = lines.add(taken, bool(ones >> i & 1))
        sums.append(total)
        left[i].append(total)
        if carry and i + 1 < len(columns):
            left[i + 1].append(carry)
    return left, sums
