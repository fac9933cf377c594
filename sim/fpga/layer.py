"""A small layer for a core to run: everything sent and expected is golden."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...golden.contract.ports import WORD_BITS, port_of
from ...golden.contract.schedule import Schedule
from ...golden.soc.blocks import LayerBlocks
from ...golden.soc.config import CoreConfig
from ...golden.soc.registers import Register, RegisterMap
from ...golden.soc.unit import CoreRun, Session, ports, registers
from ...tb.stimuli import stimuli_of

_DRAWS = 8  # layers of which the one with most results is taken


@dataclass(frozen=True)
class CoreLayer:
    """A layer on a core, as golden has it.

    Attributes
    ----------
    shape
        Tokens, ``in_features`` and outputs.
    schedule
        Traffic and events of a run without pauses.
    session
        What software does and reads.
    known
        The core's registers.
    """

    shape: tuple[int, int, int]
    schedule: Schedule
    session: Session
    known: RegisterMap

    @classmethod
    def of(cls, design: Design, config: CoreConfig, run: CoreRun) -> Self:
        """Golden values of a run.

        Raises
        ------
        UserError
            The core does not take the operands.
        """
        assert design.inner is not None
        schedule = design.schedule(config, run)
        blocks = LayerBlocks.of(design.inner, config, run.operands, outputs_stay=run.outputs_stay)
        settings = {**blocks.settings, "tile_packets": int(run.tile_packets)}
        known = registers(design.inner, config)
        session = Session.of(known, settings, schedule.counts().events)
        shape = (*run.operands.x.shape, blocks.tiling.outputs)
        return cls(shape, schedule, session, known)

    def words(self, config: CoreConfig, name: str) -> NDArray[np.uint32]:
        """Words of a stream, ``(words, bus / 32)``; above them ``last`` where it has one."""
        fields = port_of(ports(config), name).unpack(self.schedule.beats[name].expand())
        columns = [fields["data"], *([fields["last"][:, None]] if "last" in fields else [])]
        return np.concatenate(columns, axis=1).astype(np.uint32)

    @property
    def time_counters(self) -> Iterator[tuple[Register, int]]:
        """Counters that depend on pauses, as they are without."""
        totals = self.schedule.counts().events
        for event in self.known.events:
            if event.kind == "time":
                for half, value in enumerate(divmod(totals[event.name], 1 << WORD_BITS)[::-1]):
                    yield self.known[f"{event.name}_{('low', 'high')[half]}"], value


def drawn(design: Design, config: CoreConfig) -> CoreLayer:
    """Of some random layers the one with most results, and with most words in among those.

    Raises
    ------
    UserError
        The core takes none of them; the sentence says why.
    """
    assert design.inner is not None
    stimuli = stimuli_of(design.inner)
    layers, refusal = [], None
    for seed in range(_DRAWS):
        operands = stimuli.random(config.unit, np.random.default_rng(seed))
        try:
            layers.append(CoreLayer.of(design, config, CoreRun(operands, tile_packets=True)))
        except UserError as error:
            refusal = error
    if not layers:
        raise UserError(f"there is no small layer that this core takes: {refusal}")
    return max(
        layers, key=lambda layer: [len(layer.schedule.beats[n]) for n in ("m_axis", "s_axis")]
    )
