"""Options that commands share, and the configuration they add up to."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..golden.contract.config import Config
from ..golden.contract.design import Unit
from ..golden.contract.errors import UserError
from ..golden.contract.files import refuse_device
from ..golden.units import CORE, core_name, unit
from ..sim.tools.toolchain import require

ARRAY_HELP = ".npy, .npz, .safetensors, or a checkpoint's folder; of several arrays, FILE:NAME."
"""Where an option takes an array."""

UnitName = Annotated[str, typer.Argument(metavar="UNIT", help="Unit, see `nibbleforge units`.")]
Preset = Annotated[str, typer.Option(metavar="P", help="Preset to start from.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="F.toml", help="Parameters in a TOML file.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One parameter; may be given several times."),
]
TopName = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Top module; prefix of all others.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace files of another design or configuration.")
]
Model = Annotated[
    str, typer.Option(metavar="M", help="smollm2, a Hugging Face folder or a GGUF file.")
]
Text = Annotated[
    Path | None,
    typer.Option(metavar="T.txt", help="Text to run; default: Python's help texts."),
]
Offset = Annotated[int | None, typer.Option(metavar="N", help="First token of the text to run.")]
Context = Annotated[int, typer.Option(metavar="N", help="Tokens of a window.")]
Tokens = Annotated[int, typer.Option(metavar="N", help="Tokens to run.")]
HeldOut = Annotated[bool, typer.Option("--held-out", help="Run the end of the text instead.")]
Markdown = Annotated[
    bool, typer.Option("--markdown", help="Tables in Markdown, as documents show them.")
]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")
]


def configure(
    name: str, preset: str, file: Path | None, assignments: Sequence[str] | None
) -> tuple[Unit, Config, Config]:
    """Unit, configuration and run-time settings: preset, then file, then single assignments.

    Raises
    ------
    UserError
        Unknown unit, preset or key, an unreadable file, an illegal value or combination.
    """
    owner = unit(name)
    if preset not in owner.presets:
        raise UserError(
            f"{name} has no preset {preset!r}; its presets are {', '.join(owner.presets)}."
        )
    values = _read(file)
    for text in assignments or ():
        _assign(values, *_assignment(text))
    runtime = {key: values.pop(key) for key in list(values) if key in owner.settings.model_fields}
    unknown = next((key for key in values if key not in owner.config.model_fields), None)
    if unknown is not None:
        known = ", ".join([*owner.config.parameters(), *owner.settings.parameters()])
        raise UserError(f"{name} has no parameter {unknown!r}; its parameters are {known}.")
    return owner, owner.presets[preset].replace(**values), owner.settings(**runtime)


def with_cores(names: Sequence[str], inner: Sequence[str]) -> list[str]:
    """Names of units with ``core`` and its ``--unit`` put together.

    Raises
    ------
    UserError
        One of the two without the other.
    """
    if (CORE in names) != bool(inner):
        raise UserError("core and --unit belong together: core --unit UNIT.")
    cores = [core_name(name) for name in inner]
    return [name for given in names for name in (cores if given == CORE else [given])]


def check_number(option: str, value: int, least: int, most: int | None = None) -> None:
    """Raise :class:`UserError` unless a number on the command line is within its range."""
    if value < least:
        raise UserError(f"{option} must be at least {least}, got {value}.")
    if most is not None and value > most:
        raise UserError(f"{option} must be at most {most}, got {value}.")


def check_tools() -> None:
    """Raise :class:`UserError` before any work if what every simulation needs is missing."""
    for name in ("verilator", "g++"):
        require(name)


def _read(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    refuse_device(file)
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not TOML: {error}.") from error


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a parameter; ``field.name`` is that of a nested model, beside those set before."""
    field, dot, name = key.partition(".")
    if not dot:
        values[field] = value
    elif isinstance(values.get(field), dict):
        values[field][name] = value
    else:
        values[field] = {name: value}


def _assignment(text: str) -> tuple[str, Any]:
    """``key=value`` with the value as in TOML; anything else is a string."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise UserError(f"--set takes KEY=VALUE, got {text!r}.")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):  # also a number of thousands of digits
        return key.strip(), value.strip()
