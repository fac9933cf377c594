"""Monitors of streams: what an output must not do is noticed."""

from types import SimpleNamespace

import pytest
from nibbleforge.golden.contract.ports import Field, Port
from nibbleforge.tb.streams import StreamMonitor

PORT = Port("y", "out", (Field("value", 8, ""),), "")


class Wire:
    """A signal of the simulator."""

    value = 0


class Bits(int):
    """A value of the simulator."""

    def to_unsigned(self):
        return int(self)


def violations(offers, readies):
    """What a monitor has to say of an output that offers a payload, or nothing, in each cycle."""
    dut = SimpleNamespace(y_valid=Wire(), y_ready=Wire(), y_payload=Wire())
    monitor = StreamMonitor(dut, PORT)
    monitor.restart(None)
    for cycle, (offer, ready) in enumerate(zip(offers, readies, strict=True)):
        monitor.gate, monitor.gate_at = [ready], -1
        monitor.drive()
        dut.y_valid.value = int(offer is not None)
        dut.y_payload.value = Bits(offer or 0)
        monitor.sample(cycle)
    return monitor.violations


@pytest.mark.parametrize(
    ("offers", "readies", "cycles"),
    [
        ([5, 5, 5, 6], [0, 0, 1, 1], []),  # waits unchanged
        ([5, 6, None, 7], [1, 1, 1, 1], []),  # every beat is accepted at once
        ([5, 7, 7], [0, 0, 1], [1]),  # the payload changes
        ([5, 5, 4], [0, 0, 1], [2]),  # in the cycle of its acceptance
        ([5, None, 5], [0, 0, 1], [1]),  # withdrawn
        ([None, None, 5, 4, 5], [0, 0, 0, 0, 1], [3, 4]),
    ],
)
def test_what_waits_must_stay(offers, readies, cycles):
    assert violations(offers, readies) == [
        f"y changed in cycle {cycle} before it was accepted" for cycle in cycles
    ]
