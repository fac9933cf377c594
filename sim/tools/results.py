"""Result folders: files appear whole or not at all."""

import contextlib
import errno
import io
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden.contract.errors import UserError


def check_output(folder: Path) -> None:
    """Raise :class:`UserError` if results could not be written to ``folder``; creates nothing."""
    chain = (folder, *folder.absolute().parents)
    existing = next(path for path in chain if os.path.lexists(path))
    if not existing.exists():
        raise UserError(f"cannot write to {folder}: {existing} is a broken link.")
    if not existing.is_dir():
        raise UserError(f"cannot write to {folder}: {existing} is not a folder.")
    if not os.access(existing, os.W_OK):
        raise UserError(f"cannot write to {folder}: {existing} is not writable.")


def check_npz(output: Path) -> None:
    """Raise :class:`UserError` if a path does not suit a ``.npz`` file."""
    if output.suffix != ".npz":
        raise UserError(f"the output file must end in .npz, got {output}.")
    if output.is_dir():
        raise UserError(f"{output} is a directory, so it cannot be written as a file.")


@contextlib.contextmanager
def new_files(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files are moved to ``folder`` when the block ends well.

    When it does not, nothing is left of it, and ``folder`` is as it was.
    """
    check_output(folder)
    created = [path for path in (folder, *folder.absolute().parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
            yield Path(partial)
            _move(sorted(Path(partial).iterdir()), folder)
    except BaseException as error:
        for path in created:
            with contextlib.suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"no space left on the device while writing to {folder}.") from error
        raise


def _move(files: Sequence[Path], folder: Path) -> None:
    for path in files:
        if (folder / path.name).is_dir():
            raise UserError(f"cannot write to {folder}: {path.name} in it is a folder.")
    for path in files:
        path.replace(folder / path.name)


def finite(value: float | None) -> float | None:
    """A number as JSON can hold it: NaN and infinity become None."""
    return value if value is not None and math.isfinite(value) else None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write readable JSON; NaN and infinity are refused."""
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_text(output: Path, text: str) -> None:
    """Write a text file, all or nothing."""
    with new_files(output.parent) as folder:
        (folder / output.name).write_text(text)


def write_arrays(folder: Path, arrays: Mapping[str, NDArray]) -> None:
    """Write every array as ``NAME.npy``."""
    for name, array in arrays.items():
        content = io.BytesIO()  # into a file numpy writes itself, and hides why it could not
        np.save(content, array)
        (folder / f"{name}.npy").write_bytes(content.getbuffer())


def write_npz(output: Path, arrays: Mapping[str, Any]) -> None:
    """Write a file of arrays, all or nothing: equal arrays are equal bytes, dated 1980 by numpy."""
    scratch = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        with scratch.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)
        scratch.replace(output)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}.") from error
    finally:
        scratch.unlink(missing_ok=True)
