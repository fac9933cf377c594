"""Names of the states of state machines: Verilog compares with them, not with numbers."""

import re
from collections.abc import Mapping

from .cases import CASE
from .verilog_module import STEP, Assign, Module, Process

States = Mapping[str, Mapping[int, str]]
"""State register to its states, code to name."""

_NUMBER = r"\d+'[hd][0-9a-f]+"
_LABEL = re.compile(rf"( *)({_NUMBER}(?:, {_NUMBER})*):")
_CHOSEN = re.compile(rf"(?<=\? ){_NUMBER}(?= :)|(?<=: ){_NUMBER}(?=\)*$)")


def name_states(module: Module, states: States) -> None:
    """Declare the states of a module as constants, and use their names."""
    for register, names in states.items():
        if register in module.nets:
            _Naming(module, register, names).apply()


class _Naming:
    """The names of the states of one register."""

    def __init__(self, module: Module, register: str, names: Mapping[int, str]):
        self.module, self.register = module, register
        taken = {*module.nets, *module.constants}
        self.names = {
            code: f"{register}_{name}" if name in taken else name for code, name in names.items()
        }
        self.used: set[int] = set()
        self.comparison = re.compile(rf"(\b{register} [=!]= )({_NUMBER})")

    def apply(self) -> None:
        """Name states wherever the register is compared with them or set to them."""
        for statement in self.module.statements:
            if isinstance(statement, Assign):
                statement.value = self._compared(statement.value)
            elif isinstance(statement, Process):
                statement.body = self._lines(statement.body)
            else:
                statement.pins = {p: self._compared(net) for p, net in statement.pins.items()}
        net = self.module.nets[self.register]
        net.init = self._named(net.init)
        for code in sorted(self.used):
            self.module.constants[self.names[code]] = net.width, code

    def _lines(self, body: list[str]) -> list[str]:
        """Lines of a process; a label belongs to the case that was opened last."""
        found = []
        selectors: list[str] = []
        for line in body:
            if case := CASE.fullmatch(line):
                selectors.append(case[1])
            elif line.strip() == "endcase":
                selectors.pop()
            label, step = _LABEL.fullmatch(line), STEP.fullmatch(line)
            if label and selectors[-1] == self.register:
                line = f"{label[1]}{', '.join(map(self._named, label[2].split(', ')))}:"
            elif step and step[2] == self.register:
                value = _CHOSEN.sub(lambda match: self._named(match[0]), self._named(step[4]))
                line = f"{step[1]}{step[2]} {step[3]} {value};"
            found.append(self._compared(line))
        return found

    def _compared(self, text: str) -> str:
        """A text in which the register may be compared."""
        return self.comparison.sub(lambda match: match[1] + self._named(match[2]), text)

    def _named(self, number: str) -> str:
        """A number by its name, if it is a state."""
        width, _, digits = number.partition("'")
        code = int(digits[1:], 16 if digits[0] == "h" else 10) if width.isdecimal() else -1
        if code not in self.names:
            return number
        self.used.add(code)
        return self.names[code]
