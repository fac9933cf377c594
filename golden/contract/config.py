"""Base of all configurations: frozen, validated, hashable by content."""

import hashlib
import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import UserError


class Config(BaseModel):
    """Parameters that fully determine a piece of hardware, a format or a run.

    Subclasses declare fields with a description and unit. Any illegal value raises
    :class:`UserError` with one sentence that says what must hold and what was given.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise UserError(_sentence(type(self), error)) from None

    @property
    def config_hash(self) -> str:
        """SHA-256 of the canonical JSON of the class name and all fields."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    def canonical_json(self) -> str:
        """JSON with sorted keys and no spaces: the same text for the same parameters."""
        content = {"type": type(self).__name__, **self.model_dump(mode="json")}
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    def replace(self, **changes: Any) -> Self:
        """A validated copy with some fields changed."""
        return type(self)(**{**self.model_dump(), **changes})


class NoSettings(Config):
    """Run-time settings of a unit that has none."""


def _sentence(model: type[Config], error: ValidationError) -> str:
    """Turn the first pydantic error into one sentence."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields)
        return f"{key} is not a parameter here; the parameters are {known}."
    if first["type"] == "missing":
        return f"{key} is required."
    reason = first["msg"][0].lower() + first["msg"][1:]
    return f"{key}: {reason}, got {first['input']!r}."
