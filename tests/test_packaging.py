import ast
import functools
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LAYERS = ("golden", "hw", "tb", "sim", "scripts")  # each may import those before it
SOURCES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


@functools.cache
def tree_of(path):
    """The syntax of a module."""
    return ast.parse(path.read_text())


def every_source(*folders):
    """Parametrise a test over the modules of some folders."""
    paths = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in folders]
    return pytest.mark.parametrize("path", paths, ids=lambda p: str(p.relative_to(ROOT)))


MODULES_OF = {"cocotb": {"cocotb", "cocotb_tools"}}  # distributions not named as what they install


def imports(tree):
    """``(dots, module)`` of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.level, node.module
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, alias.name) for alias in node.names)


def needed(tree):
    """Outside modules that importing this one needs: imports not within functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (module.partition(".")[0] for dots, module in imports(node) if not dots)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from needed(node)


def third_party(modules):
    return {module for module in modules if module not in sys.stdlib_module_names}


def names(requirements):
    return {re.match(r"[\w-]+", text)[0].replace("-", "_") for text in requirements}


def dependencies():
    declared = names(PROJECT["project"]["dependencies"])
    return {module for name in declared for module in MODULES_OF.get(name, {name})}


# --- imports --------------------------------------------------------------------------------------


@every_source(*LAYERS)
def test_imports_go_one_way(path):
    """golden <- hw <- tb <- sim <- scripts; relative across folders."""
    folder, *inner = path.relative_to(ROOT).parts
    allowed = LAYERS[: LAYERS.index(folder)]
    for dots, module in imports(tree_of(path)):
        top = module.partition(".")[0]
        if dots == 0:
            assert top not in (*LAYERS, "nibbleforge", "tests"), f"import {module} is not relative"
        elif dots == len(inner) + 1:
            assert top in allowed, f"{folder} must not import {top}"
        else:
            assert dots <= len(inner), f"{'.' * dots}{module} leaves the package"


@every_source("golden")
def test_golden_is_numpy_and_pydantic(path):
    tree = tree_of(path)
    found = third_party(module.partition(".")[0] for dots, module in imports(tree) if not dots)
    assert found <= {"numpy", "pydantic"}


@every_source(*LAYERS)
def test_imports_are_declared(path):
    """What a module needs to be imported comes with a plain installation."""
    assert third_party(needed(tree_of(path))) <= dependencies()


@every_source("hw")
def test_hardware_does_not_postpone_annotations(path):
    """It breaks components with annotated ports."""
    assert (0, "__future__") not in set(imports(tree_of(path)))


# --- docstrings -----------------------------------------------------------------------------------


def public(node, prefix=""):
    """Public functions, classes and methods as ``(name, node)``."""
    for child in node.body:
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        if not (function or isinstance(child, ast.ClassDef)) or child.name.startswith("_"):
            continue
        yield prefix + child.name, child
        if not function:
            yield from public(child, f"{prefix}{child.name}.")


def is_obvious(name, node):
    """An override whose contract the base class states, or an overload's signature."""
    return name.endswith(".elaborate") or any(
        isinstance(d, ast.Name) and d.id in ("override", "overload") for d in node.decorator_list
    )


@every_source(*LAYERS)
def test_public_things_have_docstrings(path):
    tree = tree_of(path)
    assert ast.get_docstring(tree), "the module has none"
    bare = [
        n for n, node in public(tree) if not ast.get_docstring(node) and not is_obvious(n, node)
    ]
    assert not bare


# --- locks ----------------------------------------------------------------------------------------


def locked(name):
    """Pins of a lock, wherever they hold."""
    lines = (ROOT / name).read_text().splitlines()
    return {line.partition(" ;")[0] for line in lines if line and not line.startswith("#")}


def test_the_lock_of_what_runs_is_part_of_the_other():
    runtime, everything = locked("runtime.lock"), locked("requirements.lock")
    assert runtime < everything
    assert names(PROJECT["project"]["dependencies"]) <= names(runtime)
    development = names(PROJECT["project"]["optional-dependencies"]["dev"])
    assert development <= names(everything)
    assert development & names(runtime) <= {"pytest"}, "cocotb needs that one"


# --- packages -------------------------------------------------------------------------------------


def test_every_folder_is_a_package():
    tools = PROJECT["tool"]["setuptools"]
    folders = {".".join(p.parent.relative_to(ROOT).parts) for p in SOURCES}
    assert set(tools["packages"]) == {f"nibbleforge.{folder}" for folder in folders}
    for package in tools["packages"]:
        folder = package.removeprefix("nibbleforge.").replace(".", "/")
        assert tools["package-dir"].get(package, folder) == folder
    assert {f"nibbleforge.{layer}" for layer in LAYERS} <= set(tools["package-dir"])
    assert not [*ROOT.glob("*.py"), *ROOT.glob("*/__init__.py")], "a namespace without __init__"


def package_data():
    """Files that the packages bring beside modules."""
    for package, patterns in PROJECT["tool"]["setuptools"]["package-data"].items():
        folder = ROOT / package.removeprefix("nibbleforge.").replace(".", "/")
        yield from (path for pattern in patterns for path in folder.glob(pattern))


@pytest.mark.deep
def test_wheel(tmp_path):
    """Exactly the packages and their data, under one name."""
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in (*LAYERS, "tests"):
        shutil.copytree(ROOT / folder, source / folder, ignore=ignore)
    for file in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / file).exists():
            shutil.copy(ROOT / file, source)
    command = [sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "-q", "-w", tmp_path]
    if int(metadata.version("setuptools").partition(".")[0]) >= 77:
        command.append("--no-build-isolation")
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    installed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = [path for layer in LAYERS for path in (source / layer).rglob("*.py")]
    shipped = {str(path.relative_to(source)) for path in modules}
    shipped |= {str(path.relative_to(ROOT)) for path in package_data()}
    code = {f"sim/cxx/{name}" for name in ("driver.cpp", "driver.h", "main.cpp")}
    assert code | {"sim/sample/smollm2.npz"} <= shipped
    assert installed == {f"nibbleforge/{name}" for name in shipped}
    (entry,) = [n for n in zipfile.ZipFile(wheel).namelist() if n.endswith("entry_points.txt")]
    text = zipfile.ZipFile(wheel).read(entry).decode()
    assert "nibbleforge = nibbleforge.scripts.start:main" in text
