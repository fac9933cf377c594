"""No code asks for a unit's name or type: what differs by unit is declared by the unit."""

import ast
import re
import sys
from pathlib import Path

import pytest
from nibbleforge.golden.contract.design import Design, Unit
from nibbleforge.golden.units import UNITS, designs

ROOT = Path(__file__).parents[1]
FOLDERS = ("golden", "hw", "tb", "sim", "scripts")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def room(unit):
    """Where the declaration of a unit lies: ``golden/ROOM.py`` or ``golden/ROOM/``."""
    return unit.config.__module__.split(".")[2]


ROOM_OF = {unit.name: room(unit) for unit in UNITS.values()}
ROOM_OF |= {design.name: room(unit) for unit, design in designs()}
"""Names of units and designs."""

COMMON = {"bitmap", "dense", "fp16"}
"""Names that are words of the field, too: a question only beside one of these words."""
SUBJECT = re.compile(r"\b(unit|design|owner)\b")

OBJECTS = {
    name
    for module in list(sys.modules)
    if module.startswith("nibbleforge.golden.")
    for name, value in vars(sys.modules[module]).items()
    if isinstance(value, Unit | Design)
}
"""What declarations of units and designs are called: ``UNIT``, ``ARRAY`` and so on."""

WORDS = {word: word for word in ROOM_OF.values()} | {u.name: room(u) for u in UNITS.values()}
"""Words in the path of a unit's own files."""


def rooms_of(path):
    """Rooms that a file or a module belongs to, by the words of its path."""
    return {WORDS[word] for word in re.split(r"[/._]", str(path)) if word in WORDS}


def classes(tree):
    """Names that a module imports from a unit's own files, with their rooms."""
    return {
        alias.asname or alias.name: rooms_of(f"{node.module}.{alias.name}")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def asked(tree):
    """Line and room of every question for a unit's name or type."""
    imported = classes(tree)

    def strings(*nodes):
        spoken_of = any(SUBJECT.search(ast.unparse(node)) for node in nodes)
        known = ROOM_OF.keys() - (set() if spoken_of else COMMON)
        for node in nodes:
            for leaf in ast.walk(node):
                if isinstance(leaf, ast.Constant) and leaf.value in known:
                    yield leaf.lineno, ROOM_OF[leaf.value]

    def types(*nodes):
        for node in nodes:
            for leaf in ast.walk(node):
                if isinstance(leaf, ast.Name):
                    yield from ((leaf.lineno, room) for room in imported.get(leaf.id, ()))

    def objects(*nodes):
        for node in nodes:
            for leaf in ast.walk(node):
                match leaf:
                    case ast.Name(id=name) if name in OBJECTS:
                        yield from types(leaf)
                    case ast.Attribute(value=ast.Name() as module, attr=name) if name in OBJECTS:
                        yield from types(module)

    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=left, comparators=others):
                yield from strings(left, *others)
                yield from objects(left, *others)
                if any(ast.unparse(side).startswith("type(") for side in (left, *others)):
                    yield from types(left, *others)
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, kinds]):
                yield from types(kinds)
            case ast.MatchValue() | ast.MatchClass():
                yield from strings(node)
                yield from types(node)
            case ast.Dict(keys=keys):
                yield from strings(*filter(None, keys))


def foreign(path, text):
    """Questions in a file for units that it does not belong to."""
    own = rooms_of(path)
    return sorted({line for line, room in asked(ast.parse(text)) if room not in own})


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_asks_for_a_unit(path):
    assert not foreign(path.relative_to(ROOT), path.read_text())


IMPORTS = "from ..golden.sparqle.config import SparqleConfig\n"


@pytest.mark.parametrize(
    "text",
    [
        "if unit.name == 'sparqle': pass",
        "found = 'sparqle_array' != design.name",
        "found = unit in ('dense', 'fp16')",
        "table = {'bitmap_decoder': 1}",
        "match name:\n    case 'nm': pass",
        IMPORTS + "found = isinstance(config, SparqleConfig)",
        "from ..golden import dense\nfound = isinstance(config, dense.DenseConfig)",
        "from ..golden.nm import unit as nm\nfound = owner is nm.UNIT",
        "from ..golden.nm.unit import ARRAY\nfound = design == ARRAY",
        IMPORTS + "found = isinstance(config, int | SparqleConfig)",
        IMPORTS + "found = type(config) is SparqleConfig",
        IMPORTS + "match config:\n    case SparqleConfig(): pass",
    ],
)
def test_a_question_is_seen(text):
    assert foreign("sim/verify/soak.py", text)


@pytest.mark.parametrize("path", ["tb/tb_sparqle.py", "hw/sparqle/array.py"])
def test_a_unit_may_ask_for_itself(path):
    assert not foreign(path, IMPORTS + "found = isinstance(config, SparqleConfig)")
    assert foreign(path, "found = unit.name == 'anda'")
