"""What became of each file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from imarium.errors import ImariumError, LimitExceededError

ELSEWHERE = "the same content was taken in before, in another collection"
"""Said to whoever may not know which."""


class Status(StrEnum):
    """The three ends of a file."""

    TAKEN = "taken"
    KNOWN = "known"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One file's end. `series` is set unless refused, or known as a table of contents (DICOMDIR) or in a
    collection of which one must not be told; `reason` says why refused, or how known."""

    path: Path
    status: Status
    series: str | None = None
    reason: str | None = None
    source_bytes: int = 0
    stored_bytes: int = 0
    """Bytes that the series grew by in the store; carried by the first file of a series."""


class Observer(Protocol):
    """Told of progress."""

    def found(self, files: int, size: int) -> None:
        """How much there is to do: files, and their bytes."""

    def advanced(self, size: float) -> None:
        """Bytes of sources dealt with since the last call."""


class Silent:
    """An observer that looks away."""

    def found(self, files: int, size: int) -> None:
        """Nothing."""

    def advanced(self, size: float) -> None:
        """Nothing."""


@dataclass
class Summary:
    """Counts over many outcomes."""

    files: Counter[Status] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    series: set[str] = field(default_factory=set)
    source_bytes: int = 0
    stored_bytes: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.files[outcome.status] += 1
        if outcome.status is Status.TAKEN:
            self.source_bytes += outcome.source_bytes
            self.stored_bytes += outcome.stored_bytes
            if outcome.series:
                self.series.add(outcome.series)
        elif outcome.status is Status.REFUSED and outcome.reason:
            self.reasons[outcome.reason] += 1

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Summary:
        """Count all."""
        summary = cls()
        for outcome in outcomes:
            summary.add(outcome)
        return summary


def refused(path: Path, error: ImariumError | MemoryError) -> Outcome:
    """A file that could not be taken in, with the reason."""
    if isinstance(error, MemoryError):
        error = LimitExceededError("the image needs more memory than there is")
    return Outcome(path, Status.REFUSED, reason=str(error))


def known(path: Path, series: str, place: str, collection: str) -> Outcome:
    """A file whose content is in a series of collection `place`; it was meant for `collection`."""
    reason = "the same content was taken in before"
    if place != collection:
        reason += f", in collection {place!r}"
    return Outcome(path, Status.KNOWN, series, reason)
