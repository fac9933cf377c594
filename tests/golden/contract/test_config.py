import hashlib
import json
import os
import re
import subprocess
import sys
from typing import Literal

import pytest
from nibbleforge.golden.bitmap import BitmapConfig
from nibbleforge.golden.contract.config import Config
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.dense import DenseConfig
from nibbleforge.golden.units import UNITS, unit
from pydantic import ValidationError, model_validator


class Inner(Config):
    """A nested configuration."""

    size: int = 1


class Example(Config):
    """A configuration with a field of every kind."""

    depth: int
    mode: Literal["a", "b"] = "a"
    scale: float = 1.0
    inner: Inner = Inner()

    @model_validator(mode="after")
    def _check(self):
        if self.depth == 13:
            raise UserError(f"depth must not be 13, got {self.depth}.")
        return self


def refuses(sentence):
    return pytest.raises(UserError, match=f"^{re.escape(sentence)}$")


# --- hash -----------------------------------------------------------------------------------------


def test_hashes_are_pinned():
    """They stand in manifests, caches and results: change them only on purpose."""
    assert BitmapConfig().config_hash == (
        "558ed2d8db7c95381a4de8e26d9bc6118909e8a365b79295be5cf0d1c844484d"
    )
    assert DenseConfig().config_hash == (
        "14138b697633f056f346479ffa4f580f12a9c08278d2a8363bc42bdacb0d865f"
    )


def test_hash_is_that_of_canonical_json():
    text = '{"depth":3,"inner":{"size":2},"mode":"b","scale":0.5,"type":"Example"}'
    config = Example(scale=0.5, mode="b", inner=Inner(size=2), depth=3)
    assert config.canonical_json() == text
    assert json.loads(text)
    assert config.config_hash == hashlib.sha256(text.encode()).hexdigest()


def test_hash_does_not_depend_on_order_or_process():
    assert BitmapConfig(group=8, beat=2).config_hash == BitmapConfig(beat=2, group=8).config_hash
    program = (
        "from nibbleforge.golden.bitmap import BitmapConfig; print(BitmapConfig().config_hash)"
    )
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", program]
        output = subprocess.check_output(command, env=environment, text=True)
        assert output.strip() == BitmapConfig().config_hash


def test_hash_tells_every_field_and_type_apart():
    class Other(Config):
        depth: int
        mode: Literal["a", "b"] = "a"
        scale: float = 1.0
        inner: Inner = Inner()

    configs = [
        Example(depth=1),
        Example(depth=2),
        Example(depth=1, mode="b"),
        Example(depth=1, scale=2.0),
        Example(depth=1, inner=Inner(size=2)),
        Other(depth=1),
    ]
    assert len({config.config_hash for config in configs}) == len(configs)


def test_hash_leaves_idle_parameters_out():
    class Silent(Example):
        @property
        def idle(self):
            return frozenset({"scale"}) if self.mode == "a" else frozenset()

    assert Silent(depth=1).config_hash == Silent(depth=1, scale=2.0).config_hash
    loud = Silent(depth=1, mode="b")
    assert loud.config_hash != loud.replace(scale=2.0).config_hash


# --- nested models --------------------------------------------------------------------------------


class Optional(Config):
    """A configuration with a nested one that may be missing."""

    inner: Inner | None = None
    depth: int = 1


def test_a_mapping_changes_fields_of_a_nested_model():
    class Pair(Config):
        first: int = 1
        second: int = 2

    class Outer(Config):
        pair: Pair | None = None

    assert Outer(pair=Pair(first=5)).replace(pair={"second": 6}).pair == Pair(first=5, second=6)
    assert Outer().replace(pair={"second": 6}).pair == Pair(second=6)
    assert Outer(pair=Pair()).replace(pair=None).pair is None


def test_parameters_of_nested_models():
    assert Optional.nested("inner") is Inner
    assert Optional.nested("depth") is None
    assert Optional.parameters() == ("inner.size", "depth")


# --- validation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "depth is required."),
        (
            {"depth": 1, "size": 2},
            "size is not a parameter here; the parameters are depth, mode, scale, inner.",
        ),
        ({"depth": "deep"}, "depth: input should be a valid integer, got 'deep'."),
        ({"depth": "8"}, "depth: input should be a valid integer, got '8'."),
        ({"depth": 8.0}, "depth: input should be a valid integer, got 8.0."),
        ({"depth": True}, "depth: input should be a valid integer, got True."),
        ({"depth": None}, "depth: input should be a valid integer, got None."),
        ({"depth": [1]}, "depth: input should be a valid integer, got [1]."),
        ({"depth": "1\n2"}, "depth: input should be a valid integer, got '1\\n2'."),
        ({"depth": 1, "mode": "c"}, "mode: input should be 'a' or 'b', got 'c'."),
        ({"depth": 1, "scale": "x"}, "scale: input should be a valid number, got 'x'."),
        ({"depth": 13}, "depth must not be 13, got 13."),
    ],
)
def test_sentences(values, sentence):
    with refuses(sentence):
        Example(**values)


@pytest.mark.parametrize(
    ("inner", "sentence"),
    [
        ({"size": "x"}, "inner.size: input should be a valid integer, got 'x'."),
        ({"depth": 1}, "inner.depth is not a parameter here; the parameters are size."),
        ({"\n": 1}, "inner.'\\n' is not a parameter here; the parameters are size."),
    ],
)
def test_sentence_of_a_nested_field(inner, sentence):
    with refuses(sentence):
        Example(depth=1, inner=inner)


def test_integers_are_floats():
    assert Example(depth=1, scale=2).scale == 2.0


def test_only_the_first_error_is_told():
    with pytest.raises(UserError) as error:
        Example(depth="x", mode="y", size=3)
    assert str(error.value).count("\n") == 0
    assert str(error.value).startswith("depth: ")


def test_no_traceback_of_pydantic():
    with pytest.raises(UserError) as error:
        Example()
    assert error.value.__suppress_context__


# --- frozen ---------------------------------------------------------------------------------------


def test_frozen():
    config = Example(depth=1)
    with pytest.raises(ValidationError, match="frozen"):
        config.depth = 2
    with pytest.raises(ValidationError):
        config.width = 2
    assert config.depth == 1


def test_equal_by_content_and_hashable():
    assert Example(depth=1) == Example(depth=1) != Example(depth=2)
    assert len({Example(depth=1), Example(depth=1), Example(depth=2)}) == 2


def test_replace_validates():
    config = Example(depth=1, inner=Inner(size=4))
    assert config.replace(mode="b") == Example(depth=1, mode="b", inner=Inner(size=4))
    assert config.mode == "a"
    with refuses("depth must not be 13, got 13."):
        config.replace(depth=13)
    with refuses("size is not a parameter here; the parameters are depth, mode, scale, inner."):
        config.replace(size=1)


# --- units ----------------------------------------------------------------------------------------


def test_units():
    assert {"bitmap", "dense", "dense2k"} <= set(UNITS)
    assert all(name == value.name and unit(name) is value for name, value in UNITS.items())
    with refuses(f"there is no unit 'bitnap'; the units are {', '.join(UNITS)}."):
        unit("bitnap")


@pytest.mark.parametrize("owner", UNITS.values(), ids=UNITS)
def test_every_unit(owner):
    assert {"paper", "tiny", "fpga"} <= set(owner.presets)
    for config in owner.presets.values():
        assert type(config) is owner.config
        assert owner.designs(config)
    for name, field in owner.config.model_fields.items():
        assert field.description, f"{name} has no description"
        assert not field.is_required(), f"{name} has no default"
