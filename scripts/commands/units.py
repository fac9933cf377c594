"""``nibbleforge units``: what there is to generate."""

import re

from ...golden.contract.config import Config
from ...golden.units import UNITS
from ..show import console


def command() -> None:
    """List units, presets and parameters."""
    for unit in UNITS.values():
        console.print(f"[bold]{unit.name}[/bold]: {unit.summary}")
        console.print(f"  presets: {', '.join(unit.presets)}")
        for model in (unit.config, unit.settings):
            _parameters(model, unit.presets["paper"] if model is unit.config else model())


def _parameters(model: type[Config], values: Config, prefix: str = "") -> None:
    for name, field in model.model_fields.items():
        inner, value = model.nested(name), getattr(values, name)
        text = re.sub(r":\w+:`~?([^`]*)`", r"\1", field.description or "").replace("``", "")
        shown = "none" if value is None else value if inner is None else "as follows"
        console.print(f"  {prefix}{name} = {shown}: {text}", markup=False)
        if inner is not None:
            _parameters(inner, value or inner(), f"{name}.")
