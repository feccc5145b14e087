"""What a server needs of the files that a command was given."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from imarium.errors import ImariumError
from imarium.formats import recognise
from imarium.formats.base import Refusal
from imarium.ingest.scan import scan


def to_send(paths: Sequence[Path]) -> Iterator[Path | Refusal]:
    """Files below `paths`, each once, and then those that a file which was given by itself leads to.

    These are the data of a detached header and what a DICOMDIR names: the server cannot fetch them, as
    ingest does where the files are.
    """
    seen: set[Path] = set()
    for found in chain(scan(paths), scan(_led_to(paths))):
        if isinstance(found, Path):
            place = Path(os.path.realpath(found.parent), found.name)
            if place in seen:
                continue
            seen.add(place)
        yield found


def folders_of(paths: Iterable[Path]) -> list[Path]:
    """The folders among `paths`, and those of the files among them."""
    return [path if os.path.isdir(path) else path.parent for path in paths]


def _led_to(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if not os.path.isfile(path):
            continue
        try:
            yield from recognise(path).companions(path)
        except ImariumError:
            continue  # the server will say what is wrong with the file
