"""The gate of a collection that demands de-identification: nothing gets in that did not pass it.

Copies are made in the home's scratch folder and taken in from there; sources are never stored. What may not
be released is kept in the home's folder `quarantine`, under its digest, until somebody decides.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection as AnyCollection
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3
from sqlalchemy.exc import IntegrityError as UniqueViolation

from imarium.access import pseudonym
from imarium.catalog import Catalog
from imarium.catalog import quarantine as rows
from imarium.catalog.quarantine import QuarantineRecord
from imarium.catalog.quarantine_tables import Demand
from imarium.catalog.tables import now
from imarium.catalog.writing import find_or_add_collection
from imarium.deid.keys import make_key, read_key, subkeys
from imarium.deid.linking import LinkingTable
from imarium.deid.pipeline import Outcome, Status, Work, run
from imarium.deid.pixel_source import PixelCleaner
from imarium.deid.policy import Policy
from imarium.deid.policy_file import parse
from imarium.errors import (
    InvalidRequestError,
    NotFoundError,
    QuarantineError,
    RefusedFileError,
    StorageError,
)
from imarium.formats.base import Refusal, file_digest
from imarium.settings import Settings

_KEY, _TABLE = "custody/deid-key", "custody/deid-key.linking"
_REVIEW = "review"


@dataclass(slots=True)
class Passage:
    """What passed, in a folder that is there until the passage ends, and what did not."""

    folder: Path
    sources: dict[Path, Path] = field(default_factory=dict)
    """Copy to its source."""
    refusals: list[Refusal] = field(default_factory=list)
    known: list[Path] = field(default_factory=list)
    """Sources whose copy is that of another source of the same passage."""

    @property
    def copies(self) -> list[Path]:
        """What may be taken in."""
        return list(self.sources)


class Gate:
    """Demands of collections, the passage of files, and the quarantine."""

    def __init__(
        self, settings: Settings, catalog: Catalog, secret: bytes, pixels: PixelCleaner | None = None
    ) -> None:
        self._settings, self._catalog, self._secret = settings, catalog, secret
        self._folder = settings.home / "quarantine"
        self._pixels = pixels

    # Demands

    def demand(self, collection: str, policy: str, by: str) -> str:
        """Have a collection demand a policy, given as YAML text; returns the text's digest.

        The collection is made if missing. Raises PolicyError, and InvalidRequestError for a collection that
        demanded nothing so far and holds series already, which did not pass.
        """
        parse(policy)
        digest = blake3(policy.encode()).hexdigest()
        with self._catalog.session() as session:
            owner = find_or_add_collection(session, collection, "")
            session.flush()
            demand = session.get(Demand, owner.id)
            if demand is None:
                if rows.series_of(session, owner):
                    raise InvalidRequestError(
                        f"the collection {collection!r} holds series that passed no gate; make a new one and "
                        "take them in there"
                    )
                demand = Demand(collection=owner, scope=collection)
                session.add(demand)
            demand.policy, demand.digest = policy, digest
            demand.changed, demand.changed_by = now(), by
        return digest

    def policy(self, collection: str) -> Policy | None:
        """The policy that a collection demands; None if it demands none."""
        with self._catalog.session() as session:
            demand = rows.demand_of(session, collection)
            return parse(demand.policy) if demand is not None else None

    # Passage

    @contextmanager
    def passage(
        self, collection: str, paths: Sequence[Path], accepted: AnyCollection[str] = ()
    ) -> Iterator[Passage]:
        """De-identify files for a collection that demands it.

        Files that may not be released go to the quarantine. `accepted` are digests of files at which somebody
        looked: they pass although they ask for a look. Raises NotFoundError for a collection without a
        demand, StorageError if nothing can be written.
        """
        with self._catalog.session() as session:
            demand = rows.demand_of(session, collection)
            if demand is None:
                raise NotFoundError(f"the collection {collection!r} demands no de-identification")
            text, scope = demand.policy, demand.scope
        key = self._key()
        links = LinkingTable(self._settings.home / _TABLE, subkeys(key, scope).table)
        with tempfile.TemporaryDirectory(prefix="deid-", dir=self._settings.scratch) as folder:
            passage = Passage(Path(folder))
            work = Work(parse(text), key, passage.folder, scope, self._settings.limits, self._pixels)
            for outcome in run(work, paths, processes=1):
                self._sort(passage, collection, outcome, accepted, links)
            yield passage

    def _sort(
        self,
        passage: Passage,
        collection: str,
        outcome: Outcome,
        accepted: AnyCollection[str],
        links: LinkingTable,
    ) -> None:
        copy = passage.folder / outcome.name
        if outcome.status is Status.REFUSED:
            self._refuse(passage, collection, outcome.path, outcome.code, outcome.reason)
            return
        if outcome.status is Status.KNOWN:
            passage.known.append(outcome.path)
            return
        if outcome.review and self._digest(outcome.path) not in accepted:
            self._refuse(passage, collection, outcome.path, _REVIEW, "; ".join(outcome.review))
            return
        if self._mixes(collection, outcome):
            reason = "its study is there already, of another patient"
            self._refuse(passage, collection, outcome.path, QuarantineError.code, reason)
            copy.unlink(missing_ok=True)
            return
        if outcome.subject and outcome.original:
            links.add("subject", {outcome.subject: outcome.original})
            links.add("uid", outcome.uids)
        passage.sources[copy] = outcome.path

    def _refuse(self, passage: Passage, collection: str, path: Path, code: str, reason: str) -> None:
        error = RefusedFileError(reason)
        if code in (QuarantineError.code, _REVIEW):
            self._keep(collection, path, code, reason)
            error = QuarantineError(f"in quarantine: {reason}")
        passage.refusals.append(Refusal(path, error))

    def _mixes(self, collection: str, outcome: Outcome) -> bool:
        """Whether the catalog has the study of a copy under another subject."""
        if outcome.format != "dicom":
            return False
        parts = outcome.name.split("/")
        with self._catalog.session() as session:
            there = rows.subject_of_study(session, collection, parts[-3])
        return there is not None and there != pseudonym(self._secret, outcome.subject)

    # The quarantine

    def waiting(
        self, collection: str | None = None, state: str | None = rows.WAITING
    ) -> list[QuarantineRecord]:
        """What is in the quarantine, oldest first; with `state` None, what was decided as well."""
        with self._catalog.session() as session:
            return rows.records(session, collection, state)

    def waiting_file(self, number: int) -> tuple[QuarantineRecord, Path]:
        """A row that waits, and its file. Raises NotFoundError."""
        with self._catalog.session() as session:
            row = rows.record(rows.found(session, number))
        path = self._folder / row.digest
        if row.state != rows.WAITING or not path.is_file():
            raise NotFoundError(f"number {number} of the quarantine was decided already")
        return row, path

    def released(self, number: int, by: str) -> None:
        """Keep that a file of the quarantine passed, and remove it there."""
        self._decide(number, rows.RELEASED, by)

    def discard(self, number: int, by: str) -> None:
        """Remove a file from the quarantine for good; the row stays, without the file."""
        self.waiting_file(number)
        self._decide(number, rows.DISCARDED, by)

    def _decide(self, number: int, state: str, by: str) -> None:
        with self._catalog.session() as session:
            row = rows.found(session, number)
            rows.decide(row, state, by)
            session.flush()
            needed, digest = rows.in_use(session, row.digest), row.digest
        if not needed:
            with suppress(OSError):
                (self._folder / digest).unlink(missing_ok=True)

    def _keep(self, collection: str, path: Path, code: str, reason: str) -> None:
        digest = self._digest(path)
        target = self._folder / digest
        try:
            self._folder.mkdir(exist_ok=True, mode=0o700)
            if not target.exists():
                partial = self._folder / f".{digest}.{os.getpid()}.part"
                shutil.copyfile(path, partial)
                partial.chmod(0o600)
                partial.replace(target)
            size = target.stat().st_size
        except OSError as error:
            raise StorageError(f"the quarantine cannot be written: {error.strerror}") from error
        with suppress(UniqueViolation), self._catalog.session() as session:  # another run brought it too
            rows.quarantine(session, collection, digest, size, code, reason)

    def _digest(self, path: Path) -> str:
        try:
            return file_digest(path, self._settings.limits)
        except OSError as error:
            raise StorageError(f"a file vanished while it was read: {error.strerror}") from error

    def _key(self) -> bytes:
        path = self._settings.home / _KEY
        if not path.exists():
            path.parent.mkdir(exist_ok=True, mode=0o700)
            with suppress(StorageError):  # another process was faster
                make_key(path)
        return read_key(path)
