"""Finds the files below the given paths."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from imarium.errors import CorruptFileError, RefusedFileError, UnsupportedFileError
from imarium.formats.base import Refusal


def scan(paths: Iterable[Path]) -> Iterator[Path | Refusal]:
    """Regular files below `paths`, each folder in the order of its names; symbolic links are followed.

    A refusal stands for whatever cannot be looked at: a missing path, a loop, a device.
    """
    for path in paths:
        yield from _visit(path, ())


def _visit(path: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path | Refusal]:
    """`above` holds device and inode of the folders that lead here."""
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            yield path
            return
        if not stat.S_ISDIR(status.st_mode):
            yield Refusal(path, UnsupportedFileError("neither a file nor a folder"))
            return
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            yield Refusal(path, RefusedFileError("a loop: this folder leads back into itself"))
            return
        names = sorted(os.listdir(path))
    except OSError as error:
        yield Refusal(path, unreadable(error))
        return
    for name in names:
        yield from _visit(path / name, (*above, identity))


def unreadable(error: OSError) -> RefusedFileError:
    """The reason for a file that the system does not let us read."""
    if isinstance(error, FileNotFoundError):
        return CorruptFileError("the file does not exist, or disappeared while it was read")
    if isinstance(error, PermissionError):
        return RefusedFileError("permission denied; make the file readable and try again")
    return RefusedFileError(f"the file cannot be read: {error.strerror or type(error).__name__}")
