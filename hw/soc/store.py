"""Buffer of one port: blocks are written a bus word at a time and replayed beat by beat."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ...golden.contract.config import Config
from ...golden.soc.config import Packing
from ..lib.base import Part
from ..lib.memories import buffer_of, memory_of, named
from .pieces import chosen, pieces


class StoreConfig(Config):
    """Parameters of a port's buffer."""

    width: int = Parameter(ge=1)
    """Bits of a beat."""
    bus: int
    """Bits of a bus word."""
    token_blocks: int
    """Blocks of tokens of a pass."""
    output_blocks: int
    """Blocks of outputs of a pass."""
    of_tokens: bool
    """Whether blocks are of tokens: each is replayed for all outputs, then the next one."""
    depth: int
    """Beats of the longest block, a power of two."""
    variable: bool = False
    """Whether every block has its own length."""
    parts: bool = False
    """Whether ends of parts are marked."""

    @property
    def blocks(self) -> int:
        """Blocks of a half."""
        return self.token_blocks if self.of_tokens else self.output_blocks

    @property
    def packing(self) -> Packing:
        """How beats become words."""
        return Packing(self.width, self.bus)

    @property
    def words(self) -> int:
        """Words of a column that the longest block takes, a power of two."""
        return max(2, self.depth // self.packing.lanes)


class PortStore(Part[StoreConfig]):
    """Two halves of blocks: one is written while the other is replayed.

    * Writing: ``data`` goes to column ``column`` of word ``word`` of a block.
    * Replaying: after ``go`` in cycle c the block's first beat is offered from c + 2 on, and then a
      beat a cycle as fast as they are taken; blocks without a beat take a cycle each. Blocks of
      tokens are sent ``output_count`` times each, blocks of outputs all in turn, ``token_count``
      times.

    ``primed``: a beat is offered, or none is left.
    """

    def __init__(self, config: StoreConfig):
        packing = config.packing
        counts = {
            "token_count": In(range(config.token_blocks + 1)),
            "output_count": In(range(config.output_blocks + 1)),
        }
        ports = {
            "write": In(1),
            "write_half": In(1),
            "block": In(range(max(2, config.blocks))),
            "word": In(range(config.words)),
            "column": In(range(max(2, packing.words))),
            "data": In(config.bus),
            "go": In(1),
            "read_half": In(1),
            **counts,
            "beats": In(range(config.depth + 1)),
            "valid": Out(1),
            "ready": In(1),
            "payload": Out(config.width),
            "ends_block": Out(1),
            "primed": Out(1),
        }
        if config.parts:
            ports |= {"part": In(range(config.depth + 1)), "ends_part": Out(1)}
        if config.variable:
            ports["set_beats"] = In(1)
        super().__init__(config, ports)

    @property
    def title(self) -> str:
        """With the width of a beat and the beats of a block; whether ends of parts are marked."""
        parts = "_parts" if self.config.parts else ""
        return f"port_store_w{self.config.width}_d{self.config.depth}{parts}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        active = Signal()
        fetch = Signal()
        skip = Signal()
        offset = Signal(range(config.depth))
        following = Signal(range(config.depth + 1))
        ends_block = Signal(name="final_beat")
        block = self._loops(m, active, fetch & ends_block, skip)
        beats = self._lengths(m, block)
        empty = (beats == 0) if config.variable else Const(0)
        m.d.comb += [
            skip.eq(active & empty),
            fetch.eq(active & ~empty & (~self.valid | self.ready)),
            following.eq(offset + 1),
            ends_block.eq(following == beats),
            self.primed.eq(self.valid | ~active),
        ]
        with m.If(fetch):
            m.d.sync += [
                offset.eq(Mux(ends_block, 0, following)),
                self.ends_block.eq(ends_block),
                self.valid.eq(1),
            ]
        with m.Elif(self.ready):
            m.d.sync += self.valid.eq(0)
        if config.parts:
            self._parts(m, fetch, ends_block)
        self._memory(m, block, offset, fetch)
        return m

    def _loops(self, m: Module, active: Signal, done: Value, skip: Value) -> Signal:
        """Two nested loops over a pass: outputs within tokens; the block that is replayed."""
        config = self.config
        token_block = Signal(range(max(2, config.token_blocks)))
        output_block = Signal(range(max(2, config.output_blocks)))
        skips = skip if config.variable and config.of_tokens else 0
        next_token = Signal(len(token_block) + 1)
        next_output = Signal(len(output_block) + 1)
        final_token = Signal()
        final_output = Signal()
        ends = Signal()
        m.d.comb += [
            next_token.eq(token_block + 1),
            next_output.eq(output_block + 1),
            final_token.eq(next_token == self.token_count),
            final_output.eq((next_output == self.output_count) | skips),
            ends.eq(done | skip),
        ]
        with m.If(self.go):
            m.d.sync += active.eq(1)
        with m.Elif(ends):
            m.d.sync += output_block.eq(Mux(final_output, 0, next_output))
            with m.If(final_output):
                m.d.sync += token_block.eq(Mux(final_token, 0, next_token))
                with m.If(final_token):
                    m.d.sync += active.eq(0)
        return token_block if config.of_tokens else output_block

    def _lengths(self, m: Module, block: Signal) -> Value:
        """Beats of a block: those of the layer, or from a table."""
        config = self.config
        if not config.variable:
            return self.beats
        table = memory_of(m, "lengths", len(self.beats), 2 * (1 << len(self.block)))
        write = table.write_port()
        read = table.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.set_beats),
            write.addr.eq(Cat(self.block, self.write_half)),
            write.data.eq(self.beats),
            read.addr.eq(Cat(block, self.read_half)),
        ]
        return read.data

    def _parts(self, m: Module, fetch: Value, ends_block: Value) -> None:
        """Mark the final beat of each part; a block's end ends its part."""
        place = Signal(range(self.config.depth))
        following = Signal(range(self.config.depth + 1), name="following_place")
        ends = Signal(name="final_of_part")
        m.d.comb += [
            following.eq(place + 1),
            ends.eq(ends_block | (following == self.part)),
        ]
        with m.If(fetch):
            m.d.sync += [self.ends_part.eq(ends), place.eq(Mux(ends, 0, following))]

    def _memory(self, m: Module, block: Value, offset: Signal, fetch: Value) -> None:
        """Columns of words; of a word that beats share, the beat is chosen as it leaves."""
        packing = self.config.packing
        shared = (packing.lanes - 1).bit_length()
        room = self.config.bus // packing.lanes
        read_addr = Cat(self._word_of(offset, shared), block, self.read_half)
        write_addr = Cat(self.word, self.block, self.write_half)
        read_from = Signal(len(read_addr))
        write_to = Signal(len(write_addr))
        m.d.comb += [read_from.eq(read_addr), write_to.eq(write_addr)]
        found = []
        for column in range(packing.words):
            bits = min(self.config.bus, self.config.width - column * self.config.bus)
            width = bits * packing.lanes
            memory = buffer_of(m, f"column_{column}", width, 2 * self.config.words << len(block))
            write = named(memory.write_port(), f"write_{column}")
            read = named(memory.read_port(), f"read_{column}")
            lanes = [self.data[i * room : i * room + bits] for i in range(packing.lanes)]
            m.d.comb += [
                write.en.eq(self.write & (self.column == column)),
                write.addr.eq(write_to),
                write.data.eq(Cat(*lanes)),
                read.en.eq(fetch),
                read.addr.eq(read_from),
            ]
            found.append(read.data)
        lane = Signal(shared)
        if shared:
            with m.If(fetch):
                m.d.sync += lane.eq(offset[:shared])
        m.d.comb += self.payload.eq(chosen(pieces(Cat(*found), self.config.width), lane))

    def _word_of(self, offset: Signal, shared: int) -> Value:
        """Word of a column that holds a beat."""
        word = offset[shared:]
        return Cat(word, Const(0, (self.config.words - 1).bit_length() - len(word)))
