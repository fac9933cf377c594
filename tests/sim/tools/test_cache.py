import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.sim.tools.cache import Cache

KEY = {"source": "1", "flags": "-O2"}

SCRIPT = """
import sys, time
from pathlib import Path
from nibbleforge.sim.tools.cache import Cache

def builder(directory):
    (directory / "half").write_text("half")
    with open(sys.argv[1], "a") as log:
        log.write("built\\n")
    time.sleep(float(sys.argv[2]))

print(Cache().build("thing", {"source": "1", "flags": "-O2"}, builder))
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NIBBLEFORGE_CACHE", str(tmp_path / "cache"))
    return Cache()


def start(log, seconds: float) -> "subprocess.Popen[str]":
    """Build the entry of KEY in another process, taking some time."""
    command = [sys.executable, "-c", SCRIPT, str(log), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for(log) -> None:
    deadline = time.monotonic() + 20
    while not log.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def write(directory) -> None:
    (directory / "file").write_text("12345")


def refuse(directory) -> None:
    pytest.fail("built again")


def leftovers(cache: Cache) -> list:
    return list(cache.root.glob("*/*.partial-*"))


def test_an_entry_is_built_once(cache):
    entry = cache.build("thing", KEY, write)
    assert (entry / "file").read_text() == "12345"
    assert cache.build("thing", dict(reversed(KEY.items())), refuse) == entry
    assert entry == cache.entry("thing", KEY)
    assert cache.entry("thing", {**KEY, "flags": "-O3"}) != entry


def test_a_hit_is_stamped(cache):
    entry = cache.build("thing", KEY, write)
    os.utime(entry, (0, 0))
    cache.build("thing", KEY, refuse)
    assert entry.stat().st_mtime > time.time() - 60


def test_the_default_is_the_users_cache(monkeypatch):
    monkeypatch.delenv("NIBBLEFORGE_CACHE", raising=False)
    assert Cache().root.name == "nibbleforge"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failed_build_leaves_nothing(cache, failure):
    def builder(directory):
        write(directory)
        raise failure

    with pytest.raises(failure):
        cache.build("thing", KEY, builder)
    assert cache.info().entries == 0
    assert not leftovers(cache)
    cache.build("thing", KEY, write)


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("g++ ended with 1:\nx.s: fatal error: No space left on device"),
    ],
)
def test_a_full_device_is_the_users_to_mend(cache, failure):
    def builder(directory):
        write(directory)
        raise failure

    sentence = (
        f"no space left on the device while building in {cache.root}; "
        "free some space or set NIBBLEFORGE_CACHE."
    )
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        cache.build("thing", KEY, builder)
    assert not leftovers(cache)


def test_other_errors_of_a_builder_pass_through(cache):
    def builder(directory):
        (directory / "absent").read_text()

    with pytest.raises(FileNotFoundError):
        cache.build("thing", KEY, builder)


def test_a_cache_under_a_file_is_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written \(Not a directory\); set NIBBLEFORGE_"):
        Cache(tmp_path / "file" / "cache").build("thing", KEY, write)


def test_a_cache_without_permission_is_the_users_to_mend(cache, monkeypatch):
    def refused(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refused)
    with pytest.raises(UserError, match=r"cannot be written \(Permission denied\)"):
        cache.build("thing", KEY, write)


def test_two_processes_build_one_entry_once(cache, tmp_path):
    log = tmp_path / "log"
    processes = [start(log, 0.5) for _ in range(2)]
    outputs = [process.communicate(timeout=30)[0].strip() for process in processes]
    assert outputs == [str(cache.entry("thing", KEY))] * 2
    assert log.read_text() == "built\n"


def test_a_killed_builder_leaves_no_lock(cache, tmp_path):
    log = tmp_path / "log"
    process = start(log, 60)
    wait_for(log)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(leftovers(cache)) == 1
    entry = cache.build("thing", KEY, write)
    assert sorted(path.name for path in entry.iterdir()) == [".sealed", "file"]
    assert not leftovers(cache)


def test_clear_removes_what_killed_builders_left(cache, tmp_path):
    log = tmp_path / "log"
    process = start(log, 60)
    wait_for(log)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert cache.info().entries == 0
    assert cache.clear() == len("half")
    assert not leftovers(cache)


def test_an_interrupted_process_cleans_up(cache, tmp_path):
    log = tmp_path / "log"
    process = start(log, 60)
    wait_for(log)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode != 0
    assert not leftovers(cache)


def test_info_counts_entries_and_bytes_by_kind(cache):
    assert cache.info().entries == 0
    cache.build("thing", KEY, write)
    cache.build("thing", {"source": "2"}, write)
    cache.build("other", KEY, write)
    info = cache.info()
    assert {kind: usage.entries for kind, usage in info.kinds.items()} == {"other": 1, "thing": 2}
    assert (info.entries, info.size) == (3, 15)


def test_clear_empties_the_cache_and_nothing_else(cache):
    cache.build("thing", KEY, write)
    mine = cache.root / "thing" / "notes.txt"
    mine.write_text("of the user")
    assert cache.clear() == 5
    assert cache.clear() == 0
    assert cache.info().entries == 0
    assert mine.read_text() == "of the user"
    cache.build("thing", KEY, write)


def test_clear_of_a_cache_that_does_not_exist_frees_nothing(cache):
    assert cache.clear() == 0
    assert not cache.root.exists()


def test_clear_waits_for_a_build(cache):
    building, cleared = threading.Event(), threading.Event()

    def builder(directory):
        building.set()
        assert not cleared.wait(0.3)
        write(directory)

    thread = threading.Thread(target=lambda: cache.build("thing", KEY, builder))
    thread.start()
    building.wait()
    assert cache.clear() == 5
    cleared.set()
    thread.join()


def test_builds_may_nest(cache):
    def outer(directory):
        inner = cache.build("inner", KEY, write)
        (directory / "copy").write_bytes((inner / "file").read_bytes())

    assert (cache.build("outer", KEY, outer) / "copy").read_text() == "12345"


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "file").write_text("1234"),
        lambda entry: (entry / "file").write_text("54321"),
        lambda entry: (entry / "file").unlink(),
        lambda entry: (entry / "more").touch(),
        lambda entry: (entry / ".sealed").unlink(),
        lambda entry: (entry / ".sealed").write_text("{"),
        lambda entry: (shutil.rmtree(entry), entry.touch()),
    ],
    ids=["cut short", "changed", "lost", "more", "no seal", "seal cut short", "a file"],
)
def test_a_damaged_entry_is_built_anew(cache, damage, seen):
    """Also one that was whole when this process took it."""
    entry = cache.build("thing", KEY, write)
    if seen:
        assert cache.build("thing", KEY, refuse) == entry
    damage(entry)
    assert cache.build("thing", KEY, write) == entry
    assert (entry / "file").read_text() == "12345"
    assert cache.build("thing", KEY, refuse) == entry
    assert not leftovers(cache)
