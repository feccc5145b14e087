"""What the command line does to a home folder, in its audit record. One class says it of every command."""

from __future__ import annotations

import getpass
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imarium.archive import Archive
from imarium.audit import Action, ObjectKind, Outcome
from imarium.audit.record import Detail
from imarium.client import Client
from imarium.client.download import Downloaded, Form, Progress
from imarium.codec import Tier
from imarium.faces.cli.backends import Changes, ExportRequest, LocalBackend, WrittenManifest
from imarium.faces.cli.search_backends import LocalSearch, SearchBackend
from imarium.ingest import Observer, Status
from imarium.ingest import Outcome as Taken
from imarium.model import Selection
from imarium.streaming import VerifyOutcome

if TYPE_CHECKING:
    from imarium.manifest import Manifest

LOCAL = "local"
"""Origin of what is done on the command line."""


def actor() -> str:
    """Who runs the command, as the system knows them."""
    try:
        return f"os:{getpass.getuser()}"
    except (OSError, KeyError):
        return "os:unknown"


def record(
    archive: Archive,
    action: Action,
    kind: ObjectKind = ObjectKind.NONE,
    identifier: str = "",
    outcome: Outcome = Outcome.SUCCESS,
    details: Mapping[str, Detail] | None = None,
) -> None:
    """Record something that the command line did; it is written by the end of the command at the latest."""
    archive.audit.record(
        action, kind, identifier, actor=actor(), origin=LOCAL, outcome=outcome, details=details
    )


@contextmanager
def recorded(
    archive: Archive,
    action: Action,
    kind: ObjectKind = ObjectKind.NONE,
    identifier: str = "",
) -> Iterator[dict[str, Detail]]:
    """Record an act when it has ended; with its details, and as failed if it raised."""
    details: dict[str, Detail] = {}
    try:
        yield details
    except BaseException:
        record(archive, action, kind, identifier, Outcome.FAILED, details)
        raise
    record(archive, action, kind, identifier, details=details)


class RecordedSearch(LocalSearch):
    """Searches of a home folder are recorded. Kept selections are not: what is read by them is."""

    def __init__(self, archive: Archive) -> None:
        super().__init__(archive)
        self._archive = archive

    def find(self, query: str, order: str, limit: int | None) -> Iterator[dict[str, Any]]:
        """Facts of the series that meet a query."""
        with recorded(self._archive, Action.QUERY):
            yield from super().find(query, order, limit)

    def facets(self, query: str, names: Sequence[str], most: int) -> dict[str, Any]:
        """Counts."""
        with recorded(self._archive, Action.QUERY):
            return super().facets(query, names, most)


class RecordedBackend(LocalBackend):
    """A home folder; whatever is done to it is recorded."""

    def __init__(self, archive: Archive) -> None:
        super().__init__(archive)
        self._archive = archive
        self.search: SearchBackend = RecordedSearch(archive)

    def ingest(
        self,
        paths: list[Path],
        collection: str,
        observer: Observer,
        tier: Tier,
        labels: Mapping[str, str],
    ) -> Iterator[Taken]:
        """Take files in: one record of all, and one of each series."""
        counts: Counter[str] = Counter()
        stored: dict[str, None] = {}
        try:
            for outcome in super().ingest(paths, collection, observer, tier, labels):
                counts[outcome.status] += 1
                if outcome.status is Status.TAKEN and outcome.series is not None:
                    stored[outcome.series] = None
                yield outcome
        finally:
            for uid in stored:
                record(self._archive, Action.STORED, ObjectKind.SERIES, uid)
            details = {status.value: counts[status] for status in Status}
            record(self._archive, Action.INGESTED, ObjectKind.COLLECTION, collection, details=details)

    def label(self, changes: Changes) -> list[int]:
        """Set and remove labels."""
        with recorded(self._archive, Action.LABELLED) as details:
            counts = super().label(changes)
            details["series"] = sum(counts)
        return counts

    def manifest(self, selection: Selection, path: Path, presign: int | None) -> WrittenManifest:
        """Write a manifest."""
        with recorded(self._archive, Action.LISTED_FOR_DOWNLOAD, *_collection_of(selection)) as details:
            written = super().manifest(selection, path, presign)
            details["series"] = written.series
        return written

    @contextmanager
    def reading(self, selection: Selection) -> Iterator[tuple[Manifest, Client]]:
        """A snapshot that is read from: one record of each series in it."""
        with super().reading(selection) as (manifest, client):
            for uid in manifest.table["series"].to_pylist():
                record(self._archive, Action.VIEWED, ObjectKind.SERIES, uid)
            yield manifest, client

    def download(
        self, selection: Selection, dest: Path, form: Form, report: Callable[[Progress], None]
    ) -> list[Downloaded]:
        """Write every series of a selection: one record of each."""
        made = super().download(selection, dest, form, report)
        for item in made:
            outcome = Outcome.SUCCESS if item.error is None else Outcome.FAILED
            record(
                self._archive,
                Action.EXPORTED,
                ObjectKind.SERIES,
                item.series,
                outcome,
                {"format": form.format_name},
            )
        return made

    def list_series(self, collection: str | None) -> Iterator[dict[str, Any]]:
        """Facts of all series."""
        kind = ObjectKind.NONE if collection is None else ObjectKind.COLLECTION
        with recorded(self._archive, Action.QUERY, kind, collection or ""):
            return super().list_series(collection)

    def show(self, uid: str) -> dict[str, Any]:
        """Everything of one series."""
        with recorded(self._archive, Action.VIEWED, ObjectKind.SERIES, uid):
            return super().show(uid)

    def export(self, request: ExportRequest, output: str | None, report: Callable[[str], None]) -> list[Path]:
        """Write an export."""
        with recorded(self._archive, Action.EXPORTED, ObjectKind.SERIES, request.uid) as details:
            details |= {"format": request.format_name, "level": request.level or 0}
            return super().export(request, output, report)

    def verify(self) -> Iterator[VerifyOutcome]:
        """Check everything that is stored."""
        damaged = 0
        for outcome in super().verify():
            damaged += outcome.error is not None
            yield outcome
        record(self._archive, Action.VERIFIED, details={"damaged": damaged})


NOT_RECORDED = {
    "collections": "names of collections, nothing of a person",
    "attributes": "names of what can be asked for",
    "saved": "names of selections; what is read by them is recorded",
    "get_saved": "a selection; what is read by it is recorded",
    "save": "a selection; what is read by it is recorded",
    "change_saved": "a selection; what is read by it is recorded",
    "remove_saved": "a selection; nothing else changes",
}
"""Methods of a backend and of its searches, and why nothing is recorded of them."""


def _collection_of(selection: Selection) -> tuple[ObjectKind, str]:
    name = selection.collection
    return (ObjectKind.NONE, "") if name is None else (ObjectKind.COLLECTION, name)
