"""The audit record of one home folder: the one way in, and the questions to it."""

from __future__ import annotations

import atexit
import logging
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import UTC, datetime
from pathlib import Path
from threading import Condition, Thread

from imarium.audit.actions import Action, ObjectKind, Outcome
from imarium.audit.appending import Appender, last_of
from imarium.audit.checkpoint import Checkpoint, CheckpointFile
from imarium.audit.objects import ObjectKeys
from imarium.audit.reading import AuditEntry, AuditFilter, all_entries, entries
from imarium.audit.record import Detail, Event, Sealing, details_text, is_storable, time_text
from imarium.audit.verifying import Verified, verify
from imarium.catalog import Catalog
from imarium.errors import StorageError

log = logging.getLogger("imarium.audit")

_BATCH = 500
_GATHERED_SECONDS = 0.05
"""How long an event that nobody waits for lies before it is written, so that several share a commit."""
_PATIENCE = 30.0
"""Seconds that a caller waits who asked to, and that the end of a process waits for the last events."""
_RETRY_SECONDS = 1.0
_MOST_WAITING = 100_000
"""Events in memory; what comes beyond them is counted and told of in a record of its own."""
_PAGE = 1000

_Waiting = tuple[Event, Future[int] | None]


class Audit:
    """Records events and answers questions about them. Safe to use from several threads and processes."""

    def __init__(self, catalog: Catalog, secret: bytes, home: Path) -> None:
        self.keys = ObjectKeys(secret)
        self._catalog, self._sealing = catalog, Sealing(secret)
        self._file = CheckpointFile(home, self._sealing)
        self._appender = Appender(catalog, self.keys, self._sealing, self._file)
        self._changed = Condition()
        self._waiting: deque[_Waiting] = deque()
        self._urgent = 0
        self._lost = 0
        self._busy = False
        self._closing = False
        self._thread: Thread | None = None
        with catalog.session() as session:
            empty = last_of(session)[0] == 0
        if empty:
            self._file.begin(time_text(datetime.now(UTC)))

    # --- writing ------------------------------------------------------------------------------------

    def record(
        self,
        action: Action,
        object_kind: ObjectKind = ObjectKind.NONE,
        object_id: str = "",
        *,
        object_key: str = "",
        actor: str = "",
        origin: str = "",
        outcome: Outcome = Outcome.SUCCESS,
        details: Mapping[str, Detail] | None = None,
        wait: bool = False,
    ) -> None:
        """Record what happened: at once in memory, soon after in the catalog; with `wait`, there on return.

        `object_key` stands for an object that was erased. `details` never hold identifiers of patients: they
        stay when an object is erased. Raises InvalidRequestError for details that are too long or no plain
        values, and with `wait` StorageError if the catalog does not take it.
        """
        details = details or {}
        details_text(details)
        named = object_id if is_storable(object_id) else ""
        event = Event(action, object_kind, named, object_key, actor, origin, outcome, dict(details))
        written: Future[int] | None = Future() if wait else None
        with self._changed:
            if len(self._waiting) >= _MOST_WAITING and written is None:
                self._lost += 1
                return
            self._waiting.append((event, written))
            self._urgent += wait
            if self._thread is None:
                self._start()
            self._changed.notify_all()
        if written is not None:
            try:
                written.result(_PATIENCE)
            except FutureTimeout as error:
                raise StorageError("the audit record could not be written in time; try again") from error

    def flush(self) -> None:
        """Wait until everything so far is in the catalog, or for `_PATIENCE` seconds."""
        with self._changed:
            self._urgent += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: not self._waiting and not self._busy, _PATIENCE)
            finally:
                self._urgent -= 1

    def close(self) -> None:
        """Write what waits, and end."""
        if self._thread is None:
            return
        self.flush()
        with self._changed:
            self._closing = True
            lost = len(self._waiting)
            self._changed.notify_all()
        self._thread.join(_PATIENCE)
        self._thread = None
        atexit.unregister(self.close)
        if lost:
            log.error("%d events could not be recorded before the end", lost)

    def _start(self) -> None:
        self._closing = False
        self._thread = Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                self._changed.wait_for(lambda: self._urgent or self._closing, _GATHERED_SECONDS)
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                lost, self._lost = self._lost, 0
                self._busy = True
            written = self._write(batch, lost)
            with self._changed:
                self._busy = False
                if not written:
                    self._waiting.extendleft(
                        (event, None) for event, waited in reversed(batch) if waited is None
                    )
                    self._lost += lost
                    if self._closing:
                        return
                self._urgent -= sum(waited is not None for _, waited in batch)
                self._changed.notify_all()
                if not written:
                    self._changed.wait_for(lambda: self._closing, _RETRY_SECONDS)

    def _write(self, batch: list[_Waiting], lost: int) -> bool:
        """Whether it is in the catalog. Those who wait are told either way; what failed is theirs again."""
        events = [event for event, _ in batch]
        if lost:
            events.append(Event(Action.AUDIT_LOST, outcome=Outcome.ERROR, details={"events": lost}))
        try:
            number = self._appender.append(events)
        except Exception as error:
            log.error("events could not be recorded (%s); trying again", type(error).__name__)
            for _, waited in batch:
                if waited is not None:
                    waited.set_exception(
                        error if isinstance(error, StorageError) else StorageError(str(error))
                    )
            return False
        for _, waited in batch:
            if waited is not None:
                waited.set_result(number)
        return True

    # --- reading ------------------------------------------------------------------------------------

    def entries(self, wanted: AuditFilter, *, limit: int, before: int | None = None) -> list[AuditEntry]:
        """Records that meet a filter, the newest first; `before` is the number of the last one seen."""
        with self._catalog.session() as session:
            return entries(session, self.keys, wanted, limit=limit, before=before)

    def all_entries(self, wanted: AuditFilter) -> Iterator[AuditEntry]:
        """All records that meet a filter, in the order of the chain."""
        with self._catalog.session() as session:
            yield from all_entries(session, self.keys, wanted, _PAGE)

    def verify(self, heads: list[Checkpoint] | None = None) -> Verified:
        """Check the whole chain, and that it holds the `heads` that were exported earlier."""
        with self._catalog.session() as session:
            return verify(session, self._sealing, self._file, heads)

    def head(self) -> Checkpoint:
        """The end of the chain, signed: to be kept where nobody who can write here can change it."""
        with self._catalog.session() as session:
            sequence, hash_text = last_of(session)
        return Checkpoint.make(self._sealing, sequence, hash_text, time_text(datetime.now(UTC)))

    def renew(self, actor: str, origin: str) -> Verified:
        """Sign what is there now, after a finding that was looked into; returns the finding.

        The chain itself is not mended, and a record says that this was done.
        """
        found = self.verify()
        self.record(
            Action.AUDIT_RENEWED,
            actor=actor,
            origin=origin,
            details={"problems": found.count, "records": found.records},
            wait=True,
        )
        self._file.replace(self.head())
        return found
