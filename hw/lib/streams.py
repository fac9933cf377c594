"""Streams within a unit: a register for one beat, and rows of results that leave one by one."""

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ...golden.contract.config import Config
from .base import Part
from .emission import place


class StreamRegisterConfig(Config):
    """Parameters of a stream register."""

    width: int = Parameter(ge=1)
    """Bits of a beat."""


class StreamRegister(Part[StreamRegisterConfig]):
    """Register for one beat, refilled in the cycle in which the beat leaves.

    A beat taken in cycle t is offered from t + 1 on.
    """

    def __init__(self, config: StreamRegisterConfig):
        beats = stream.Signature(config.width)
        super().__init__(config, {"input": In(beats), "output": Out(beats)})

    @property
    def title(self) -> str:
        """With its width."""
        return f"stream_register_w{self.config.width}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        source, beat = self.input, self.output
        payload = Signal.like(beat.payload, name="beat", reset_less=True)
        m.d.comb += [source.ready.eq(~beat.valid | beat.ready), beat.payload.eq(payload)]
        with m.If(source.ready):
            m.d.sync += beat.valid.eq(source.valid)
        with m.If(source.valid & source.ready):
            m.d.sync += payload.eq(source.payload)
        return m


def registered(m: Module, platform: object, name: str, source: Any) -> stream.Interface:
    """What a stream gives, by way of a register put into ``m``; the user drives ``ready``."""
    layout = source.payload.shape()
    register = StreamRegister(StreamRegisterConfig(width=layout.size))
    place(m, platform, f"{name}_register", register)
    held = stream.Signature(layout).create(path=(f"{name}_held",))
    m.d.comb += [
        register.input.valid.eq(source.valid),
        register.input.payload.eq(source.payload),
        source.ready.eq(register.input.ready),
        held.valid.eq(register.output.valid),
        held.payload.eq(register.output.payload),
        register.output.ready.eq(held.ready),
    ]
    return held


class RowDrainConfig(Config):
    """Parameters of a row drain."""

    rows: int = Parameter(ge=1)
    """Rows of results (R)."""


class RowDrain(Part[RowDrainConfig]):
    """Counts the R rows of a tile's results that leave their registers, a row a ``pull``.

    ``load``: all rows are there from the next cycle on. ``valid``: a row is there, ``last``: it is
    the final one; ``busy``: after this cycle a row of these is still there, so that others cannot
    be loaded. ``pull`` only while ``valid``. ``moves[r]``: the registers of row r take what is in
    those of row r + 1; rows behind the final one hold.
    """

    def __init__(self, config: RowDrainConfig):
        ports = {"valid": Out(1), "last": Out(1), "busy": Out(1), "moves": Out(config.rows)}
        super().__init__(config, {"load": In(1), "pull": In(1), **ports})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows = self.config.rows
        remaining = Signal(range(rows + 1))
        behind = Signal(rows)  # whether the row behind this one is there
        m.d.comb += [
            self.valid.eq(remaining != 0),
            self.last.eq(remaining == 1),
            behind.eq(Cat(remaining > row for row in range(1, rows))),
            self.busy.eq(behind[0] | (self.last & ~self.pull)),
            self.moves.eq(Mux(self.pull, behind, 0)),
        ]
        with m.If(self.load):
            m.d.sync += remaining.eq(rows)
        with m.Elif(self.pull):
            m.d.sync += remaining.eq(remaining - 1)
        return m


def payload_registers(m: Module, payload: data.View, name: str) -> Any:
    """Registers for the fields of a payload, each with a name of its own, and lists of arrays."""
    registers = SimpleNamespace()
    for field, member in payload.shape():
        value = payload[field]
        if isinstance(member.shape, data.ArrayLayout):
            elements = [
                Signal(member.shape.elem_shape, name=f"{name}_{field}_{i}")
                for i in range(member.shape.length)
            ]
            m.d.comb += value.eq(Cat(elements))
            setattr(registers, field, elements)
        else:
            register = Signal(member.shape, name=f"{name}_{field}")
            m.d.comb += value.eq(register)
            setattr(registers, field, register)
    return registers
