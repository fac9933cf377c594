"""How fast streams pass a core, by its golden schedule."""

from dataclasses import dataclass

from ...golden.soc.designs import stream_core_design
from ...golden.soc.stream import StreamRun
from ...golden.units import core_name, unit
from ..tensors.files import Capture, sample_path
from ..units.simulate import Tensors, prepare


@dataclass(frozen=True)
class StreamUsage:
    """A run through a core.

    Attributes
    ----------
    design
        Of the unit.
    words_in, words_out
        Words that pass the streams.
    alone, cycles
        Of the unit alone, and of the core from its start to the final word.
    blocks
        Blocks of the run.
    """

    design: str
    words_in: int
    words_out: int
    alone: int
    cycles: int
    blocks: int

    @property
    def share(self) -> float:
        """How busy what limits the core is: the stream in, the stream out, or the unit."""
        return max(self.words_in, self.words_out, self.alone) / self.cycles


def stream_usage(name: str, preset: str, tokens: int, bus_width: int) -> list[StreamUsage]:
    """Run activations of the sample through the golden schedules of a unit's designs."""
    sample = Capture.open(sample_path())
    x = sample.activations(sample.layers[0])[:tokens]
    inner = unit(name)
    config = unit(core_name(name)).presets[preset].replace(bus_width=bus_width)
    prepared = prepare(inner, inner.presets[preset], inner.settings(), Tensors(x))
    found = []
    for run in prepared.runs:
        schedule = stream_core_design(run.design).schedule(config, StreamRun(run.operands))
        found.append(
            StreamUsage(
                run.design.name,
                len(schedule.cycles["s_axis"]),
                len(schedule.cycles["m_axis"]),
                run.golden.cycles,
                int(schedule.events["core_busy"].increments.sum()),
                len(schedule.events["core_passes"].cycles),
            )
        )
    return found
