"""cocotb tests of the row fetcher: cocotbext-axi's memory answers. The simulator loads them."""

import itertools
import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiReadBus, AxiSlaveRead, MemoryRegion
from nibbleforge.golden.reglu.config import Matrix, RegluConfig, ports
from nibbleforge.hw.soc.rows import RowFetcherConfig

JOB = json.loads(os.environ["NIBBLEFORGE_ROWS"])
CONFIG = RowFetcherConfig(unit=RegluConfig(**JOB.pop("unit")), **JOB)
PORTS = {port.name: port for port in ports(CONFIG.unit)}
BYTES = CONFIG.data_bits // 8
SIZE = 1 << 18


class Memory:
    """Matrices somewhere in memory, rows a stride apart, strides not all powers of two."""

    def __init__(self, rng):
        x, z = (
            int(rng.integers(1, most + 1)) for most in (CONFIG.unit.x_words, CONFIG.unit.z_words)
        )
        self.beats = {matrix: z if matrix == Matrix.B else x for matrix in Matrix}
        self.bytes = rng.integers(0, 256, SIZE, dtype=np.uint8)
        self.stride = {m: (beats + 1 + int(rng.integers(0, 4))) * BYTES
                       for m, beats in self.beats.items()}  # fmt: skip
        starts = 40_000 * np.arange(len(Matrix)) + rng.integers(0, 500, len(Matrix)) * BYTES
        self.base = dict(zip(Matrix, (starts // BYTES * BYTES).tolist(), strict=True))

    def row(self, matrix, row):
        """Beats that a row leads to."""
        start = self.base[matrix] + row * self.stride[matrix]
        count = self.beats[matrix]
        raw = self.bytes[start : start + (count + 1) * BYTES].reshape(count + 1, BYTES)
        last = np.arange(count) == count - 1
        return PORTS["rows"].pack(
            value=raw[:-1, : CONFIG.unit.lanes].astype(np.int8),
            word=np.where(last, raw[-1, :4].copy().view("<u4")[0], 0),
            matrix=np.full(count, matrix),
            row=np.full(count, row),
            last=last,
        )


def pauses(rng, share):
    return itertools.cycle((rng.random(1021) < share).tolist())


async def started(dut, memory, *, size=SIZE, share=0.0, rng=None):
    Clock(dut.clk, 10, "ns").start()
    dut.rst.value = 1
    dut.request_valid.value = dut.rows_ready.value = 0
    bits = CONFIG.address_bits
    dut.base.value = sum(value << bits * m for m, value in memory.base.items())
    dut.stride.value = sum(value << bits * m for m, value in memory.stride.items())
    dut.row_beats.value = memory.beats[Matrix.A]
    dut.b_row_beats.value = memory.beats[Matrix.B]
    region = MemoryRegion(size)
    await region.write(0, memory.bytes[:size].tobytes())
    slave = AxiSlaveRead(AxiReadBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, target=region)
    if share:
        slave.ar_channel.set_pause_generator(pauses(rng, share))
        slave.r_channel.set_pause_generator(pauses(rng, share))
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    await RisingEdge(dut.clk)


async def send(dut, requests, rng, share):
    for matrix, row, count in requests:
        while rng.random() < share:
            await RisingEdge(dut.clk)
        packed = PORTS["request"].pack(matrix=[matrix], row=[row], count=[count])
        dut.request_payload.value = int.from_bytes(packed.tobytes(), "little")
        dut.request_valid.value = 1
        await RisingEdge(dut.clk)
        while not int(dut.request_ready.value):
            await RisingEdge(dut.clk)
        dut.request_valid.value = 0


async def receive(dut, count, rng, share):
    found, waiting = [], None
    while len(found) < count:
        dut.rows_ready.value = int(rng.random() >= share)
        await RisingEdge(dut.clk)
        payload = int(dut.rows_payload.value) if int(dut.rows_valid.value) else None
        assert waiting is None or payload == waiting, "a beat changed before it was taken"
        if payload is not None and int(dut.rows_ready.value):
            found.append(payload)
            waiting = None
        else:
            waiting = payload
    dut.rows_ready.value = 0
    return found


async def watch(dut, bursts):
    """Every burst: AXI's rules, and how many are under way."""
    under_way = 0
    while True:
        await RisingEdge(dut.clk)
        if int(dut.m_axi_arvalid.value) and int(dut.m_axi_arready.value):
            address, beats = int(dut.m_axi_araddr.value), int(dut.m_axi_arlen.value) + 1
            assert address % BYTES == 0
            assert beats <= CONFIG.burst
            assert address // 4096 == (address + beats * BYTES - 1) // 4096
            assert 1 << int(dut.m_axi_arsize.value) == BYTES
            under_way += 1
            bursts.append((beats, under_way))
        done = int(dut.m_axi_rvalid.value) and int(dut.m_axi_rready.value)
        under_way -= bool(done and int(dut.m_axi_rlast.value))


def requests(rng, count):
    """Bursts of rows as the unit asks for A and B, and single rows."""
    for _ in range(count):
        matrix = Matrix(int(rng.integers(len(Matrix))))
        several = matrix in (Matrix.A, Matrix.B)
        rows = int(rng.integers(1, 8)) if several else 1
        yield matrix, int(rng.integers(0, 8)), rows


@cocotb.test()
@cocotb.parametrize(seed=range(4), share=[0.0, 0.4, 0.8])
async def rows_come_in_the_order_asked_for(dut, seed, share):
    rng = np.random.default_rng([seed, int(10 * share)])
    memory = Memory(rng)
    await started(dut, memory, share=share, rng=rng)
    bursts = []
    cocotb.start_soon(watch(dut, bursts))
    asked = list(requests(rng, 60))
    beats = np.concatenate([memory.row(m, row + i) for m, row, n in asked for i in range(n)])
    cocotb.start_soon(send(dut, asked, rng, share))
    found = await with_timeout(cocotb.start_soon(receive(dut, len(beats), rng, share)), 5, "ms")
    expected = [int.from_bytes(beat.tobytes(), "little") for beat in beats]
    assert found == expected
    assert int(dut.error.value) == 0
    assert max(under_way for _, under_way in bursts) > 1 or CONFIG.outstanding == 1


@cocotb.test()
async def an_error_response_stays(dut):
    rng = np.random.default_rng(1)
    memory = Memory(rng)
    size = memory.base[Matrix.UP]  # up and down lie beyond the end of memory
    await started(dut, memory, size=size)
    asked = [(Matrix.GATE, 0, 1), (Matrix.UP, 3, 1), (Matrix.GATE, 1, 1)]
    beats = [memory.beats[Matrix.GATE]] * 3
    cocotb.start_soon(send(dut, asked, rng, 0.0))
    await receive(dut, beats[0], rng, 0.0)
    assert int(dut.error.value) == 0
    await receive(dut, sum(beats[1:]), rng, 0.0)
    assert int(dut.error.value) == 1
