"""A small run of a core: everything sent, expected and read is golden."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...golden.contract.ports import WORD_BITS, Port, port_of
from ...golden.contract.schedule import Schedule
from ...golden.soc.config import ShellConfig
from ...golden.soc.registers import Register, RegisterMap
from ...golden.soc.unit import CoreRun, registers
from ...tb.stimuli import stimuli_of

_DRAWS = 8  # runs of which one is taken
_FEATURES = 16  # of a run that shows how sums grow
_LATENCY = 20  # cycles from a burst to its first beat

Access = tuple[Register, int]
"""A register, and what is written to it or read from it."""


@dataclass(frozen=True)
class GoldenRun:
    """A run on a core, from the first setting to the final read.

    Attributes
    ----------
    ports
        Of the core.
    schedule
        Traffic and events without pauses.
    shape
        Tokens, ``in_features`` and outputs, as the workload has them; no outputs in a stream.
    known
        The core's registers.
    latency
        Cycles from a burst to its first beat, if the core reads memory.
    """

    ports: tuple[Port, ...]
    schedule: Schedule
    shape: tuple[int, int, int | None]
    known: RegisterMap
    latency: int = _LATENCY

    @classmethod
    def of(cls, design: Design, config: ShellConfig, run: Any) -> Self:
        """Golden values of a run; memory, if the core reads any, has a latency of its own.

        Raises
        ------
        UserError
            The core does not take the operands.
        """
        assert design.inner is not None
        if isinstance(run, CoreRun):
            run = replace(run, latency=np.array([_LATENCY]))
        work = design.workload(config, run)
        return cls(
            design.ports(config),
            design.schedule(config, run),
            (work.tokens, work.in_features, work.outputs),
            registers(design.inner, config),
        )

    @property
    def extent(self) -> tuple[int, int, int, int]:
        """Features, packets out, words out, words in: the more, the more a run shows."""
        ends = port_of(self.ports, "m_axis").unpack(self.words("m_axis"))["last"]
        features = min(self.shape[1], _FEATURES)
        return features, int(ends.sum()), len(ends), len(self.words("s_axis"))

    @property
    def described(self) -> str:
        """What is run, in words."""
        if "stream" in self.known:
            blocks = next(value for register, value in self.writes if register.name == "stream")
            return f"a stream of {blocks} block{'s' if blocks > 1 else ''}"
        tokens, features, outputs = self.shape
        return f"a layer of {tokens} tokens, {features} in_features and {outputs} outputs"

    def words(self, port: str) -> NDArray[np.uint32]:
        """Payloads of a port, the first field in the least significant bits."""
        return self.schedule.beats[port].expand()

    # --- what software does -----------------------------------------------------------------

    @property
    def before(self) -> list[Access]:
        """Constants."""
        return [access for access in self._reads if access[0].access == "constant"]

    @property
    def writes(self) -> list[Access]:
        """Settings and the start; the snapshot that follows the run is left out."""
        return self._accesses("s_axi_aw", "s_axi_w")[:-1]

    @property
    def after(self) -> list[Access]:
        """What is read after the run and a snapshot."""
        return [access for access in self._reads if access[0].access != "constant"]

    @property
    def time_counters(self) -> Iterator[Access]:
        """Counters that depend on pauses, as they are without."""
        totals = self.schedule.counts().events
        for event in self.known.events:
            if event.kind == "time":
                for half, value in enumerate(divmod(totals[event.name], 1 << WORD_BITS)[::-1]):
                    yield self.known[f"{event.name}_{('low', 'high')[half]}"], value

    @property
    def _reads(self) -> list[Access]:
        return self._accesses("s_axi_ar", "s_axi_r")

    def _accesses(self, addresses: str, data: str) -> list[Access]:
        """Register and value of every access on two channels."""
        offsets, values = (
            port_of(self.ports, name).unpack(self.words(name))[field]
            for name, field in ((addresses, "addr"), (data, "data"))
        )
        registers = {register.offset: register for register in self.known.registers}
        return [(registers[int(o)], int(v)) for o, v in zip(offsets, values, strict=True)]


def drawn(design: Design, config: ShellConfig) -> GoldenRun:
    """Of some random runs the one that shows most.

    Raises
    ------
    UserError
        The core takes none of them; the sentence says why.
    """
    stimuli = stimuli_of(design)
    runs, refusal = [], None
    for seed in range(_DRAWS):
        try:
            run = stimuli.random(config, np.random.default_rng(seed))
            runs.append(GoldenRun.of(design, config, run))
        except UserError as error:
            refusal = error
    if not runs:
        raise UserError(f"there is no small run that this core takes: {refusal}")
    return max(runs, key=lambda run: run.extent)
