"""Delays: what goes along with a pipeline."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value


def delayed(
    m: Module,
    value: Any,
    cycles: int,
    name: str,
    enable: Value | None = None,
    *,
    reset_less: bool = False,
) -> Any:
    """A value, or a record, so many cycles later.

    Without ``enable``, if given, it holds; with a bit a cycle the registers of each hold alone.
    """
    for cycle in range(cycles):
        late = Signal(value.shape(), name=f"{name}_{cycle}", reset_less=reset_less)
        if enable is None:
            m.d.sync += late.eq(value)
        else:
            with m.If(enable if len(enable) == 1 else enable[cycle]):
                m.d.sync += late.eq(value)
        value = late
    return value


def delays(m: Module, value: Any, cycles: int, name: str, enable: Value | None = None) -> list[Any]:
    """A value, or a record, now, one cycle later, and so on up to so many cycles later.

    Without ``enable``, if given, all of them hold.
    """
    values = [value]
    for cycle in range(1, cycles + 1):
        late = Signal(value.shape(), name=f"{name}_{cycle}")
        with m.If(Const(1, 1) if enable is None else enable):
            m.d.sync += late.eq(values[-1])
        values.append(late)
    return values


def stages_in_use(
    m: Module, valid: Value, stages: int, name: str, enable: Value | None = None
) -> Signal:
    """Which stages of a pipeline take something in this cycle.

    Parameters
    ----------
    valid
        Whether something enters the first stage.
    enable
        Without it, if given, nothing moves.
    """
    entered = Signal(stages, name=name)
    before = Signal(stages, name=f"{name}_before")  # what is there for each stage but the first
    moves = Const(1, 1) if enable is None else enable
    m.d.comb += entered.eq(Mux(moves, Cat(valid, before[1:]), 0))
    with m.If(moves):
        m.d.sync += before[1:].eq(entered[:-1])
    return entered
