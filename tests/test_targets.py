"""What the targets of make run: every test belongs to one, and changes meet all but the soak."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from _pytest.mark.expression import Expression

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = ("test", "deep", "soak")


def selection(target):
    """What a target selects by marks."""
    recipe = re.search(rf"^{target}: venv\n((?:\t.*\n)+)", MAKEFILE, re.M)[1]
    return Expression.compile(re.search(r'pytest .* -m "?([^"\n]+)', recipe)[1])


@pytest.mark.parametrize("marks", [(), ("deep",), ("slow",), ("deep", "slow")], ids=str)
def test_every_test_belongs_to_one_target(marks):
    chosen = [t for t in TARGETS if selection(t).evaluate(lambda name, **_: name in marks)]
    assert chosen == ["soak" if "slow" in marks else "deep" if "deep" in marks else "test"]


def test_changes_meet_all_but_the_soak():
    assert ".ci/bare make test deep " in (ROOT / ".ci" / "run").read_text()


def item(position=0, preset=None, **marks):
    """A variation of a test as pytest collects it."""
    params = {"variation": SimpleNamespace(preset=preset)}
    callspec = SimpleNamespace(params=params, indices={"variation": position})
    return SimpleNamespace(get_closest_marker=marks.get, callspec=callspec)


@pytest.fixture
def marks_of(request):
    """Marks that the hook adds to items."""
    hooks = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))

    def found(*items):
        added = []
        for each in items:
            each.add_marker = added.append
        hooks.pytest_collection_modifyitems(items)
        return added

    return found


def test_variations_beyond_the_quick_ones(marks_of):
    quick = pytest.mark.quick("tiny", deep=["fpga"]).mark
    assert marks_of(*(item(preset=p, quick=quick) for p in ("tiny", "fpga", "paper"))) == [
        "deep",
        "slow",
    ]


def test_variations_behind_the_first(marks_of):
    first = pytest.mark.first(1, deep=2).mark
    assert marks_of(*(item(position, first=first) for position in range(4))) == [
        "deep",
        "slow",
        "slow",
    ]
