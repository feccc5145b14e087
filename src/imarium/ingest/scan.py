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

    Every folder is looked at once, however many links lead there. A refusal stands for whatever cannot
    be looked at: a missing path, a folder that leads back into itself, a device.
    """
    seen: set[tuple[int, int]] = set()
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [
        (path, frozenset()) for path in reversed(list(paths))
    ]
    while waiting:
        path, above = waiting.pop()
        try:
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                yield path
                continue
            if not stat.S_ISDIR(status.st_mode):
                yield Refusal(path, UnsupportedFileError("neither a file nor a folder"))
                continue
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                yield Refusal(path, RefusedFileError("a loop: this folder leads back into itself"))
                continue
            if identity in seen:
                continue
            seen.add(identity)
            names = sorted(os.listdir(path), reverse=True)
        except OSError as error:
            yield Refusal(path, unreadable(error))
            continue
        inside = above | {identity}
        waiting.extend((path / name, inside) for name in names)


def unreadable(error: OSError) -> RefusedFileError:
    """The reason for a file that the system does not let us read."""
    if isinstance(error, FileNotFoundError):
        return CorruptFileError("the file does not exist, or disappeared while it was read")
    if isinstance(error, PermissionError):
        return RefusedFileError("permission denied; make the file readable and try again")
    return RefusedFileError(f"the file cannot be read: {error.strerror or type(error).__name__}")
