"""A layer as blocks: what each packet holds, and what the settings say of them."""

from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ..contract.design import Design
from ..contract.errors import TooLongError, UserError
from ..contract.layer import Chosen
from ..contract.ports import Port
from ..contract.schedule import Beats
from ..contract.tiling import Tiling
from .config import CoreConfig, Packing, ResultPacking, family, header
from .memory import Image, Rows
from .order import Load, Loops, Pass
from .packets import result_packets
from .registers import LENGTH_BITS, made_ports, result_ports, sides, stored


class Operands(Protocol):
    """Operands of a layer, which can be cut into blocks of tokens and of outputs."""

    @property
    def x(self) -> NDArray:
        """Activations, ``(tokens, in_features)``."""

    def tiling(self, config: Any) -> Tiling:
        """Tiles of the layer."""

    def part(self, tokens: Chosen, outputs: Chosen) -> Self:
        """The operands of some tokens and outputs alone."""

    def halves(self, config: Any) -> tuple[Self, Self] | None:
        """Two layers of half of in_features each whose results add up, if there are such."""


@dataclass(frozen=True)
class Blocks:
    """Blocks of one port.

    Attributes
    ----------
    port
        As the unit has it.
    beats
        Of each block of its side what is sent, ``(beats, 32-bit words)``.
    settings
        Register name to value, as far as the port decides it.
    """

    port: Port
    beats: list[NDArray[np.uint32]]
    settings: dict[str, int]

    def leading_empty(self, blocks: range) -> int:
        """Cycles until the first beat of these blocks is found, beyond those of a block with beats.

        Blocks without a beat take a cycle each.
        """
        filled = [i for i, block in enumerate(blocks) if len(self.beats[block])]
        return filled[0] if filled else len(blocks) - 1


@dataclass(frozen=True)
class LayerBlocks:
    """A layer as a core takes it.

    Attributes
    ----------
    ports
        Blocks of every stored port, in the order that numbers them.
    tiling
        Tiles of results.
    results
        Port of results to the beats of every tile, or of every block that several tiles give
        together, ``(tiles, beats, 32-bit words)``, in the order of the tiling.
    settings
        Register name to value; but for those that say where the image is.
    image
        Rows that memory is to hold, if the unit asks for some.
    """

    ports: tuple[Blocks, ...]
    tiling: Tiling
    results: dict[str, NDArray[np.uint32]]
    settings: dict[str, int]
    image: Image | None = None

    @classmethod
    def of(
        cls, design: Design, config: CoreConfig, operands: Operands, *, outputs_stay: bool = False
    ) -> Self:
        """Cut the traffic of a unit into blocks.

        Raises
        ------
        UserError
            The unit does not take the operands, or a block is longer than its buffer.
        """
        declared = design.ports(config.unit)
        traffic = design.traffic(config.unit, operands)
        tiling = operands.tiling(config.unit).results
        cut = tuple(_cut(config, port, traffic[port.name], tiling) for port in stored(declared))
        results = {}
        for port in result_ports(declared):
            rows = traffic[port.name].expand()
            results[port.name] = rows.reshape(len(tiling) // port.tiles, -1, port.words)
        settings = {"tokens": tiling.token_blocks}
        if "outputs" in sides(declared):
            settings |= {"outputs_stay": int(outputs_stay), "outputs": tiling.output_blocks}
        for blocks in cut:
            settings |= blocks.settings
        for port in result_ports(declared):
            beats = results[port.name].shape[1]
            if port.beats is None:
                settings[f"{port.name}_beats"] = beats
                _check_fits(port, beats, config.tile_beats(port), "result_beats")
        for port in made_ports(declared):
            first = port.unpack(traffic[port.name].words[:1])
            settings[port.name] = int(first[port.fields[0].name][0])
        most = (1 << LENGTH_BITS) - 1
        if max(settings[side] for side in sides(declared)) > most:
            raise UserError(f"a layer must have at most {most} blocks of tokens and of outputs.")
        asked = Rows.of(declared)
        image = Image.of(asked, traffic[asked.answers.name].words) if asked else None
        return cls(cut, tiling, results, settings, image)

    def loops(self, config: CoreConfig) -> Loops:
        """The loops over the layer."""
        return Loops(
            self.tiling.token_blocks,
            self.tiling.output_blocks,
            config.token_blocks,
            config.output_blocks,
            bool(self.settings.get("outputs_stay")),
        )

    def packets(self, config: CoreConfig, load: Load) -> list[NDArray[np.uint32]]:
        """Packets of a block, one a port, each ``(words, bus / 32)`` with its header."""
        found = []
        for number, blocks in enumerate(self.ports):
            if blocks.port.belongs == load.side:
                beats = blocks.beats[load.block]
                packing = Packing(blocks.port.sent.width, config.bus_width)
                head = header(config, number, load.place, len(beats))
                found.append(np.concatenate([head, packing.pack(beats)]))
        return found

    def stream(self, config: CoreConfig) -> NDArray[np.uint32]:
        """Everything that passes the stream in, ``(words, bus / 32)``."""
        loads = self.loops(config).loads()
        return np.concatenate([words for load in loads for words in self.packets(config, load)])

    def result_words(self, config: CoreConfig, port: Port) -> NDArray[np.uint32]:
        """Words of every tile in the order of the tiling, ``(tiles, words, bus / 32)``."""
        packing = ResultPacking(port.sent, config.bus_width)
        results = self.results[port.name]
        rows = port.sent.pack(**_sent(port, results.reshape(-1, port.words)))
        return packing.pack(rows).reshape(len(results), -1, config.bus_width // 32)

    def result_packets(
        self, config: CoreConfig, ports: tuple[Port, ...], one: Pass
    ) -> NDArray[np.uint32]:
        """Words of a pass where results have several ports: a packet a port, block after block."""
        beats = {}
        for port in ports:
            blocks = self.results[port.name][self.blocks_of(port, one)]
            sent = port.sent.pack(**_sent(port, blocks.reshape(-1, port.words)))
            beats[port.name] = Beats(sent)
        return result_packets(config, ports, beats)

    def blocks_of(self, port: Port, one: Pass) -> list[int]:
        """Blocks of results of a pass, in run order."""
        row = self.tiling.output_blocks // port.tiles
        return [
            token * row + output // port.tiles
            for token, output in one.tiles
            if output % port.tiles == 0
        ]


def _sent(port: Port, words: NDArray[np.uint32]) -> dict[str, NDArray[np.int64]]:
    """Fields that pass the bus."""
    fields = port.unpack(words)
    return {field.name: fields[field.name] for field in port.sent.fields}


def _cut(config: CoreConfig, port: Port, beats: Beats, tiling: Tiling) -> Blocks:
    """Blocks of a port from its traffic, which has them once for every tile."""
    words = beats.expand()
    sizes = _sizes(beats, len(tiling))
    ends = np.cumsum(sizes)
    side = 0 if port.belongs == "tokens" else 1
    _, first = np.unique(tiling.order[:, side], return_index=True)
    whole = [words[ends[tile] - sizes[tile] : ends[tile]] for tile in first]
    name = family(port)
    _check_fits(port, max(map(len, whole)), config.depth(port), f"depths.{name}")
    settings = {f"{name}_beats": len(whole[0])} if port.block == "fixed" else {}
    for field in port.fields:
        if field.made == "part":
            settings[f"{name}_part"] = _part(port, field.name, whole)
        elif field.made == "setting":
            settings[field.name] = int(port.unpack(whole[0])[field.name][0])
    return Blocks(port, [port.sent.pack(**_sent(port, block)) for block in whole], settings)


def _sizes(beats: Beats, tiles: int) -> NDArray[np.int64]:
    """Beats of each tile."""
    if beats.segments is None:
        return np.full(tiles, len(beats) // tiles)
    return beats.segments[:, 1].reshape(tiles, -1).sum(axis=1)


def _part(port: Port, name: str, blocks: list[NDArray[np.uint32]]) -> int:
    """Beats between those with ``last``; the final one of a block has it always."""
    last = port.unpack(next(block for block in blocks if len(block)))[name]
    return int(np.flatnonzero(last)[0]) + 1


def _check_fits(port: Port, beats: int, most: int, parameter: str) -> None:
    if beats > most:
        raise TooLongError(
            f"a block of {port.name} has {beats} beats and the core holds {most}: "
            f"{parameter} must be larger, or in_features smaller."
        )
