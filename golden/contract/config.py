"""Base of all configurations: frozen, validated, hashable by content."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

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
    def idle(self) -> frozenset[str]:
        """Parameters that change nothing beside the others' values; the hash leaves them out."""
        return frozenset()

    @property
    def config_hash(self) -> str:
        """SHA-256 of the canonical JSON of the class name and all fields but idle ones."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    def canonical_json(self) -> str:
        """JSON with sorted keys and no spaces: the same text for the same hardware."""
        fields = self.model_dump(mode="json", exclude=set(self.idle))
        content = {"type": type(self).__name__, **fields}
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    def replace(self, **changes: Any) -> Self:
        """A validated copy with some fields changed; a mapping changes fields of a nested model."""
        values = self.model_dump()
        for name, change in changes.items():
            nested = isinstance(change, Mapping) and isinstance(values.get(name), Mapping)
            values[name] = {**values[name], **change} if nested else change
        return type(self)(**values)

    @classmethod
    def nested(cls, name: str) -> "type[Config] | None":
        """Class of a field that is a model of its own, or None; None for other fields."""
        annotation = cls.model_fields[name].annotation
        kinds = (annotation, *get_args(annotation))
        return next((k for k in kinds if isinstance(k, type) and issubclass(k, Config)), None)

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """Names of all fields, those of a nested model as ``field.name``."""
        found = []
        for name in cls.model_fields:
            inner = cls.nested(name)
            found += [name] if inner is None else [f"{name}.{part}" for part in inner.parameters()]
        return tuple(found)


def take_none(value: object) -> object:
    """``none`` as it is written in TOML and on the command line."""
    return None if isinstance(value, str) and value == "none" else value


OptionalInt = Annotated[int | None, BeforeValidator(take_none)]
"""A parameter that may be none: what that means, its description says."""


class NoSettings(Config):
    """Run-time settings of a unit that has none."""


def _sentence(model: type[Config], error: ValidationError) -> str:
    """Turn the first pydantic error into one sentence."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":
        reason = first["ctx"]["error"]
        nested = key and isinstance(reason, UserError)  # begins with the name of a field
        return f"{key}.{reason}" if nested else str(reason)
    if first["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields)
        key = key if key.isidentifier() else repr(key)
        return f"{key} is not a parameter here; the parameters are {known}."
    if first["type"] == "missing":
        return f"{key} is required."
    reason = first["msg"][0].lower() + first["msg"][1:]
    return f"{key}: {reason}, got {first['input']!r}."
