"""Child processes, several at once; whatever ends the work early ends them too."""

import contextlib
import errno
import os
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from ...golden.contract.errors import ToolError

_FULL = (errno.ENOSPC, errno.EDQUOT)  # a compiler tells them by their text alone
_TAIL = 4000  # characters of a failed command's output worth showing
_LINE = 300  # characters of it in a sentence
_LOOK_UP = 0.2  # seconds after which a wait looks for interrupts

_THREAD = threading.local()  # its `pool`: the one that this thread belongs to

T = TypeVar("T")


class Workers:
    """A pool that runs commands; leaving the ``with`` block early kills what still runs.

    That includes the commands of pools that functions on this pool have opened.

    Parameters
    ----------
    jobs
        Commands at once; by default one a processor.
    temporary
        Folder for the commands' own temporary files; relative to where each command runs.
    """

    def __init__(self, jobs: int | None = None, temporary: Path | None = None) -> None:
        own = {"LC_ALL": "C.UTF-8", **({"TMPDIR": str(temporary)} if temporary else {})}
        self._environment = {**os.environ, **own}  # messages that are understood, in English
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._inner: set[Workers] = set()
        self._stopped = False
        self._outer: Workers | None = getattr(_THREAD, "pool", None)
        self._pool = ThreadPoolExecutor(
            jobs or len(os.sched_getaffinity(0)),
            initializer=setattr,
            initargs=(_THREAD, "pool", self),
        )

    def __enter__(self) -> "Workers":
        if self._outer:
            with self._outer._lock:
                self._outer._inner.add(self)
                self._stopped = self._outer._stopped
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        if kind is not None:
            self._stop()
        self._pool.shutdown(cancel_futures=True)
        if self._outer:
            with self._outer._lock:
                self._outer._inner.discard(self)

    def start(self, function: Callable[..., T], *arguments: object) -> "Future[T]":
        """Run a function on the pool; it may call :meth:`run`."""
        return self._pool.submit(function, *arguments)

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        cwd: Path | None = None,
        check: bool = True,
        each_line: Callable[[str], None] | None = None,
    ) -> str:
        """Run a command to its end and return what it printed, standard error included.

        Parameters
        ----------
        command, environment, cwd
            What to run, variables beside those of this process, and where.
        check
            Whether a failure is an error.
        each_line
            Called with every line as it comes.

        Raises
        ------
        ToolError
            The command failed, and ``check`` is set; or a signal ended it.
        OSError
            Likewise, because the device is full.
        """
        with self._process(command, environment or {}, cwd) as process:
            output = "".join(_lines(process, each_line))
        if process.returncode < 0 or (check and process.returncode):
            how = _how(process.returncode)
            raise failure(f"{Path(command[0]).name} {how}", output, f"{shlex.join(command)} {how}")
        return output

    @contextlib.contextmanager
    def _process(
        self, command: Sequence[str], environment: Mapping[str, str], cwd: Path | None
    ) -> Iterator["subprocess.Popen[str]"]:
        with self._lock:
            if self._stopped:
                raise RuntimeError("the work was stopped")
            process = subprocess.Popen(
                command,
                env={**self._environment, **environment},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,  # some leave children behind when they alone are killed
                text=True,
                errors="replace",
            )
            self._running.add(process)
        try:
            with process:  # closes the pipe and waits
                try:
                    yield process
                except BaseException:
                    _kill(process)
                    raise
        finally:
            with self._lock:
                self._running.discard(process)

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                _kill(process)
            inner = list(self._inner)
        for pool in inner:
            pool._stop()


def as_finished(tasks: "Iterable[Future[T]]") -> "Iterator[Future[T]]":
    """Tasks in the order in which they end.

    An interrupt that comes just as a wait without an end begins goes unnoticed until that end, so
    no wait here is one.
    """
    waiting = set(tasks)
    while waiting:
        done, waiting = wait(waiting, _LOOK_UP, FIRST_COMPLETED)
        yield from done


def result_of(task: "Future[T]") -> T:
    """What a task returned, or raised; waits as :func:`as_finished` does."""
    (finished,) = as_finished([task])
    return finished.result()


def failure(what: str, output: str, in_full: str = "") -> ToolError | OSError:
    """The error of a program that failed, from what it printed.

    Parameters
    ----------
    what
        A clause that names the program.
    output
        What it printed.
    in_full
        The same clause for the message, whole command and all.

    Returns
    -------
    An OSError where the device is full.
    """
    if full := next((number for number in _FULL if os.strerror(number) in output), None):
        return OSError(full, os.strerror(full))
    return ToolError(f"{what}: {_reason(output)}.", f"{in_full or what}:\n{output[-_TAIL:]}")


def _how(status: int) -> str:
    return f"ended with {status}" if status >= 0 else f"was killed by {_signal(-status)}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _reason(output: str) -> str:
    """The first line that speaks of an error, else the last one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"error|fatal", line, re.IGNORECASE)]
    return [*errors[:1], *lines[-1:], "it printed nothing"][0][:_LINE].rstrip(".")


def _lines(process: "subprocess.Popen[str]", each: Callable[[str], None] | None) -> Iterator[str]:
    for line in process.stdout or ():
        if each:
            each(line)
        yield line


def _kill(process: "subprocess.Popen[str]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
