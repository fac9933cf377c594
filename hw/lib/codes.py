"""Names of states and of codes: Verilog compares with them, not with numbers."""

import re
from collections.abc import Mapping

from .cases import CASE
from .verilog_module import STEP, Assign, Module, Process

Codes = Mapping[str, Mapping[int, str]]
"""Net to what its numbers stand for."""

_NUMBER = r"\d+'[hd][0-9a-f]+"
_LABEL = re.compile(rf"( *)({_NUMBER}(?:, {_NUMBER})*):")
_CHOSEN = re.compile(rf"(?<=\? ){_NUMBER}(?= :)|(?<=: ){_NUMBER}(?=\)*(?: :|$))")


def name_codes(module: Module, states: Codes, codes: Codes) -> None:
    """Declare what numbers stand for as constants, and use their names.

    Parameters
    ----------
    module
        The module.
    states
        Of state registers.
    codes
        Of all nets of a name, and of those whose name ends in it.
    """
    kinds = [([register], names) for register, names in states.items() if register in module.nets]
    for name, names in codes.items():
        nets = [net for net in module.nets if net == name or net.endswith(f"_{name}")]
        kinds.append((nets, names))
    for nets, names in kinds:
        before = module.constants
        module.constants = dict(before)
        for net in nets:
            _Naming(module, net, names).apply()
        added = (item for item in module.constants.items() if item[0] not in before)
        module.constants = before | dict(sorted(added, key=lambda constant: constant[1]))


class _Naming:
    """The names of the numbers of one net."""

    def __init__(self, module: Module, net: str, names: Mapping[int, str]):
        self.module, self.net = module, module.nets[net]
        self.names = {code: self._free(code, name) for code, name in names.items()}
        self.used: set[int] = set()
        self.comparison = re.compile(rf"(\b{net} [=!]= )({_NUMBER})")

    def _free(self, code: int, name: str) -> str:
        """The name, or a longer one where it stands for something else in the module."""
        meant = self.module.constants.get(name, (self.net.width, code))
        taken = name in self.module.nets or meant != (self.net.width, code)
        return f"{self.net.name}_{name}" if taken else name

    def apply(self) -> None:
        """Name numbers wherever the net is compared with them or set to them."""
        for statement in self.module.statements:
            if isinstance(statement, Assign):
                if statement.target == self.net.name:
                    statement.value = self._chosen(statement.value)
                statement.value = self._compared(statement.value)
            elif isinstance(statement, Process):
                statement.body = self._lines(statement.body)
            else:
                statement.pins = {p: self._compared(net) for p, net in statement.pins.items()}
        self.net.init = self._named(self.net.init)
        for code in sorted(self.used):
            self.module.constants[self.names[code]] = self.net.width, code

    def _lines(self, body: list[str]) -> list[str]:
        """Lines of a process; a label belongs to the case that was opened last."""
        if not any(self.net.name in line for line in body):
            return body
        found = []
        selectors: list[str] = []
        for line in body:
            if case := CASE.fullmatch(line):
                selectors.append(case[1])
            elif line.strip() == "endcase":
                selectors.pop()
            label, step = _LABEL.fullmatch(line), STEP.fullmatch(line)
            if label and selectors[-1] == self.net.name:
                line = f"{label[1]}{', '.join(map(self._named, label[2].split(', ')))}:"
            elif step and step[2] == self.net.name:
                line = f"{step[1]}{step[2]} {step[3]} {self._chosen(step[4])};"
            found.append(self._compared(line))
        return found

    def _chosen(self, value: str) -> str:
        """A value for the net: a number, a choice of several, or anything else."""
        return _CHOSEN.sub(lambda match: self._named(match[0]), self._named(value))

    def _compared(self, text: str) -> str:
        """A text in which the net may be compared."""
        if self.net.name not in text:
            return text
        return self.comparison.sub(lambda match: match[1] + self._named(match[2]), text)

    def _named(self, number: str) -> str:
        """A number by its name, if it has one."""
        width, _, digits = number.partition("'")
        code = int(digits[1:], 16 if digits[0] == "h" else 10) if width.isdecimal() else -1
        if code not in self.names:
            return number
        self.used.add(code)
        return self.names[code]
