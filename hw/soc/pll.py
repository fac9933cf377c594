"""A clock of another frequency than a board's, by the PLL of an ECP5 (``EHXPLLL``)."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from ...golden.contract.errors import UserError

_MHZ = 1_000_000

# Lattice's data sheet of the ECP5 (FPGA-DS-02012), table of the sysCLOCK PLL.
_DETECTOR_LEAST = 10 * _MHZ
_OSCILLATOR = (400 * _MHZ, 800 * _MHZ)
_OUTPUT = (3_125_000, 400 * _MHZ)
_DIVIDERS = range(1, 129)

_LOOP_FILTER = (  # as Project Trellis' ecppll has it at all frequencies
    ("ICP_CURRENT", "12"),
    ("LPF_RESISTOR", "8"),
    ("MFG_ENABLE_FILTEROPAMP", "1"),
    ("MFG_GMCREF_SEL", "2"),
)


@dataclass(frozen=True)
class Pll:
    """Dividers of a PLL whose output ``CLKOP`` closes the loop, and whose ``CLKOS`` is the clock.

    Attributes
    ----------
    source
        Cycles a second of the board's clock.
    reference
        From it to the phase detector (``CLKI_DIV``).
    loop
        From the oscillator to the phase detector (``CLKOP_DIV``).
    output
        From the oscillator to the clock (``CLKOS_DIV``).
    """

    source: int
    reference: int
    loop: int
    output: int

    @property
    def oscillator(self) -> Fraction:
        """Cycles a second of the oscillator."""
        return Fraction(self.source * self.loop, self.reference)

    @property
    def frequency(self) -> Fraction:
        """Cycles a second of the clock."""
        return self.oscillator / self.output

    def verilog(self, source: str, clock: str, locked: str) -> list[str]:
        """Lines of a module: the primitive between nets of these names.

        Parameters
        ----------
        source, clock
            The board's clock, and the one that is made of it.
        locked
            Whether the latter has its frequency.
        """
        parameters: dict[str, int | str] = {
            "CLKI_DIV": self.reference,
            "CLKFB_DIV": 1,
            "CLKOP_ENABLE": "ENABLED",
            "CLKOP_DIV": self.loop,
            "CLKOP_CPHASE": self.loop - 1,  # no delay
            "CLKOS_ENABLE": "ENABLED",
            "CLKOS_DIV": self.output,
            "CLKOS_CPHASE": self.output - 1,
            "FEEDBK_PATH": "CLKOP",
        }
        pins = {"CLKI": source, "CLKFB": "feedback", "CLKOP": "feedback", "CLKOS": clock}
        pins |= {"LOCK": locked, "ENCLKOP": "1'b0", "ENCLKOS": "1'b0"}  # their pins gate nothing
        pins |= dict.fromkeys(("RST", "STDBY", "PLLWAKESYNC", "PHASESEL0", "PHASESEL1"), "1'b0")
        pins |= dict.fromkeys(("PHASEDIR", "PHASESTEP", "PHASELOADREG"), "1'b1")
        attributes = ", ".join(f'{name} = "{value}"' for name, value in _LOOP_FILTER)
        values = [
            f'    .{name}("{value}")' if isinstance(value, str) else f"    .{name}({value})"
            for name, value in parameters.items()
        ]
        return [
            "  wire feedback;",
            f"  (* {attributes} *)",
            "  EHXPLLL #(",
            *",\n".join(values).splitlines(),
            "  ) pll (",
            *",\n".join(f"    .{pin}({net})" for pin, net in pins.items()).splitlines(),
            "  );",
        ]


def pll(source: int, frequency: int) -> Pll:
    """The PLL that makes a frequency of a board's clock, both in cycles a second.

    Raises
    ------
    UserError
        None makes it exactly; the sentence has the nearest ones that can be made.
    """
    settings = list(_settings(source))
    exact = [found for found in settings if found.frequency == frequency]
    if exact:
        middle = sum(_OSCILLATOR) // 2
        return min(exact, key=lambda found: (found.reference, abs(found.oscillator - middle)))
    possible = {found.frequency for found in settings}
    below = max((found for found in possible if found < frequency), default=None)
    above = min((found for found in possible if found > frequency), default=None)
    near = " and ".join(megahertz(int(found)) for found in (below, above) if found)
    raise UserError(
        f"the PLL makes no {megahertz(frequency)} of the board's {megahertz(source)}; nearest: "
        f"{near}."
    )


def _settings(source: int) -> Iterator[Pll]:
    """All that the device is specified for, as far as they make whole cycles a second."""
    least, most = _OSCILLATOR
    for reference in range(1, source // _DETECTOR_LEAST + 1):
        for loop in _DIVIDERS:
            if not least * reference <= source * loop <= most * reference:
                continue
            for output in _DIVIDERS:
                found = Pll(source, reference, loop, output)
                frequency = found.frequency
                if frequency.denominator == 1 and _OUTPUT[0] <= frequency <= _OUTPUT[1]:
                    yield found


def megahertz(frequency: int) -> str:
    """A frequency as readers have it, exactly."""
    whole, rest = divmod(frequency, _MHZ)
    digits = f".{rest:06}".rstrip("0") if rest else ""
    return f"{whole}{digits} MHz"
