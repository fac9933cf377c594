"""Arrays that take FP16 operands as a scalar state machine, one loop turn per cycle."""

import struct
from collections import deque

from nibbleforge.golden.contract.workload import Workload


def single(value):
    """A double rounded to FP32: exact for sums and products of two FP32 numbers."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def tiles(config, layer):
    """Padded operands of each tile: ``(R lists of K, C lists of K)``, outputs innermost."""
    x, w = layer.x.tolist(), layer.w.tolist()
    zero = [0.0] * len(x[0])
    for token in range(0, len(x), config.rows):
        for output in range(0, len(w), config.columns):
            rows = [x[t] if t < len(x) else zero for t in range(token, token + config.rows)]
            columns = [w[o] if o < len(w) else zero for o in range(output, output + config.columns)]
            yield rows, columns


def payload(values, kind, *flags):
    """Payload as an integer: floats in the lowest bits, then flags."""
    raw = struct.pack(f"<{len(values)}{kind}", *values)
    return int.from_bytes(raw, "little") + sum(
        flag << (8 * len(raw) + i) for i, flag in enumerate(flags)
    )


def beats(config, lists):
    """Operands of each beat, lanes of the first row (or column) first."""
    lanes = config.lanes
    for start in range(0, len(lists[0]), lanes):
        yield [v for one in lists for v in (one[start : start + lanes] + lanes * [0.0])[:lanes]]


def simulate(config, layer, element, turns, lead, leave):
    """Log of all ports and events of a free-flowing run.

    ``element(config, x, w)`` is a result, ``turns`` the sums that take turns. ``lead`` steps after
    a tile's final one its sums are kept; ``leave`` cycles later the first row leaves.
    """
    ports = {name: [] for name in ("x", "w", "y")}
    names = ("macs", "x_beats", "w_beats", "y_beats", "tiles", "stall_operands", "stall_drain")
    events = {name: [] for name in names}
    feed, results = deque(), deque()
    for rows, columns in tiles(config, layer):
        pairs = list(zip(beats(config, rows), beats(config, columns), strict=True))
        feed += [(x, w, int(i == len(pairs) - 1)) for i, (x, w) in enumerate(pairs)]
        results.append([[element(config, x, w) for w in columns] for x in rows])
    on_the_way = deque([False] * lead)  # whether a step was a final one
    operand, turn, filling, free, cycle = None, 0, False, 0, 0
    while feed or operand or filling or any(on_the_way):
        if on_the_way[0] and cycle < free:
            events["stall_drain"].append((cycle, 1))
        else:
            if on_the_way.popleft():
                free = cycle + config.rows
                for r, row in enumerate(results.popleft()):
                    leaves = cycle + leave + r
                    ports["y"].append((leaves, payload(row, "f", int(r == config.rows - 1))))
                    events["y_beats"].append((leaves, 1))
            worked = operand and not filling
            if worked:
                events["macs"].append((cycle, config.rows * config.columns * config.lanes))
                filling = operand[2]
                operand = None
            turn = (turn + bool(worked or filling)) % turns
            ends = bool(filling and turn == 0)
            if ends:
                events["tiles"].append((cycle, 1))
                filling = False
            on_the_way.append(ends)
        if not operand and feed:
            operand = x, w, last = feed.popleft()
            ports["x"].append((cycle, payload(x, "e", last)))
            ports["w"].append((cycle, payload(w, "e")))
            events["x_beats"].append((cycle, 1))
            events["w_beats"].append((cycle, 1))
        cycle += 1
    return ports, events, ports["y"][-1][0] + 1


def integers(beats):
    return [int.from_bytes(row.astype("<u4").tobytes(), "little") for row in beats.expand()]


def check_schedule(golden, config, layer, simulated):
    """Schedule, traffic and counts of a golden module against the log of a run."""
    ports, events, total = simulated
    schedule = golden.schedule(config, layer)
    traffic = golden.traffic(config, layer)
    assert set(schedule.beats) == set(traffic) == set(ports)
    for name, beats in ports.items():
        assert schedule.cycles[name].tolist() == [cycle for cycle, _ in beats], name
        assert integers(schedule.beats[name]) == [value for _, value in beats], name
        assert integers(traffic[name]) == [value for _, value in beats], name
    pulses_of = {
        name: list(zip(pulses.cycles.tolist(), pulses.increments.tolist(), strict=True))
        for name, pulses in schedule.events.items()
    }
    assert pulses_of == events
    assert [event.name for event in golden.events(config)] == list(events)
    assert [port.name for port in golden.ports(config)] == list(ports)
    counts = schedule.counts()
    assert counts.cycles == total
    law = golden.cycles(config, Workload(*layer.x.shape, len(layer.w)))
    assert (law.cycles, law.events) == (counts.cycles, counts.events)
