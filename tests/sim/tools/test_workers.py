import errno
import os
import re
import shlex
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from nibbleforge.sim.tools.workers import Workers, result_of

# A program that starts a child, tells both process numbers and never ends.
ENDLESS = 'sleep 600 & echo $$ $! >> "$1"; wait'


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def endless(log: Path) -> list[str]:
    return ["/bin/sh", "-c", ENDLESS, "sh", str(log)]


def numbers(log: Path, programs: int = 1) -> list[int]:
    """Process numbers that endless programs told, once all have."""
    deadline = time.monotonic() + 20
    while not log.exists() or log.read_text().count("\n") < programs:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [int(word) for word in log.read_text().split()]


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended but is not reaped yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def all_end(processes: list[int]) -> bool:
    """Whether processes end soon: one that was killed may still be seen for a moment."""
    deadline = time.monotonic() + 10
    while any(map(alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, processes))


def leave(log: Path, failure: BaseException, nested: bool = False) -> None:
    """Leave a pool early while an endless program runs on it, or on a pool within."""

    def inside() -> None:
        with Workers(1) as inner:
            inner.run(endless(log))

    with Workers(1) as workers:
        workers.start(inside if nested else lambda: workers.run(endless(log)))
        numbers(log)
        raise failure


def test_output_and_errors_come_back_in_order():
    text = "import sys; print(1, flush=True); print(2, file=sys.stderr, flush=True); print(3)"
    with Workers(1) as workers:
        assert workers.run(python(text)) == "1\n2\n3\n"


def test_a_failure_names_command_status_and_output():
    command = python("import sys; print('why'); sys.exit(7)")
    expected = f"{shlex.join(command)} ended with 7:\nwhy\n"
    with Workers(1) as workers, pytest.raises(RuntimeError, match=f"^{re.escape(expected)}$"):
        workers.run(command)


def test_of_a_long_output_a_failure_shows_the_end():
    command = python("import sys; print('x' * 100_000); print('the end'); sys.exit(1)")
    with Workers(1) as workers, pytest.raises(RuntimeError) as error:
        workers.run(command)
    assert len(str(error.value)) < 5_000
    assert str(error.value).endswith("the end\n")


def test_a_failure_may_be_expected():
    with Workers(1) as workers:
        assert workers.run(python("import sys; print('why'); sys.exit(7)"), check=False) == "why\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_device_is_told_from_other_failures(number):
    text = f"import sys; sys.exit('cc1plus: error: {os.strerror(number)}')"
    with Workers(1) as workers, pytest.raises(OSError, match=os.strerror(number)) as error:
        workers.run(python(text))
    assert error.value.errno == number


def test_a_program_that_does_not_exist():
    with Workers(1) as workers, pytest.raises(FileNotFoundError):
        workers.run(["/absent/program"])


def test_where_a_command_runs(tmp_path):
    text = "import os; print(os.getcwd(), os.environ['TMPDIR'], os.environ['MINE'])"
    with Workers(1, temporary=Path("/tmp/mine")) as workers:
        found = workers.run(python(text), {"MINE": "yes"}, cwd=tmp_path)
    assert found == f"{tmp_path} /tmp/mine yes\n"
    assert "MINE" not in os.environ


def test_nothing_can_be_typed():
    with Workers(1) as workers:
        assert workers.run(python("import sys; print(repr(sys.stdin.read()))")) == "''\n"


def test_output_need_not_be_text():
    with Workers(1) as workers:
        found = workers.run(python(r"import sys; sys.stdout.buffer.write(b'a\xffb')"))
    assert found == "a\N{REPLACEMENT CHARACTER}b"


def test_each_line_comes_as_it_is_printed(tmp_path):
    """The program goes on only once its first line has been seen."""
    flag = tmp_path / "flag"
    text = (
        "import sys, time\nfrom pathlib import Path\nprint('first', flush=True)\n"
        "while not Path(sys.argv[1]).exists(): time.sleep(0.01)\nprint('second')"
    )
    lines = []

    def each(line: str) -> None:
        lines.append(line)
        flag.touch()

    with Workers(1) as workers:
        workers.run([*python(text), str(flag)], each_line=each)
    assert lines == ["first\n", "second\n"]


def test_an_error_in_each_line_ends_the_program(tmp_path):
    def each(line: str) -> None:
        raise ZeroDivisionError

    log = tmp_path / "log"
    command = ["/bin/sh", "-c", f"echo line; {ENDLESS}", "sh", str(log)]
    with Workers(1) as workers, pytest.raises(ZeroDivisionError):
        workers.run(command, each_line=each)
    assert not log.exists() or all_end(numbers(log))


def test_so_many_at_once_and_no_more():
    lock, running, most = threading.Lock(), 0, 0

    def task() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1

    with Workers(3) as workers:
        for started in [workers.start(task) for _ in range(9)]:
            started.result()
    assert most == 3


def test_leaving_in_peace_waits():
    with Workers(1) as workers:
        started = workers.start(workers.run, python("import time; time.sleep(0.3); print('done')"))
    assert started.result(timeout=0) == "done\n"


@pytest.mark.parametrize("nested", [False, True], ids=["own", "nested"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, ZeroDivisionError])
def test_leaving_early_kills_programs_and_their_children(tmp_path, failure, nested):
    log = tmp_path / "log"
    start = time.monotonic()
    with pytest.raises(failure):
        leave(log, failure(), nested)
    assert time.monotonic() - start < 15
    assert len(numbers(log)) == 2
    assert all_end(numbers(log))


def test_nothing_starts_after_leaving_early(tmp_path):
    """Neither what was queued nor what a running function goes on to start."""
    log, outcome = tmp_path / "log", []

    def stubborn(workers: Workers) -> None:
        for _ in range(2):
            try:
                workers.run(endless(log))
            except RuntimeError as error:
                outcome.append(str(error))
        with Workers(1) as inner:
            try:
                inner.run(endless(log))
            except RuntimeError as error:
                outcome.append(str(error))

    def early() -> None:
        with Workers(1) as workers:
            workers.start(stubborn, workers)
            workers.start(workers.run, endless(log))
            numbers(log)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        early()
    assert "was killed by SIGKILL" in outcome[0]
    assert outcome[1:] == ["the work was stopped"] * 2
    assert len(numbers(log)) == 2
    assert all_end(numbers(log))


def test_an_interrupt_does_not_have_to_wake_the_wait():
    """One that comes as the wait begins wakes nothing: here another thread is told in its place."""
    ended, before = threading.Event(), signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt():
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=interrupt)
    with Workers(1) as workers:
        task = workers.start(ended.wait, 60)
        other.start()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with pytest.raises(KeyboardInterrupt):
                result_of(task)
            assert not task.done()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            signal.signal(signal.SIGINT, before)
            ended.set()
            other.join()
