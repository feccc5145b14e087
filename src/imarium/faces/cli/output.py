"""What people and machines get to see."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from imarium.ingest import Observer, Summary
from imarium.ingest.outcome import Silent, Status
from imarium.wording import size_text

_PIPED_COLUMNS = 240

errors = Console(stderr=True, highlight=False)
console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPED_COLUMNS)

_REASONS_SHOWN = 20


def shown(text: str) -> str:
    """Text as a terminal may get it: names of files can hold control characters, and bytes of no text."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def say(text: str) -> None:
    """One line for people."""
    console.print(shown(text), markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """One line for people, on standard error."""
    errors.print(shown(text), markup=False, soft_wrap=True)


def emit(value: dict[str, Any]) -> None:
    """One JSON object on one line."""
    sys.stdout.write(json.dumps(value, separators=(",", ":")) + "\n")
    sys.stdout.flush()


class _Bar:
    """Shows an ingest's progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("looking for files", total=None)

    def found(self, files: int, size: int) -> None:
        """The bar gets its length."""
        self._progress.update(self._task, description=f"{files} files", total=size)

    def advanced(self, size: float) -> None:
        """The bar moves."""
        self._progress.advance(self._task, size)


@contextmanager
def ingest_progress(hidden: bool) -> Iterator[Observer]:
    """A progress bar on standard error, or nothing."""
    if hidden:
        yield Silent()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as progress:
        yield _Bar(progress)


@contextmanager
def series_progress(hidden: bool, total: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error that a call moves by one series, or nothing."""
    with _counting(hidden, "series", total) as advance:
        yield advance


@contextmanager
def files_progress(hidden: bool, total: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error that a call moves by one file, or nothing."""
    with _counting(hidden, "files", total) as advance:
        yield advance


@contextmanager
def _counting(hidden: bool, what: str, total: int) -> Iterator[Callable[[], None]]:
    if hidden:
        yield lambda: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def print_summary(summary: Summary) -> None:
    """How an ingest ended."""
    counts = summary.files
    console.print(
        f"taken {counts[Status.TAKEN]} files ({len(summary.series)} series), "
        f"already known {counts[Status.KNOWN]}, refused {counts[Status.REFUSED]}"
    )
    if summary.source_bytes:
        percent = 100 * summary.stored_bytes / summary.source_bytes
        console.print(
            f"{size_text(summary.source_bytes)} before, {size_text(summary.stored_bytes)} after "
            f"({percent:.0f} %)"
        )
    for reason, count in summary.reasons.most_common(_REASONS_SHOWN):
        say(f"  refused {count}: {reason}")
    if len(summary.reasons) > _REASONS_SHOWN:
        console.print(f"  and {len(summary.reasons) - _REASONS_SHOWN} further reasons; see --json")
