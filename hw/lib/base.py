"""Base of all units, and the layouts that hardware derives from golden's port declarations."""

import inspect
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from amaranth import hdl
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.events import Event
from ...golden.contract.ports import Field, Port
from .codes import Codes

C = TypeVar("C", bound=Config)


def field_shape(field: Field) -> hdl.Shape | data.ArrayLayout:
    """Shape of one payload field."""
    scalar = hdl.signed(field.width) if field.signed else hdl.unsigned(field.width)
    return scalar if field.count is None else data.ArrayLayout(scalar, field.count)


def payload_layout(port: Port) -> data.StructLayout:
    """Layout of a port's payload: the fields in order, least significant first."""
    return data.StructLayout({field.name: field_shape(field) for field in port.fields})


def events_layout(events: tuple[Event, ...]) -> data.StructLayout:
    """Layout of the ``events`` port."""
    return data.StructLayout({event.name: event.width for event in events})


class Part(wiring.Component, Generic[C]):
    """A module that a unit is made of, told apart by its class and configuration.

    Parameters
    ----------
    config
        Everything that makes two modules of this class differ.
    signature
        Members of the interface, as for :class:`amaranth.lib.wiring.Component`.
    """

    codes: Codes = MappingProxyType({})
    """What numbers stand for in nets of these names, and in those whose names end in them."""

    def __init__(self, config: C, signature: Mapping[str, object]):
        self.config = config
        super().__init__(signature)

    @property
    def key(self) -> tuple[str, str]:
        """Equal for modules that may share one Verilog definition."""
        return type(self).__qualname__, self.config.config_hash

    @property
    def title(self) -> str:
        """What it is, for the name of its module; telling where one design has several kinds."""
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(self).__name__)
        return words.lower()

    @property
    def summary(self) -> str:
        """First line of the class's docstring."""
        return (inspect.getdoc(type(self)) or "").partition("\n")[0].replace("``", "")


class Unit(Part[C]):
    """A top-level design: streams as golden declares them, plus ``events``.

    Parameters
    ----------
    config
        The unit's configuration.
    design
        The golden declaration that ports and events come from.
    more
        Members of the interface beside those.
    """

    def __init__(self, config: C, design: Design, more: Mapping[str, object] | None = None):
        self.design = design
        flow = {"in": In, "out": Out}
        streams = {
            port.name: flow[port.direction](stream.Signature(payload_layout(port)))
            for port in design.ports(config)
        }
        events = events_layout(design.events(config))
        super().__init__(config, {**streams, "events": Out(events), **(more or {})})


def connect_inputs(m: hdl.Module, outer: Unit, inner: Unit) -> None:
    """Every input of a unit within another from the outer one's input of that name."""
    for port in inner.design.ports(inner.config):
        if port.direction == "in":
            connect(m, getattr(outer, port.name), getattr(inner, port.name))


def forward_events(m: hdl.Module, outer: Unit, inner: Unit, prefix: str = "") -> None:
    """Events of a unit within another, as far as the outer one declares them under the prefix."""
    declared = outer.events.shape().members
    for name in inner.events.shape().members:
        if prefix + name in declared:
            m.d.comb += outer.events[prefix + name].eq(inner.events[name])


def connect(m: hdl.Module, source: Any, sink: Any) -> None:
    """A stream into another whose payload has some of its fields."""
    m.d.comb += [sink.valid.eq(source.valid), source.ready.eq(sink.ready)]
    if sink.payload.shape() == source.payload.shape():
        m.d.comb += sink.payload.eq(source.payload)
        return
    given = source.payload.shape().members
    for name in sink.payload.shape().members:
        if name in given:
            m.d.comb += getattr(sink.payload, name).eq(getattr(source.payload, name))
