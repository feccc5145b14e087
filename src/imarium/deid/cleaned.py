"""A de-identified file that is ready to be written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Cleaned:
    """A de-identified object that is ready to be written."""

    name: tuple[str, ...]
    """Folders and name of the copy, made of pseudonyms and new UIDs only."""
    pieces: Callable[[], Iterator[bytes]]
    """The bytes of the copy, in order; the source has to be there still."""
    format: str
    counts: Counter[tuple[str, str]]
    """(attribute, what was done) to how often."""
    subject: str = ""
    original: str = ""
    """The patient's identifier in the source, for the custodian's table; empty if there is none."""
    uids: dict[str, str] = field(default_factory=dict)
    """New UIDs of study and series to the original ones, for the same table."""
    review: tuple[str, ...] = ()
