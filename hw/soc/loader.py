"""Packets on their way into the buffers."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ...golden.contract.config import Config
from ...golden.soc.config import HEADER_BITS, SIDES
from ...golden.soc.registers import LENGTH_BITS
from ..lib.base import Part

TOKENS, OUTPUTS = range(len(SIDES))


class SideConfig(Config):
    """Parameters of what is known of the blocks of one side."""

    blocks: int = Parameter(ge=1)
    """Blocks that a half of the buffers holds."""
    ports: int = Parameter(ge=0)
    """Ports, each of which has a packet for every block."""


class Side(Part[SideConfig]):
    """Which block of tokens (or of outputs) comes next, and which halves of the buffers are full.

    ``start`` begins with the layer's first block; every ``loaded`` is a packet more, port after
    port, block after block, again and again. A half is full when it holds all blocks that it can,
    or the layer's last; ``free`` gives it free.
    """

    def __init__(self, config: SideConfig):
        super().__init__(
            config,
            {
                "start": In(1),
                "blocks": In(LENGTH_BITS),
                "loaded": In(1),
                "free": In(1),
                "port": Out(range(max(2, config.ports))),
                "place": Out(range(max(2, config.blocks))),
                "write_half": Out(1),
                "room": Out(1),
                "ends_group": Out(1),
                "ends_sweep": Out(1),
                "complete": Out(1),
                "read_half": Out(1),
                "full": Out(1),
                "count": Out(range(config.blocks + 1)),
                "holds_final": Out(1),
            },
        )

    @property
    def title(self) -> str:
        """With its blocks and ports."""
        return f"{super().title}_b{self.config.blocks}_p{self.config.ports}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        remaining = Signal(LENGTH_BITS)
        halves_full = Signal(2)
        halves_final = Signal(2)
        counts = [Signal.like(self.count, name=f"count_{half}") for half in range(2)]
        next_place = Signal(len(self.place) + 1)
        final_block = Signal()
        final_port = Signal()
        block_done = Signal()
        m.d.comb += [
            next_place.eq(self.place + 1),
            final_block.eq(remaining == 1),
            final_port.eq(self.port == config.ports - 1 if config.ports > 1 else 1),
            block_done.eq(self.loaded & final_port),
            self.ends_group.eq(block_done & (final_block | (self.place == config.blocks - 1))),
            self.ends_sweep.eq(block_done & final_block),
            self.room.eq(~Mux(self.write_half, halves_full[1], halves_full[0])),
            self.full.eq(Mux(self.read_half, halves_full[1], halves_full[0])),
            self.holds_final.eq(Mux(self.read_half, halves_final[1], halves_final[0])),
            self.count.eq(Mux(self.read_half, counts[1], counts[0])),
        ]
        if config.ports > 1:
            with m.If(self.loaded):
                m.d.sync += self.port.eq(Mux(final_port, 0, self.port + 1))
        with m.If(block_done):
            m.d.sync += [
                self.place.eq(Mux(self.ends_group, 0, next_place)),
                remaining.eq(Mux(final_block, self.blocks, remaining - 1)),
            ]
        for half in range(2):
            fills = Signal(name=f"fills_{half}")
            m.d.comb += fills.eq(self.ends_group & (self.write_half == half))
            with m.If(fills):
                m.d.sync += [
                    halves_full[half].eq(1),
                    halves_final[half].eq(final_block),
                    counts[half].eq(next_place),
                ]
            with m.Elif(self.free & (self.read_half == half)):
                m.d.sync += halves_full[half].eq(0)
        m.d.sync += [
            self.write_half.eq(self.write_half ^ self.ends_group),
            self.read_half.eq(self.read_half ^ self.free),
            self.complete.eq(self.complete | self.ends_sweep),
        ]
        with m.If(self.start):
            m.d.sync += [remaining.eq(self.blocks), self.complete.eq(0)]
        return m


class SingleBlock(Side):
    """A side without ports: the one block of which nothing is loaded is always there."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.complete.eq(1), self.full.eq(1), self.count.eq(1), self.holds_final.eq(1)]
        return m


class LoaderConfig(Config):
    """Parameters of the loader."""

    bus: int
    """Bits of a bus word."""
    token_blocks: int
    """Blocks of tokens that a half of the buffers holds."""
    output_blocks: int
    """Blocks of outputs that a half of the buffers holds."""
    ports: tuple["LoadedPort", ...]
    """Ports in the order of their numbers."""

    def blocks(self, side: int) -> int:
        """Blocks of a side that a half of the buffers holds."""
        return self.output_blocks if side == OUTPUTS else self.token_blocks

    def side_ports(self, side: int) -> int:
        """Ports of a side."""
        return sum(port.side == side for port in self.ports)


class LoadedPort(Config):
    """What the loader knows of a port."""

    side: int
    """0 tokens, 1 outputs."""
    lanes: int
    """Beats that share a word."""
    words: int
    """Words that a beat takes."""
    depth: int
    """Beats of the longest block."""
    variable: bool
    """Whether every block has its own length."""


LoaderConfig.model_rebuild()


class Loader(Part[LoaderConfig]):
    """Takes packets: a header with port, block and beats, then the beats.

    * Schedule: a header taken in cycle h is looked at in h + 1, or when its half of the buffers is
      free; its words follow from the next cycle on, one a cycle, and then the next header.
    * A packet that is not the next one of its side, or has another length than its port takes,
      is noted and drained; so is one for a port that there is not, a word a beat.

    Stalls while the half that a packet is for is still being replayed, and between layers.
    """

    def __init__(self, config: LoaderConfig):
        ports = len(config.ports)
        depth = max(port.depth for port in config.ports)
        words = max(2, *(port.depth // port.lanes for port in config.ports))
        columns = max(2, *(port.words for port in config.ports))
        lengths = {
            f"beats_{i}": In(range(port.depth + 1))
            for i, port in enumerate(config.ports)
            if not port.variable
        }
        super().__init__(
            config,
            {
                "busy": In(1),
                "drain": In(1),
                "valid": In(1),
                "ready": Out(1),
                "data": In(config.bus),
                **lengths,
                "room": In(len(SIDES)),
                "port_expected": In(HEADER_BITS["port"] * len(SIDES)),
                "block_expected": In(HEADER_BITS["block"] * len(SIDES)),
                "loaded": Out(len(SIDES)),
                "write": Out(ports),
                "set_beats": Out(ports),
                "beats": Out(range(depth + 1)),
                "block": Out(HEADER_BITS["block"]),
                "word": Out(range(words)),
                "column": Out(range(columns)),
                "unknown_port": Out(1),
                "wrong_block": Out(1),
                "wrong_length": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port = Signal(HEADER_BITS["port"])
        remaining = Signal(HEADER_BITS["beats"])
        header = Signal()
        write = Signal(name="write_word")
        wrong = Signal()
        chosen = _Chosen(self.config)
        self._choose(m, port, remaining, chosen)
        final_column = Signal.like(chosen.words)
        ends_beat = Signal()
        ends_packet = Signal()
        take = Signal()
        beat_taken = Signal()
        packet_taken = Signal()
        let_in = Signal()
        done = Signal()
        has_room = Signal()
        right = Signal()
        m.d.comb += [
            # with room only: a packet that came early belongs to a layer not yet described
            has_room.eq((self.room & chosen.side).any()),
            right.eq(chosen.next_one & chosen.right_length),
            final_column.eq(chosen.words - 1),
            ends_beat.eq(self.column == final_column),
            ends_packet.eq(ends_beat & (remaining <= chosen.lanes)),
            self.beats.eq(remaining),
            self.loaded.eq(Mux(done, chosen.side, 0)),
        ]
        with m.FSM():
            with m.State("HEADER"):
                m.d.comb += self.ready.eq(self.busy | self.drain)
                m.d.comb += header.eq(self.busy & self.valid)
                with m.If(header):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += [
                    self.unknown_port.eq(~chosen.known),
                    self.wrong_block.eq(has_room & ~chosen.next_one),
                    self.wrong_length.eq(has_room & chosen.next_one & ~chosen.right_length),
                    wrong.eq(~chosen.known | (has_room & ~right)),
                    let_in.eq(has_room & right),
                    done.eq(let_in & (remaining == 0)),
                ]
                m.d.sync += [self.word.eq(0), self.column.eq(0)]
                with m.If(wrong):
                    m.next = "DRAIN"
                with m.If(let_in):
                    m.next = "WORDS"
                with m.If((wrong | let_in) & (remaining == 0)):
                    m.next = "HEADER"
            with m.State("WORDS"):
                m.d.comb += [write.eq(take), done.eq(packet_taken), self.ready.eq(1)]
                with m.If(packet_taken):
                    m.next = "HEADER"
            with m.State("DRAIN"):
                m.d.comb += self.ready.eq(1)
                with m.If(packet_taken):
                    m.next = "HEADER"
        m.d.comb += [
            take.eq(self.valid & self.ready),
            beat_taken.eq(take & ends_beat),
            packet_taken.eq(take & ends_packet),
        ]
        with m.If(take):
            m.d.sync += self.column.eq(Mux(ends_beat, 0, self.column + 1))
        with m.If(beat_taken):
            m.d.sync += [self.word.eq(self.word + 1), remaining.eq(remaining - chosen.lanes)]
        with m.If(header):
            m.d.sync += Cat(port, self.block, remaining).eq(self.data[:_HEADER])
        for i in range(len(self.config.ports)):
            m.d.comb += [
                self.write[i].eq((port == i) & write),
                self.set_beats[i].eq((port == i) & let_in),
            ]
        return m

    def _choose(self, m: Module, port: Signal, beats: Value, chosen: "_Chosen") -> None:
        """Facts of the port that a packet is for."""
        m.d.comb += chosen.words.eq(1)
        share = isinstance(chosen.lanes, Signal)
        if share:
            m.d.comb += chosen.lanes.eq(1)
        numbers = [0] * len(SIDES)
        awaited = []
        for side, name in enumerate(SIDES):
            awaited.append(Signal(name=f"is_block_of_{name}"))
            wanted = self.block_expected.word_select(side, HEADER_BITS["block"])
            m.d.comb += awaited[side].eq(wanted == self.block)
        with m.Switch(port):
            for i, facts in enumerate(self.config.ports):
                side = facts.side
                if facts.variable:
                    right = beats <= facts.depth
                else:
                    right = beats == getattr(self, f"beats_{i}")
                wanted_port = self.port_expected.word_select(side, HEADER_BITS["port"])
                next_one = (wanted_port == numbers[side]) & awaited[side]
                with m.Case(i):
                    m.d.comb += [
                        chosen.known.eq(1),
                        chosen.side.eq(1 << side),
                        *([chosen.lanes.eq(facts.lanes)] if share else []),
                        chosen.words.eq(facts.words),
                        chosen.right_length.eq(right),
                        chosen.next_one.eq(next_one),
                    ]
                numbers[side] += 1
            with m.Default():
                m.d.comb += chosen.known.eq(0)


_HEADER = sum(HEADER_BITS.values())


class _Chosen:
    """Signals of what is known of the port that a packet is for."""

    def __init__(self, config: LoaderConfig):
        self.known = Signal()
        self.side = Signal(len(SIDES))
        lanes = max(port.lanes for port in config.ports)
        self.lanes = Signal(range(lanes + 1), name="lanes") if lanes > 1 else Const(1)
        self.words = Signal(range(max(port.words for port in config.ports) + 1))
        self.right_length = Signal()
        self.next_one = Signal()


def expected(values: list[Value], name: str) -> Value:
    """Numbers that headers must have, one a side, as wide as the header's field."""
    bits = HEADER_BITS[name]
    return Cat(*(Cat(value, Const(0, bits - len(value))) for value in values))
