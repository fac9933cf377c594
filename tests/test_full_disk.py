"""The full disk itself: whatever writes, the disk takes so many bytes and no more."""

import os
import subprocess
import sys

import pytest

PYTHON = "import sys; open(sys.argv[1], 'wb', buffering=0).write(bytes({size}))"
SHUTIL = "import shutil, sys; shutil.copy('source', sys.argv[1])"
VECTOR = "import os, sys; os.writev(os.open(sys.argv[1], 65), [b'', bytes(600), bytes(600)])"
PLACED = "import os, sys; os.pwrite(os.open(sys.argv[1], 65), bytes(600), 7)"
RESERVED = "import os, sys; os.posix_fallocate(os.open(sys.argv[1], 65), 0, 1001)"
STREAM = """
#include <cstdio>
int main(int, char** names) {
    std::FILE* file = std::fopen(names[1], "w");
    for (int n = 0; n < 1001; ++n) std::putc('x', file);
    if (std::fclose(file)) return std::perror("fclose"), 1;
}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The directory of the disk, beside which ``source`` holds 600 bytes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source").write_bytes(bytes(600))
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


def start(disk, *command):
    environment = {**os.environ, **disk.environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "program", [SHUTIL, VECTOR, PLACED, PYTHON.format(size=600)], ids=["copy", "vector", "at", "py"]
)
def test_each_way_of_writing_is_counted(full_disk, place, program):
    disk = full_disk(place, 1000)
    start(disk, sys.executable, "-c", program, str(place / "a"))
    assert disk.left == 400
    start(disk, sys.executable, "-c", program, str(place / "b"))
    assert disk.left == 0
    done = start(disk, sys.executable, "-c", program, str(place / "c"))
    assert "No space left on device" in done.stderr


def test_streams_of_the_c_library(full_disk, place):
    source = place.parent / "stream.cpp"
    source.write_text(STREAM)
    program = place.parent / "stream"
    subprocess.run(["g++", str(source), "-o", str(program)], check=True)
    disk = full_disk(place, 1000)
    done = start(disk, str(program), str(place / "a"))
    assert (done.returncode, done.stderr) == (1, "fclose: No space left on device\n")
    assert (place / "a").stat().st_size == 1000


def test_a_compiler_that_has_no_room(full_disk, place):
    """Its programs are children of children: cc1plus, as, ld."""
    source = place.parent / "stream.cpp"
    source.write_text(STREAM)
    disk = full_disk(place, 1000)
    done = start(disk, "g++", str(source), "-o", str(place / "stream"))
    assert done.returncode == 1
    assert "No space left on device" in done.stderr


def test_space_cannot_be_reserved_beyond_what_is_left(full_disk, place):
    disk = full_disk(place, 1000)
    done = start(disk, sys.executable, "-c", RESERVED, str(place / "a"))
    assert "No space left on device" in done.stderr
    assert disk.left == 1000


def test_free_space_is_what_is_left(full_disk, place):
    disk = full_disk(place, 5000)
    ask = "import shutil; print(shutil.disk_usage('disk').free, shutil.disk_usage('.').free > 5000)"
    assert start(disk, sys.executable, "-c", ask).stdout == f"{5000 // 512 * 512} True\n"


def test_other_places_are_free(full_disk, place):
    disk = full_disk(place, 0)
    (place.parent / "disk2").mkdir()
    for path in (place.parent / "a", place.parent / "disk2" / "a"):
        done = start(disk, sys.executable, "-c", PYTHON.format(size=600), str(path))
        assert (done.returncode, path.stat().st_size) == (0, 600), done.stderr
    assert disk.left == 0


def test_a_program_that_is_not_there_is_not_there(full_disk, place):
    """Between fork and exec a child has no handler of signals."""
    disk = full_disk(place, 0)
    done = start(disk, sys.executable, "-c", "import subprocess; subprocess.run(['nonexistent'])")
    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr


def test_the_disk_grows(full_disk, place):
    disk = full_disk(place, 0)
    disk.left = 600
    done = start(disk, sys.executable, "-c", PYTHON.format(size=600), str(place / "a"))
    assert (done.returncode, disk.left) == (0, 0), done.stderr
