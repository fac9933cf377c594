"""Rows that a unit asks a memory for: what it declares of them, and who brings them when."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class MatrixRows:
    """Rows of one matrix, all equally long.

    Attributes
    ----------
    name
        Of the matrix.
    code
        Its number in requests and answers.
    family
        Matrices of one family, and the port of that family or name, have equally long rows and
        blocks.
    most
        Beats of the longest row.
    """

    name: str
    code: int
    family: str
    most: int


class Supply(Protocol):
    """Who answers requests for rows in a free-flowing run, and when."""

    def take(
        self, code: int, row: int, count: int, size: int, asked: int, earliest: int
    ) -> Sequence[int]:
        """Cycles in which the beats of a request are taken; requests come in order.

        Parameters
        ----------
        code, row, count
            What is asked for: rows from ``row`` on.
        size
            Beats of each.
        asked
            Cycle in which the request is accepted.
        earliest
            First cycle in which the unit takes the first of the beats; it takes the others at once.
        """


class Latencies:
    """A memory that gives a beat a cycle, each request's first one after a latency.

    Parameters
    ----------
    cycles
        From a request to its first beat, for every request to come.
    """

    def __init__(self, cycles: Iterator[int]):
        self.cycles = cycles

    def take(
        self, code: int, row: int, count: int, size: int, asked: int, earliest: int
    ) -> Sequence[int]:
        """As :class:`Supply`."""
        first = max(asked + next(self.cycles), earliest)
        return range(first, first + count * size)
