"""Cases of Verilog: no label that does nothing, equal labels together, the last one by default.

Yosys writes every label that hardware has, in the process of every register and value, whether or
not anything happens there.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .verilog_module import STEP, Assign, Module, Process

LABEL = re.compile(r" *(?:\d+'[\w?', ]+|\w+(?:, \w+)*):")
"""A line that is a label."""
CASE = re.compile(r" *casez \((.*)\)")
"""The first line of a case."""

_EMPTY = "/* empty */;"  # what Yosys writes below a label that does nothing
_DEFAULT = ["default"]


@dataclass
class _Label:
    """A label: its values, and statements that begin in the first column."""

    values: list[str]
    body: list[str]


def simplify(module: Module) -> None:
    """Leave the labels that are needed; a single one becomes a condition."""
    conditions = _Conditions(module)
    for statement in module.statements:
        if isinstance(statement, Process):
            statement.body = _simple(statement.body, conditions)
    module.statements = [*conditions.assigned, *module.statements]


class _Conditions:
    """Nets that say whether a selector has a value."""

    def __init__(self, module: Module):
        self.module = module
        self.nets: dict[str, str] = {}

    def net(self, selector: str, value: str) -> str:
        """The net for a comparison; the selector itself where it is a bit that is to be set."""
        if value == "1'h1":
            return selector
        text = f"~ {selector}" if value == "1'h0" else f"{selector} == {value}"
        if text not in self.nets:
            self.nets[text] = self.module.new_net(1)
        return self.nets[text]

    @property
    def assigned(self) -> list[Assign]:
        """What gives them their values."""
        return [Assign(net, text) for text, net in self.nets.items()]


# --- fewer labels -----------------------------------------------------------------------------


def _simple(lines: Sequence[str], conditions: _Conditions) -> list[str]:
    """Lines of a process with as few labels as they can have."""
    found: list[str] = []
    rest = iter(lines)
    for line in rest:
        case = CASE.fullmatch(line)
        if case is None:
            found.append(line)
            continue
        indent = _indent(line)
        labels = _labels(indent, rest)
        for label in labels:
            label.body = _simple(label.body, conditions)
        if not any("?" in value for label in labels for value in label.values):
            before = STEP.fullmatch(found[-1]) if found else None
            if before is None or before[1] != indent:
                labels = _needed(labels)
            elif _set_again(labels, before[2]):
                busy = [label for label in labels if label.body]
                labels = _needed([*busy, _Label(_DEFAULT, [found.pop().strip()])])
            else:
                labels = _needed(labels, found[-1].strip())
        found += (indent + text for text in _chosen(case[1], labels, conditions))
    return found


def _set_again(labels: Sequence[_Label], target: str) -> bool:
    """Whether every label but those that do nothing sets the target, and none is the default."""
    for label in labels:
        steps = [STEP.fullmatch(line) for line in label.body]
        if label.values == _DEFAULT or [step and step[2] for step in steps] not in ([], [target]):
            return False
        if any(step and step[3] == "=" and target in step[4] for step in steps):
            return False
    return True


def _needed(labels: Sequence[_Label], before: str = "") -> list[_Label]:
    """Labels that do anything else than the default, or than the assignment ``before`` all."""
    otherwise = next((label.body for label in labels if label.values == _DEFAULT), [])
    idle = [otherwise] if otherwise else [[], [before]]
    needed: list[_Label] = []
    for label in labels:
        if label.values == _DEFAULT or label.body in idle:
            continue
        same = next((other for other in needed if other.body == label.body), None)
        if same is None:
            needed.append(label)
        else:
            same.values += label.values
    if needed and _all_values(needed):
        needed[-1].values = _DEFAULT
    elif otherwise:
        needed.append(_Label(_DEFAULT, otherwise))
    return needed


def _all_values(labels: Sequence[_Label]) -> bool:
    """Whether the selector has no other value."""
    values = [value for label in labels for value in label.values]
    bits = int(values[0].partition("'")[0])
    return len(values) == 1 << bits


def _chosen(selector: str, labels: Sequence[_Label], conditions: _Conditions) -> Iterator[str]:
    """A case as lines, or the condition that it comes to."""
    values = [label.values for label in labels]
    if values == [_DEFAULT]:
        yield from labels[0].body
    elif values in ([["1'h0"], _DEFAULT], [["1'h1"], _DEFAULT]):
        one, other = labels if values[0] == ["1'h1"] else reversed(labels)
        yield from _choice(selector, one.body, other.body)
    elif labels and _is_one(values[0]) and values[1:] in ([], [_DEFAULT]):
        otherwise = labels[1].body if labels[1:] else []
        yield from _choice(conditions.net(selector, values[0][0]), labels[0].body, otherwise)
    elif labels:
        yield f"casez ({selector})"
        for label in labels:
            yield f"  {', '.join(label.values)}:"
            yield from _indented(_statement(label.body), 2)
        yield "endcase"


def _choice(condition: str, body: Sequence[str], otherwise: Sequence[str]) -> Iterator[str]:
    """A condition, and statements for both cases."""
    yield f"if ({condition}) begin"
    yield from _indented(body, 2)
    if otherwise:
        yield "end else begin"
        yield from _indented(otherwise, 2)
    yield "end"


def _is_one(values: Sequence[str]) -> bool:
    """Whether a label stands for one value of the selector."""
    return len(values) == 1 and "?" not in values[0]


def _statement(body: Sequence[str]) -> list[str]:
    """Statements as one, below a label that begins two columns before the first."""
    if not body:
        return ["  ;"]
    inside = list(_indented(body, 2))
    begun = sum(not line.startswith((" ", "end")) for line in body)
    return ["begin", *inside, "end"] if begun > 1 else inside


def _labels(indent: str, lines: Iterator[str]) -> list[_Label]:
    """Labels of a case, whose first line has been read."""
    labels: list[_Label] = []
    for line in iter(lines.__next__, f"{indent}endcase"):
        if LABEL.fullmatch(line) and _indent(line) == f"{indent}  ":
            labels.append(_Label(line.strip()[:-1].split(", "), []))
        else:
            labels[-1].body.append(line)
    for label in labels:
        label.body = _statements(label.body)
    return labels


def _statements(lines: Sequence[str]) -> list[str]:
    """Statements below a label, from the first column on; there may be none."""
    if not lines:
        return []
    if lines[0].strip() == "begin":
        lines = lines[1:-1]
    left = len(_indent(lines[0]))
    return [line[left:] for line in lines if line.strip() != _EMPTY]


def _indented(lines: Sequence[str], columns: int) -> Iterator[str]:
    return (f"{' ' * columns}{line}" for line in lines)


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
