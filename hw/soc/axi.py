"""The core with the signal names of AXI, by which tools know its interfaces."""

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Module, ResetSignal, Value
from amaranth.lib.wiring import In, Out

from ...golden.contract.design import Design
from ...golden.soc.config import ShellConfig
from ...golden.soc.memory import LENGTH_BITS, FetchingConfig, Rows, fetching
from ...golden.soc.registers import ADDRESS_BITS
from ..lib.base import Part
from ..lib.emission import place
from .core import Core

CLOCK = "axi_aclk"
RESET = "axi_aresetn"
WORD = 32
INCREMENTING = 0b01  # kind of bursts
BUFFERABLE = 0b0011  # a normal memory that need not be cached


def signals(config: ShellConfig, design: Design) -> dict[str, tuple[str, int]]:
    """Signals of the core around a design: direction (``in`` or ``out``) and bits."""
    bus_width = config.bus_width
    fetched = fetching(config, design.ports(config.unit))
    return {
        CLOCK: ("in", 1),
        RESET: ("in", 1),
        "s_axi_awaddr": ("in", ADDRESS_BITS),
        "s_axi_awprot": ("in", 3),
        "s_axi_awvalid": ("in", 1),
        "s_axi_awready": ("out", 1),
        "s_axi_wdata": ("in", WORD),
        "s_axi_wstrb": ("in", WORD // 8),
        "s_axi_wvalid": ("in", 1),
        "s_axi_wready": ("out", 1),
        "s_axi_bresp": ("out", 2),
        "s_axi_bvalid": ("out", 1),
        "s_axi_bready": ("in", 1),
        "s_axi_araddr": ("in", ADDRESS_BITS),
        "s_axi_arprot": ("in", 3),
        "s_axi_arvalid": ("in", 1),
        "s_axi_arready": ("out", 1),
        "s_axi_rdata": ("out", WORD),
        "s_axi_rresp": ("out", 2),
        "s_axi_rvalid": ("out", 1),
        "s_axi_rready": ("in", 1),
        "s_axis_tdata": ("in", bus_width),
        "s_axis_tvalid": ("in", 1),
        "s_axis_tready": ("out", 1),
        "m_axis_tdata": ("out", bus_width),
        "m_axis_tvalid": ("out", 1),
        "m_axis_tready": ("in", 1),
        "m_axis_tlast": ("out", 1),
        **(_memory(*fetched) if fetched else {}),
        "irq": ("out", 1),
    }


def _memory(config: FetchingConfig, rows: Rows) -> dict[str, tuple[str, int]]:
    """Signals of the AXI4 master, which only reads."""
    return {
        "m_axi_arid": ("out", 1),
        "m_axi_araddr": ("out", config.address_bits),
        "m_axi_arlen": ("out", LENGTH_BITS),
        "m_axi_arsize": ("out", 3),
        "m_axi_arburst": ("out", 2),
        "m_axi_arlock": ("out", 1),
        "m_axi_arcache": ("out", 4),
        "m_axi_arprot": ("out", 3),
        "m_axi_arvalid": ("out", 1),
        "m_axi_arready": ("in", 1),
        "m_axi_rid": ("in", 1),
        "m_axi_rdata": ("in", rows.data_bits),
        "m_axi_rresp": ("in", 2),
        "m_axi_rlast": ("in", 1),
        "m_axi_rvalid": ("in", 1),
        "m_axi_rready": ("out", 1),
    }


class AxiCore(Part[ShellConfig]):
    """A core under AXI names: ``s_axi`` AXI4-Lite, ``s_axis`` and ``m_axis`` AXI4-Stream.

    Around a unit that asks for rows, ``m_axi`` is an AXI4 master that reads, bursts in order.
    All interfaces share the clock ``axi_aclk`` and the synchronous reset ``axi_aresetn``, active
    low. Protection bits are not looked at.
    """

    def __init__(self, core: Core):
        self.core = core
        flow = {"in": In, "out": Out}
        self.members = members = signals(core.config, core.inner)
        super().__init__(
            core.config, {name: flow[way](bits) for name, (way, bits) in members.items()}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        core = self.core
        m.domains.sync = ClockDomain("sync")
        m.d.comb += [
            ClockSignal().eq(getattr(self, CLOCK)),
            ResetSignal().eq(~getattr(self, RESET)),
        ]
        place(m, platform, "core", core)
        for channel, names in _PAYLOADS.items():
            if hasattr(core, channel):
                self._connect(m, channel, names)
        if hasattr(core, "m_axi_ar"):
            m.d.comb += [
                self.m_axi_arsize.eq((len(self.m_axi_rdata) // 8 - 1).bit_length()),
                self.m_axi_arburst.eq(INCREMENTING),
                self.m_axi_arcache.eq(BUFFERABLE),
            ]
        m.d.comb += self.irq.eq(core.irq)
        return m

    def _connect(self, m: Module, channel: str, names: tuple[str, ...]) -> None:
        """A stream of the core and the signals of a channel."""
        stream = getattr(self.core, channel)
        prefix = f"{channel}_t" if channel.endswith("axis") else channel
        parts = [getattr(self, f"{prefix}{name}") for name in names]
        outer, inner = Cat(*parts), Value.cast(stream.payload)
        valid, ready = (getattr(self, f"{prefix}{name}") for name in ("valid", "ready"))
        if self.members[f"{prefix}valid"][0] == "in":
            m.d.comb += [stream.valid.eq(valid), ready.eq(stream.ready), inner.eq(outer)]
        else:
            m.d.comb += [valid.eq(stream.valid), stream.ready.eq(ready), outer.eq(inner)]


_PAYLOADS = {
    "s_axi_aw": ("addr",),
    "s_axi_w": ("data", "strb"),
    "s_axi_b": ("resp",),
    "s_axi_ar": ("addr",),
    "s_axi_r": ("data", "resp"),
    "s_axis": ("data",),
    "m_axis": ("data", "last"),
    "m_axi_ar": ("addr", "len"),
    "m_axi_r": ("data", "resp", "last"),
}
