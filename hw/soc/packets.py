"""The core around a unit whose results have several ports: they leave in packets."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ...golden.contract.config import Config
from ...golden.soc.designs import packet_core_design
from ...golden.soc.unit import pass_beats
from ..lib.base import Part
from ..lib.emission import place
from .core import Core, Engine
from .loader import OUTPUTS, TOKENS, Side
from .sender import Sender, SenderConfig, SentPort


class PassEndConfig(Config):
    """Parameters of what finds the end of a pass."""

    beats: int = Parameter(ge=1)
    """Most beats of a block of results."""
    tokens: int = Parameter(ge=1)
    """Most blocks of tokens of a pass."""
    groups: int = Parameter(ge=1)
    """Most blocks of results of a pass along outputs."""


class PassEnd(Part[PassEndConfig]):
    """Whether a port has given all beats of a pass, counted as ``push`` comes.

    ``done`` from the cycle of the final one until ``clear``.
    """

    def __init__(self, config: PassEndConfig):
        super().__init__(
            config,
            {
                "push": In(1),
                "clear": In(1),
                "beats": In(range(config.beats + 1)),
                "tokens": In(range(config.tokens + 1)),
                "groups": In(range(config.groups + 1)),
                "done": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        complete = Signal()
        ends = self.push
        for name, most in (
            ("beat", config.beats),
            ("group", config.groups),
            ("token", config.tokens),
        ):
            count = Signal(range(max(2, most)), name=name)
            final = Signal(name=f"final_{name}")
            m.d.comb += final.eq(ends & (count + 1 == getattr(self, f"{name}s")))
            with m.If(ends):
                m.d.sync += count.eq(Mux(final, 0, count + 1))
            ends = final
        m.d.comb += self.done.eq(complete | ends)
        m.d.sync += complete.eq(self.done & ~self.clear)
        return m


class PacketEngine(Engine):
    """Everything that a soft reset resets, with results of several ports."""

    def _results(
        self, m: Module, platform: object, sides: list[Side], ends_pass: Signal
    ) -> tuple[Value, Signal]:
        """Results to packets, and where a pass ends: when each port has given all."""
        config = self.config
        declared = self.unit.design.ports(config.unit)
        ports = tuple(
            SentPort(width=port.sent.width, depth=pass_beats(config, declared, port))
            for port in self.results
        )
        sender = Sender(SenderConfig(ports=ports, bus=config.bus_width))
        place(m, platform, "sender", sender)
        ends_layer = sides[TOKENS].holds_final & sides[OUTPUTS].holds_final
        done = []
        for i, port in enumerate(self.results):
            stream = getattr(self.unit, port.name)
            end = PassEnd(
                PassEndConfig(
                    beats=config.tile_beats(port),
                    tokens=config.token_blocks,
                    groups=config.output_blocks // port.tiles,
                )
            )
            place(m, platform, f"end_{port.name}", end)
            sent = (Value.cast(stream.payload[field.name]) for field in port.sent.fields)
            size = Const(port.beats) if port.beats else getattr(self, f"{port.name}_beats")
            m.d.comb += [
                stream.ready.eq(1),  # a pass begins only when a half is free
                sender.push[i].eq(stream.valid),
                getattr(sender, f"row_{i}").eq(Cat(*sent)),
                end.push.eq(stream.valid),
                end.clear.eq(ends_pass),
                end.beats.eq(size),
                end.tokens.eq(sides[TOKENS].count),
                end.groups.eq(sides[OUTPUTS].count >> (port.tiles - 1).bit_length()),
            ]
            done.append(end.done)
        for port in self.made:
            stream = getattr(self.unit, port.name)
            m.d.comb += [stream.valid.eq(1), stream.payload.eq(getattr(self, port.name))]
        m.d.comb += [
            ends_pass.eq(Cat(*done).all()),
            sender.ends_block.eq(ends_pass),
            sender.ends_layer.eq(ends_layer),
            sender.block_packets.eq(self.tile_packets),
            sender.ready.eq(self.out_ready),
            self.out_valid.eq(sender.valid),
            self.out_data.eq(sender.data),
            self.out_last.eq(sender.last),
            self.finished.eq(sender.finished),
        ]
        return sender.roomy, ends_layer


class PacketCore(Core):
    """Runs whole layers on a unit whose results have several ports.

    As :class:`.core.Core`, but for results:

    * A half of every port's buffer takes the results of a pass; a pass begins when a half is free.
    * Schedule: a pass ends in the cycle e of the final beat of its results on any port; from e + 1
      on, when the pass before has left, a packet for each port leaves, a bus word a cycle.

    ``tile_packets`` ends a packet of the stream out with each pass.

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.soc.config.CoreConfig`.
    design
        The unit.
    """

    outer = staticmethod(packet_core_design)
    engine_kind = PacketEngine
