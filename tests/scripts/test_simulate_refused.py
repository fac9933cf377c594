"""``nibbleforge simulate``: every bad input, and machines that lack something."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from nibbleforge.sim.tensors.files import sample_path
from nibbleforge.sim.tools import toolchain

# --- bad operands ---------------------------------------------------------------------------------

GOOD_X, GOOD_W = np.ones((2, 6), np.float32), np.ones((3, 6), np.float32)
RANGE = (
    "activations must be in -128..119 for the balanced recoding, got 127; choose --int8-policy "
    "saturate to clip them or --int8-policy twos to recode in two's complement."
)


@pytest.fixture
def good(save, refused):
    """Good operands in the current folder: ``a.npy`` and ``w.npy``."""
    save("a", GOOD_X)
    save("w", GOOD_W)


DENSE = ("simulate", "dense", "--preset", "tiny", "-o", "out")
BITMAP = ("simulate", "bitmap", "--preset", "tiny", "-o", "out")
OPERANDS = ("--activations", "a.npy", "--weights", "w.npy")


def with_value(shape, value, dtype=np.float32) -> np.ndarray:
    array = np.ones(shape, dtype)
    array[1, 2] = value
    return array


@pytest.mark.parametrize(
    ("name", "array", "sentence"),
    [
        ("a", np.ones(6), "activations must be 2-D (tokens, in_features), got shape (6,)."),
        ("a", np.ones((1, 2, 6)), "activations must be 2-D (tokens, in_features), got shape (1,"),
        ("a", np.float64(3), "activations must be 2-D (tokens, in_features), got shape ()."),
        ("w", np.ones(6), "weights must be 2-D (out_features, in_features), got shape (6,)."),
        ("a", np.ones((0, 6)), "activations must have at least one row and one column (tokens, "),
        ("a", np.ones((2, 0)), "activations must have at least one row and one column (tokens, "),
        ("a", np.ones((0, 0)), "activations must have at least one row and one column (tokens, "),
        ("w", np.ones((0, 6)), "weights must have at least one row and one column (out_features"),
        ("w", np.ones((3, 7)), "activations and weights differ in in_features: 6 and 7."),
        (
            "a",
            with_value((2, 6), np.nan),
            "activations must be finite, got nan in row 1, column 2.",
        ),
        (
            "a",
            with_value((2, 6), np.inf),
            "activations must be finite, got inf in row 1, column 2.",
        ),
        ("w", with_value((3, 6), -np.inf), "weights must be finite, got -inf in row 1, column 2."),
        (
            "a",
            with_value((2, 6), 1e300, np.float64),
            "activations must fit float32, got 1e+300 in ",
        ),
        ("w", np.full((3, 6), 1e6), "the scale of weights in row 0, group 0 must fit FP16 "),
        ("a", with_value((2, 6), 127, np.int8), RANGE),
        ("w", with_value((3, 6), 8, np.int8), "int8 weights must hold INT4 values in -8..7, got 1"),
        ("a", np.ones((2, 6), np.int32), "activations must be float16, float32, float64 or int8, "),
        ("a", np.ones((2, 6), bool), "a.npy must hold integers or floating-point numbers, got boo"),
        ("a", np.ones((2, 6), complex), "a.npy must hold integers or floating-point numbers, got "),
        ("a", np.full((2, 6), "x"), "a.npy must hold integers or floating-point numbers, got <U1"),
        ("a", np.full((2, 6), None), "a.npy holds pickled Python objects, which are not read."),
        ("a", np.ones((2, 65)), "in_features must not exceed max_k = 64, got 65."),
    ],
    ids=str,
)
def test_bad_operands(refused, good, save, name, array, sentence):
    save(name, array)
    if "max_k" in sentence:
        save("w", np.ones((3, array.shape[1])))
    assert refused(*DENSE, *OPERANDS).startswith(sentence)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.ones(6), "activations must be 2-D (tokens, in_features), got shape (6,)."),
        (np.ones((0, 0)), "activations must have at least one row and one column (tokens, "),
        (with_value((2, 6), np.nan), "activations must be finite, got nan in row 1, column 2."),
        (with_value((2, 6), 127, np.int8), RANGE),
    ],
    ids=str,
)
def test_bad_activations_of_the_codec(refused, save, array, sentence):
    save("a", array)
    assert refused(*BITMAP, "--activations", "a.npy").startswith(sentence)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "a.npy is empty."),
        (b"1.0, 2.0\n", "a.npy is not a valid .npy array: "),
        (b"\x93NUMPY\x01\x00", "a.npy is not a valid .npy array: "),
        (b"PK\x03\x04" + bytes(40), "a.npy is not a valid .npy array: "),
    ],
)
def test_a_file_that_holds_no_array(refused, good, content, sentence):
    Path("a.npy").write_bytes(content)
    assert refused(*DENSE, *OPERANDS).startswith(sentence)


def test_a_file_cut_short(refused, good):
    Path("a.npy").write_bytes(Path("a.npy").read_bytes()[:-5])
    assert refused(*DENSE, *OPERANDS).startswith("a.npy is not a valid .npy array: ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([*DENSE], "give --activations X.npy, or --capture F.npz with --layer NAME."),
        ([*DENSE, "--activations", "a.npy"], "dense needs --weights W.npy."),
        ([*BITMAP, *OPERANDS], "bitmap takes no weights."),
        (
            [*DENSE, "--activations", "absent.npy", "--weights", "w.npy"],
            "absent.npy does not exist",
        ),
        (
            [*DENSE, "--activations", "a.npy", "--weights", "absent.npy"],
            "absent.npy does not exist",
        ),
        ([*BITMAP, "--activations", "a.txt"], "a.txt must end in .npy, .npz, .safetensors or "),
        ([*BITMAP, "--activations", "."], ". is a directory; give one of its files."),
        ([*BITMAP, "--activations", "folder.npy"], "folder.npy"),
        ([*DENSE, *OPERANDS, "--layer", "q"], "--layer goes with --capture."),
        ([*DENSE, "--capture", "a.npy"], "--capture goes with --layer and without --activations"),
        ([*DENSE, "--capture", "a.npy", "--layer", "q"], "a.npy is not a "),
        ([*DENSE, "--capture", "absent.npz", "--layer", "q"], "absent.npz does not exist."),
        ([*DENSE, "--capture", sample_path(), "--layer", "q"], f"{sample_path()} has no layer"),
        ([*DENSE, *OPERANDS, "--int8-policy", "wrap"], "--int8-policy must be error, saturate or "),
        (
            [*DENSE, *OPERANDS, "--set", "rows=0"],
            "rows: input should be greater than or equal to 1",
        ),
        ([*DENSE, *OPERANDS, "--set", "rows=x"], "rows: input should be a valid integer, got 'x'."),
        ([*DENSE, *OPERANDS, "--set", "widths=2"], "dense has no parameter 'widths'; "),
        ([*DENSE, *OPERANDS, "--preset", "huge"], "dense has no preset 'huge'; "),
        (["simulate", "sparse", "-o", "out"], "there is no unit 'sparse'; the units are "),
        (
            [*BITMAP, "--activations", "a.npy", "--set", "value_width=3"],
            "a simulation needs value_width 2, 4 or 8, half the bits of an activation, got 3.",
        ),
        ([*BITMAP, "--activations", "a.npy", "--set", "width=8"], "width must not exceed beat, "),
        (
            [*BITMAP, "--activations", "a.npy", "--set", "tau_lo=x"],
            "tau_lo: input should be a valid",
        ),
    ],
    ids=lambda value: " ".join(map(str, value[5:])) if isinstance(value, list) else "",
)
def test_bad_arguments(refused, good, arguments, sentence):
    Path("a.txt").write_text("1 2 3")
    Path("folder.npy").mkdir()
    assert refused(*arguments).startswith(sentence)


@pytest.mark.parametrize("output", ["a.npy", "a.npy/out", "a.npy/further/out"])
def test_an_output_under_a_regular_file(refused, good, output):
    sentence = refused(*DENSE[:-1], output, *OPERANDS)
    assert re.fullmatch(rf"cannot write to {output}: \S*a\.npy is not a folder\.", sentence)


def test_an_output_that_may_not_be_written(refused, good, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    assert re.fullmatch(r"cannot write to out: \S* is not writable\.", refused(*DENSE, *OPERANDS))


# --- bad machines ---------------------------------------------------------------------------------


def test_without_a_compiler(refused, good, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert refused(*DENSE, *OPERANDS) == toolchain.TOOLS["g++"].missing


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "cache"  # not among what must stay as it was
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    able = os.getuid() == 0 and shutil.which("mount")
    if not able or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root, with mount, can mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, left: int) -> None:
    """Leave so many bytes free."""
    size = shutil.disk_usage(folder).free - left
    (folder / "ballast").write_bytes(bytes(size))


def last_sentence(done) -> str:
    """What a command said that began its work and ended with 2."""
    assert done.status == 2, done
    assert "Traceback" not in done.err
    return done.err.splitlines()[-1]


def test_no_space_left_during_a_build(run, good, small_disk, monkeypatch):
    """Verilator itself leaves its files cut short and reports success."""
    fill(small_disk, 20_000)
    monkeypatch.setenv("NIBBLEFORGE_CACHE", str(small_disk))
    assert last_sentence(run(*DENSE, *OPERANDS)) == (
        f"nibbleforge: no space left on the device while building in {small_disk}; "
        "free some space or set NIBBLEFORGE_CACHE."
    )
    assert not list(small_disk.glob("*/*.partial-*"))
    assert not Path("out").exists()


@pytest.mark.parametrize("left", [60_000, 180_000], ids=["operands", "results"])
def test_no_space_left_during_a_run(run, good, save, small_disk, monkeypatch, left):
    """Temporary files go to the simulation (about 110 kB) and come from it (130 kB)."""
    save("a", np.ones((200, 60), np.float32))
    save("w", np.ones((200, 60), np.float32))
    fill(small_disk, left)
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    assert last_sentence(run(*DENSE, *OPERANDS)) == (
        "nibbleforge: no space left on the device; free some space or set TMPDIR."
    )
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]
    assert not Path("out").exists()


def test_no_space_left_for_the_results(run, good, save, small_disk):
    fill(small_disk, 20_000)
    save("a", np.ones((200, 6), np.float32))
    out = small_disk / "out"
    done = run("simulate", "dense", "--preset", "tiny", "-o", out, *OPERANDS)
    assert last_sentence(done) == (
        f"nibbleforge: no space left on the device while writing to {out}."
    )
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]
