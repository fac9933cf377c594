"""Memories that may be as short as a configuration wants them."""

from collections.abc import Sequence
from typing import TypeVar

from amaranth.hdl import Module
from amaranth.lib.memory import Memory, ReadPort, WritePort


def address_bits(words: int) -> int:
    """Bits of an address, at least one."""
    return max(1, (words - 1).bit_length())


BUFFER_ATTRIBUTES = {"no_rw_check": 1, "ram_style": "block"}
"""Attributes of buffers in Verilog: no word is read while it is written; block RAM is meant."""


def buffer_of(m: Module, name: str, width: int, words: int, init: Sequence[int] = ()) -> Memory:
    """A memory in block RAM, no word of which is read in the cycle in which it is written.

    Words hold anything at first, unless ``init`` gives contents.
    """
    memory = Memory(shape=width, depth=max(2, words), init=init, attrs=BUFFER_ATTRIBUTES)
    m.submodules[name] = memory
    return memory


P = TypeVar("P", ReadPort, WritePort)


def named(port: P, name: str) -> P:
    """A port of a memory whose signals go by a name of their own, as one of several."""
    for pin in ("en", "addr", "data"):
        getattr(port, pin).name = f"{name}_{pin}"
    return port


def memory_of(m: Module, name: str, width: int, words: int) -> Memory:
    """A memory of at least two words in a module, so that an address has a bit."""
    memory = Memory(shape=width, depth=max(2, words), init=[])
    m.submodules[name] = memory
    return memory
