"""Memories that may be as short as a configuration wants them."""

from amaranth.hdl import Module
from amaranth.lib.memory import Memory


def address_bits(words: int) -> int:
    """Bits of an address, at least one."""
    return max(1, (words - 1).bit_length())


def memory_of(m: Module, name: str, width: int, words: int) -> Memory:
    """A memory of at least two words in a module, so that an address has a bit."""
    memory = Memory(shape=width, depth=max(2, words), init=[])
    m.submodules[name] = memory
    return memory
