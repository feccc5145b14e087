"""Detached data: files that a header names, all within the header's own folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from imarium.errors import CorruptFileError, LimitExceededError, RefusedFileError, UnsupportedFileError

_NUMBER = re.compile(r"%(0?\d{0,2})l{0,2}[diu]")


def beside(header: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """The files that `header` names, relative to its folder, in the same order.

    Raises UnsupportedFileError for a name that leads out of the folder (by itself or by a link) and
    CorruptFileError for a file that is missing, no plain file, the header itself, or named twice.
    """
    found: list[Path] = []
    try:
        folder = header.parent.resolve(strict=True)
        status = header.stat()
        seen = {(status.st_dev, status.st_ino)}
    except (OSError, RuntimeError) as error:
        raise RefusedFileError("the folder of the header cannot be read") from error
    for number, name in enumerate(names, start=1):
        which = "the data file" if len(names) == 1 else f"data file {number} of {len(names)}"
        pure = PurePosixPath(name)
        if not name or "\0" in name or pure.is_absolute() or ".." in pure.parts:
            raise UnsupportedFileError(f"{which} is not named as a file in the folder of its header")
        path = header.parent / pure
        try:
            target = path.resolve(strict=True)
            status = target.stat()
        except (OSError, RuntimeError, ValueError) as error:
            raise CorruptFileError(f"{which} that the header names is not in its folder") from error
        if not target.is_relative_to(folder):
            raise UnsupportedFileError(f"{which} leads out of the folder of its header by a link")
        if not target.is_file():
            raise CorruptFileError(f"{which} that the header names is no file")
        if (status.st_dev, status.st_ino) in seen:
            raise CorruptFileError(f"{which} is the header itself, or named twice")
        seen.add((status.st_dev, status.st_ino))
        found.append(path)
    return tuple(found)


def numbered(pattern: str, first: int, last: int, step: int, most: int) -> list[str]:
    """The names that a pattern with one %d, %03d or the like gives for first, first + step, ... last.

    Raises CorruptFileError for another pattern or no name, LimitExceededError for more than `most`.
    """
    place = _NUMBER.search(pattern)
    if place is None or pattern.count("%") != 1:
        raise CorruptFileError("the pattern of the data files' names does not hold one %d")
    if step == 0 or (last - first) // step < 0:
        raise CorruptFileError(f"data files numbered from {first} to {last} by {step} are none")
    count = (last - first) // step + 1
    if count > most:
        raise LimitExceededError(f"the header names {count} data files; the limit is {most} (limits.frames)")
    form = f"%{place[1]}d"
    return [
        pattern[: place.start()] + form % (first + index * step) + pattern[place.end() :]
        for index in range(count)
    ]
