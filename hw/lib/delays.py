"""Delays: what goes along with a pipeline."""

from typing import Any

from amaranth.hdl import Module, Signal, Value


def delayed(
    m: Module,
    value: Any,
    cycles: int,
    name: str,
    enable: Value | None = None,
    *,
    reset_less: bool = False,
) -> Any:
    """A value, or a record, so many cycles later; without ``enable``, if given, it holds."""
    for cycle in range(cycles):
        late = Signal(value.shape(), name=f"{name}_{cycle}", reset_less=reset_less)
        if enable is None:
            m.d.sync += late.eq(value)
        else:
            with m.If(enable):
                m.d.sync += late.eq(value)
        value = late
    return value
