"""The documents: commands that exist, links that lead somewhere, numbers that are still true."""

import itertools
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import typer
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.scripts import docs
from nibbleforge.scripts.main import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def commands(text):
    """Every command line that a page shows, in fences and inline, continued lines joined."""
    text = text.replace("\\\n", " ")
    for fence in re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in fence.splitlines():
            yield line.removeprefix("$ ").strip()
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", outside)
    yield from re.findall(r"<!-- (?:checked|renewed) by: (.+?) -->", text)


def words(line):
    """Words of a command, without variables before it and what the shell does with its output."""
    line = re.split(r" [|>#] ?| \$\(", line.replace("[", "").replace("]", ""))[0]
    try:
        found = shlex.split(line)
    except ValueError:
        return []
    while found and re.match(r"[A-Z_]+=", found[0]):
        found.pop(0)
    return found


def ours(text):
    """``(application, words)`` of every command of ours that a page shows."""
    for line in itertools.chain.from_iterable(line.split(" && ") for line in commands(text)):
        found = words(line)
        if not found:
            continue
        if found[0] == "make":
            yield "make", found[1:]
        elif Path(found[0]).name == "nibbleforge":
            yield "nibbleforge", found[1:]
        elif found[:2] == ["python", "-m"] and found[2:3] and found[2].startswith("nibbleforge."):
            yield found[2], found[3:]


def check_options(command, arguments):
    """Every option that is given is one that the command has."""
    known = {option for item in command.params for option in (*item.opts, *item.secondary_opts)}
    known |= {"--help"}
    given = {word.partition("=")[0] for word in arguments if re.match(r"--?[a-z]", word)}
    assert given <= known, f"no such options: {given - known}"


@every_page
def test_commands_exist(page):
    for application, arguments in ours(page.read_text()):
        if application == "make":
            assert {word for word in arguments if "=" not in word and word.isalpha()} <= TARGETS
            continue
        top = app if application == "nibbleforge" else import_module(application).app
        command = typer.main.get_command(top)
        while arguments and hasattr(command, "commands") and not arguments[0].startswith("-"):
            name, *arguments = arguments
            if name in {"UNIT", "...", "COMMAND"}:
                break
            assert name in command.commands, f"{application} has no command {name}"
            command = command.commands[name]
        check_options(command, arguments)


def anchors(page):
    """Anchors of a page's headings, as hosts of Markdown and mkdocs make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        yield re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.strip().lower()))


@every_page
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(there), f"{page.name} links to {target}#{anchor}"


@every_page
def test_lines_and_tables_are_narrow(page):
    """Lines of at most 120 characters and tables of at most 7 columns, outside code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in text.splitlines() if not line.startswith("<!-- ")]
    assert [line for line in lines if len(line) > 120] == []
    rows = [re.sub(r"`[^`]*`", "", line) for line in lines if line.startswith("|")]
    assert [row for row in rows if row.count("|") > 8] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.first(1, deep=len(PAGES))
@every_page
def test_checked_numbers_are_true(page):
    text = page.read_text()
    assert docs.renew(text, frozenset({"checked"})) == text


# --- the renewing itself --------------------------------------------------------------------------


def test_a_block_is_renewed_in_place():
    page = "a\n<!-- checked by: echo 7 -->\nold\n<!-- end -->\nb\n"
    wanted = "a\n<!-- checked by: echo 7 -->\n```console\n$ echo 7\n7\n```\n<!-- end -->\nb\n"
    assert docs.renew(page) == wanted
    assert docs.renew(wanted) == wanted


def test_markdown_stays_markdown():
    page = "<!-- renewed by: printf '| a |\\n|---|\\n' -->\n<!-- end -->\n"
    assert "\n\n| a |\n|---|\n\n<!-- end -->" in docs.renew(page)
    assert docs.renew(page, frozenset({"checked"})) == page


def test_blocks_of_a_page_share_a_folder():
    page = (
        "<!-- run -->\n```python\nopen('f', 'w').write('x')\n```\n"
        "<!-- checked by: ls -->\n<!-- end -->\n"
    )
    assert "```console\n$ ls\nf\n```" in docs.renew(page)


def test_a_file_is_written():
    page = (
        "<!-- file: a/b.py -->\n```python\nprint(7)\n```\n"
        "<!-- checked by: python a/b.py -->\n<!-- end -->\n"
    )
    assert "```console\n$ python a/b.py\n7\n```" in docs.renew(page)


def test_a_command_that_fails_is_named():
    with pytest.raises(UserError, match=r"^'exit 3' ended with 3: \.$"):
        docs.renew("<!-- checked by: exit 3 -->\n<!-- end -->\n")


def test_a_command_that_prints_nothing_is_named():
    with pytest.raises(UserError, match=r"^'true' printed nothing\.$"):
        docs.renew("<!-- checked by: true -->\n<!-- end -->\n")


def test_blocks_are_chosen_by_their_command():
    page = "".join(f"<!-- checked by: echo {n} -->\nold\n<!-- end -->\n" for n in (1, 2))
    renewed = docs.renew(page, having="echo 2")
    assert ("$ echo 1" in renewed, "$ echo 2" in renewed) == (False, True)


def test_what_cannot_be_renewed_stays(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- renewed by: exit 3 -->\nold\n<!-- end -->\n")
    with pytest.raises(UserError, match=r"^1 of the blocks could not be renewed here\.$"):
        docs.command([page])
    assert "left as it was: 'exit 3' ended with 3: ." in capsys.readouterr().err
    assert "\nold\n" in page.read_text()
