"""Yosys in this process, reading and writing in memory.

Yosys knows no quotes around file names, does not notice a full disk, and ends the whole process
when it cannot open a file: so its files have names that always work, and lie on no disk.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyosys import libyosys

_ONE_AT_A_TIME = threading.Lock()  # Yosys keeps global state


def run_yosys(text: str, *commands: str) -> str:
    """Run Yosys commands on a text.

    Parameters
    ----------
    text
        What the commands find in the file ``{source}``.
    commands
        With ``{source}`` and ``{result}`` where they name a file.

    Returns
    -------
    What they left in ``{result}``. Whether that is whole is for the caller to check.
    """
    with _ONE_AT_A_TIME, _memory("source") as source, _memory("result") as result:
        source.write_text(text)
        design = libyosys.Design()
        for command in commands:
            named = command.replace("{source}", str(source)).replace("{result}", str(result))
            libyosys.Pass.call(design, f"tee -q {named}")
        return result.read_text()


@contextmanager
def _memory(name: str) -> Iterator[Path]:
    """An empty file in memory."""
    file = os.memfd_create(name)
    try:
        yield Path(f"/proc/self/fd/{file}")
    finally:
        os.close(file)
