"""What a host and the bridge beside a core say to each other over a serial line.

What the host sends, numbers least significant byte first; the bridge answers each in turn:

=====  =======================================  ==============================================
``R``  address, 2 bytes                         status (0: done, else refused), value of 4 bytes
``W``  address, 2 bytes; value, 4 bytes         status
``S``  words of 32 bits, 1 byte; the words      words taken, 1 byte
``G``  most words of 32 bits, 1 byte            words there are, 1 byte; the words
``M``  number of a word of the board's memory,  words put there, 1 byte
       4 bytes; words of 32 bits, 1 byte;
       the words
=====  =======================================  ==============================================

``S`` takes what the stream in has room for and drops the rest; ``G`` waits for nothing. Both move
whole words of the core's streams. ``M`` drops what is beyond the memory; only boards around cores
that read rows have one. A command that is not complete :data:`PATIENCE` cycles after its
latest byte is forgotten, and so is a byte that begins none. What a layer that was given up has left
in the bridge is for the host to take and drop.

Bytes are sent with a start bit, eight bits of data, the least significant first, and a stop bit.
"""

MOST_WORDS = 32
"""Words of 32 bits that a host sends or asks for at once; the bridge keeps as many results."""

PATIENCE = 1 << 22
"""Cycles of silence after which the bridge forgets an incomplete command."""

MEMORY_WORDS = 1 << 15
"""Words of 32 bits of the memory for rows on a board: 128 KiB."""

BAUD = 1_000_000
"""Bits a second where nobody chose another rate."""
