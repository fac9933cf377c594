import errno
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.sim.tools.results import check_output, new_files, write_arrays, write_json


def write(folder, failure=None, names=("a",)) -> None:
    """Write some results, and fail before the block ends."""
    with new_files(folder) as partial:
        for name in names:
            (partial / name).write_text("new")
        if failure:
            raise failure


def contents(folder) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_files_appear_when_the_block_ends(tmp_path):
    out = tmp_path / "new" / "out"
    with new_files(out) as folder:
        (folder / "a").write_text("1")
        assert folder.parent == out  # the same device, so that a file is moved in one step
        assert not (out / "a").exists()
    assert contents(out) == {"a": "1"}


def test_files_replace_those_of_the_same_name_only(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("old")
    with new_files(tmp_path) as folder:
        (folder / "a").write_text("new")
    assert contents(tmp_path) == {"a": "new", "b": "old"}


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, UserError])
def test_a_failure_leaves_no_folder(tmp_path, failure):
    with pytest.raises(failure):
        write(tmp_path / "new" / "out", failure)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, UserError])
def test_a_failure_leaves_a_folder_as_it_was(tmp_path, failure):
    (tmp_path / "a").write_text("old")
    with pytest.raises(failure):
        write(tmp_path, failure)
    assert contents(tmp_path) == {"a": "old"}


def test_what_somebody_else_put_into_a_new_folder_stays(tmp_path):
    def both() -> None:
        with new_files(tmp_path / "out"):
            (tmp_path / "out" / "other").write_text("theirs")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        both()
    assert contents(tmp_path / "out") == {"other": "theirs"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_device_is_the_users_to_mend(tmp_path, number):
    out = tmp_path / "out"
    sentence = f"no space left on the device while writing to {out}."
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        write(out, OSError(number, os.strerror(number)))
    assert not out.exists()


def test_other_errors_pass_through(tmp_path):
    with pytest.raises(PermissionError):
        write(tmp_path, PermissionError(errno.EACCES, "Permission denied", "file"))


def test_no_file_is_moved_when_one_cannot_be(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "precious").write_text("mine")
    sentence = f"cannot write to {tmp_path}: b in it is a folder."
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        write(tmp_path, names=("a", "b"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b"]
    assert contents(tmp_path / "b") == {"precious": "mine"}


def test_check_output_creates_nothing(tmp_path):
    check_output(tmp_path / "new" / "out")
    check_output(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_check_output_takes_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_output(Path())
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^cannot write to file/out: \S*file is not a folder\.$"):
        check_output(Path("file", "out"))


def test_check_output_follows_links(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "good").symlink_to("real")
    (tmp_path / "bad").symlink_to("absent")
    check_output(tmp_path / "good" / "out")
    for path in (tmp_path / "bad", tmp_path / "bad" / "out"):
        with pytest.raises(UserError, match=r"bad is a broken link\.$"):
            check_output(path)


def test_json_is_readable_and_strict(tmp_path):
    write_json(tmp_path / "a.json", {"cycles": 3, "sqnr": None})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"cycles": 3, "sqnr": None}
    assert text.count("\n") == 4
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", {"sqnr": float("nan")})


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float16, np.float32])
def test_arrays_come_back(tmp_path, dtype):
    array = np.arange(12).reshape(3, 4).astype(dtype)
    write_arrays(tmp_path, {"a": array, "b": array.T})
    for name, expected in (("a", array), ("b", array.T)):
        found = np.load(tmp_path / f"{name}.npy")
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_an_array_that_does_not_fit_says_why(tmp_path):
    """numpy alone says nothing but how many bytes it wrote."""

    def fill() -> None:
        with new_files(tmp_path / "out") as folder:
            (folder / "a.npy").symlink_to("/dev/full")
            write_arrays(folder, {"a": np.zeros(100_000)})

    with pytest.raises(UserError, match=r"^no space left on the device while writing to "):
        fill()
    assert not (tmp_path / "out").exists()
