"""Results that leave as packets, one a port: a header with port and beats, then the beats."""

import numpy as np
from numpy.typing import NDArray

from ..contract.ports import WORD_BITS, Port
from ..contract.schedule import Traffic
from .config import HEADER_BITS, Packing, ShellConfig, header


def words_a_beat(config: ShellConfig, port: Port) -> int:
    """Words that a beat of results takes: always whole ones."""
    return Packing(port.sent.width, config.bus_width).words


def result_packets(
    config: ShellConfig, ports: tuple[Port, ...], beats: Traffic
) -> NDArray[np.uint32]:
    """Packets of the results of a block, ``(words, bus / 32)``, one port after the other.

    Parameters
    ----------
    ports
        Of results.
    beats
        Of each of them, with the fields that are sent.
    """
    found = []
    width = config.bus_width // WORD_BITS
    for number, port in enumerate(ports):
        rows = beats[port.name].expand()
        padded = np.zeros((len(rows), words_a_beat(config, port) * width), np.uint32)
        padded[:, : rows.shape[1]] = rows
        found += [header(config, number, 0, len(rows)), padded.reshape(-1, width)]
    return np.concatenate(found)


def joined_packets(port: Port, blocks: list[NDArray[np.uint32]], each: bool) -> NDArray[np.uint32]:
    """Beats of the stream out from the words of blocks; ``last`` ends each of them, or all."""
    ends = np.cumsum([len(words) for words in blocks]) - 1
    last = np.zeros(ends[-1] + 1, np.uint8)
    last[ends if each else ends[-1:]] = 1
    return port.pack(data=np.concatenate(blocks), last=last)


def parted(
    config: ShellConfig, ports: tuple[Port, ...], words: NDArray[np.uint32]
) -> dict[str, NDArray[np.uint32]]:
    """Beats of every port, ``(beats, 32-bit words)``, from what left: packets of any blocks."""
    rows: dict[str, list[NDArray[np.uint32]]] = {
        port.name: [np.zeros((0, port.sent.words), np.uint32)] for port in ports
    }
    place = 0
    while place < len(words):
        head = int(words[place, 0])
        port = ports[head & (1 << HEADER_BITS["port"]) - 1]
        beats = head >> HEADER_BITS["port"] + HEADER_BITS["block"]
        end = place + 1 + beats * words_a_beat(config, port)
        found = words[place + 1 : end].reshape(beats, -1)
        rows[port.name].append(found[:, : port.sent.words])
        place = end
    return {name: np.concatenate(found) for name, found in rows.items()}
