"""Erases, in steps of which each can be repeated: killed at any point, either all is there or the rest goes.

1. What stays of shared packs is stored in new ones. Nothing refers to them yet.
2. One transaction of the catalog forgets the rows and the identifiers, points what stays to the new packs,
   and notes which objects are to go. From here on nothing of it is served.
3. The objects, scratch files and the remains in the database's files go. A certificate tells of it.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError as ReferenceViolation

from imarium.access import erased_mark
from imarium.audit import Audit, ObjectKind
from imarium.audit.objects import forget_identifiers
from imarium.audit.record import Sealing, time_text
from imarium.catalog import Catalog, quarantine
from imarium.catalog.dialects import one_writer
from imarium.catalog.erasing import (
    Target,
    files_of,
    find_target,
    members,
    remove_target,
    repoint,
    still_named,
)
from imarium.catalog.erasure_tables import ErasedMark, ErasureRow
from imarium.erasure.certificate import BEYOND_REACH, FORMAT, Certificate
from imarium.erasure.checking import check
from imarium.erasure.leftovers import remove_leftovers
from imarium.erasure.rewriting import Rewritten, rewrite
from imarium.erasure.scope import Plan, Scope
from imarium.erasure.searching import search, sweep
from imarium.errors import ConcurrentWriteError, IntegrityError, NotFoundError, StorageError
from imarium.settings import Settings
from imarium.store import ObjectStore

QUIET = timedelta(hours=1)
"""How long scratch files, and objects that the catalog does not know, must have lain to be nobody's."""
_MOST_TRIES = 10

Record = Callable[[Certificate], None]
"""Told of each erasure before it counts as finished: at least once, also after a crash."""


class Erasure:
    """The right to erasure over one home folder."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        store: ObjectStore,
        audit: Audit,
        secret: bytes,
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        """`forget` empties what this process holds in memory of the store."""
        self._settings, self._catalog, self._store = settings, catalog, store
        self._keys, self._sealing, self._secret = audit.keys, Sealing(secret), secret
        self._forget = forget

    def plan(self, scope: Scope, quiet: timedelta = QUIET) -> Plan:
        """What an erasure would do now; nothing changes. Raises NotFoundError if there is nothing of it."""
        target = self._target(scope)
        if target.is_nothing:
            raise NotFoundError(
                f"there is no {scope.kind.value} of that name; `imarium ls` lists what there is"
            )
        found = search(self._catalog, self._store, target, quiet)
        return Plan(
            scope,
            target,
            found.deleted,
            found.rewritten,
            found.abandoned,
            found.young,
            found.unreadable,
            found.live,
        )

    def erase(
        self,
        scope: Scope,
        *,
        actor: str,
        record: Record,
        refuse_again: bool = False,
        quiet: timedelta = QUIET,
    ) -> Certificate:
        """Erase, and prove it. Erasures that were broken off are finished first.

        With `refuse_again`, the same images are refused when they come once more. `actor` is named in the
        certificate. Raises NotFoundError if there is nothing of it, IntegrityError if a pack that must be
        written anew is damaged (nothing has changed then), and StorageError.
        """
        for _ in self.finish(record, quiet):
            pass
        for _ in range(_MOST_TRIES):
            plan = self.plan(scope, quiet)
            new = [
                rewrite(self._settings, self._store, key, self._staying(plan, key)) for key in plan.rewritten
            ]
            try:
                number = self._commit(plan, new, actor, refuse_again)
            except (ConcurrentWriteError, ReferenceViolation):
                continue  # somebody stored, grew or erased meanwhile
            return self._finish(number, record, quiet)
        raise StorageError("others keep changing what is to be erased; try again when they are done")

    def finish(self, record: Record, quiet: timedelta = QUIET) -> Iterator[Certificate]:
        """Finish erasures that were broken off."""
        with self._catalog.session() as session:
            open_ones = list(session.scalars(select(ErasureRow.id).where(ErasureRow.finished.is_(None))))
        for number in open_ones:
            yield self._finish(number, record, quiet)

    def check(self, certificate: Certificate) -> list[str]:
        """What does not hold of a certificate, now; nothing if all of it does. Looks into every object."""
        if not certificate.is_genuine(self._sealing):
            raise IntegrityError("this installation did not make this certificate, or it was changed")
        return check(self._catalog, self._store, self._keys, certificate)

    def lift(self, certificate_id: str) -> int:
        """Let what an erasure refuses come again; returns how many marks there were."""
        with self._catalog.session() as session:
            if session.get(ErasureRow, certificate_id) is None:
                raise NotFoundError("there was no such erasure")
            marks = list(session.scalars(select(ErasedMark).where(ErasedMark.erasure_id == certificate_id)))
            for mark in marks:
                session.delete(mark)
        return len(marks)

    # --- steps --------------------------------------------------------------------------------------

    def _target(self, scope: Scope) -> Target:
        with self._catalog.session() as session:
            return find_target(session, **{scope.kind.value: scope.identifier})

    @staticmethod
    def _staying(plan: Plan, key: str) -> dict[str, int]:
        going = {item.id for item in plan.target.series}
        return {uid: number for uid, number in plan.live[key].items() if number not in going}

    def _commit(self, plan: Plan, new: list[Rewritten], actor: str, refuse_again: bool) -> str:
        """The one transaction. Raises ConcurrentWriteError if things are no longer as planned."""
        packs = [*plan.deleted, *plan.rewritten]
        number = secrets.token_hex(16)
        with self._catalog.session() as session:
            one_writer(session)
            target = find_target(session, **{plan.scope.kind.value: plan.scope.identifier})
            if target != plan.target or members(session, packs) != {key: plan.live[key] for key in packs}:
                raise ConcurrentWriteError("what is to be erased has changed meanwhile")
            marks = self._marks(files_of(session, [item.id for item in target.series]), target)
            for item in new:
                repoint(session, item.old, item.new, item.moved)
            kept = {item.new.key for item in new}
            gone = remove_target(session, target, [key for key in packs if key not in kept])
            facts = self._facts(plan, new, actor, number, dict(gone), still_named(session, target))
            facts["refuses_again"] = refuse_again
            keys = {key for name in ("series", "studies", "subjects", "collections") for key in facts[name]}
            keys.add(facts["scope"]["key"])
            facts["identifiers_forgotten"] = forget_identifiers(session, keys)
            objects = [key for key in packs if key not in kept]
            session.execute(
                insert(ErasureRow),
                {"id": number, "begun": facts["begun"], "finished": None, "keys": objects, "facts": facts},
            )
            if refuse_again:
                known = set(session.scalars(select(ErasedMark.mark)))
                rows = [{"mark": mark, "erasure_id": number} for mark in sorted(marks - known)]
                if rows:
                    session.execute(insert(ErasedMark), rows)
        return number

    def _marks(self, files: list[tuple[str, str | None]], target: Target) -> set[str]:
        marks = {erased_mark(self._secret, "series", item.base_uid) for item in target.series}
        for digest, instance in files:
            marks.add(erased_mark(self._secret, "file", digest))
            if instance is not None:
                marks.add(erased_mark(self._secret, "instance", instance))
        return marks

    def _facts(
        self, plan: Plan, new: list[Rewritten], actor: str, number: str, rows: dict[str, int], still: set[str]
    ) -> dict[str, Any]:
        target, key = plan.target, self._keys.of
        return {
            "format": FORMAT,
            "id": number,
            "begun": time_text(datetime.now(UTC)),
            "actor": actor,
            "scope": {
                "kind": plan.scope.kind.value,
                "key": key(plan.scope.kind.object_kind, plan.scope.identifier),
            },
            "series": [key(ObjectKind.SERIES, item.uid) for item in target.series],
            "studies": [key(ObjectKind.STUDY, uid) for _, uid in target.studies if uid not in still],
            "subjects": [key(ObjectKind.SUBJECT, name) for _, name in target.subjects if name not in still],
            "collections": [key(ObjectKind.COLLECTION, name) for _, name in target.collections],
            "frames": sum(item.frames for item in target.series),
            "source_bytes": sum(item.source_bytes for item in target.series),
            "stored_bytes": sum(item.stored_bytes for item in target.series),
            "rows": rows,
            "rewritten": [{"from": item.old, "to": item.new.key} for item in new],
            "unreadable_objects": plan.unreadable,
        }

    def _finish(self, number: str, record: Record, quiet: timedelta) -> Certificate:
        """The third step, for one erasure whose rows are gone. It counts as finished once nothing is left."""
        with self._catalog.session() as session:
            row = session.get_one(ErasureRow, number)
            keys, facts = list(row.keys), dict(row.facts)
        self._forget()
        gone = set(facts.get("objects_deleted", ()))
        gone.update(self._delete(keys))
        swept, young = sweep(self._catalog, self._store, self._keys, facts, quiet)
        gone.update(self._delete(swept))
        facts["objects_deleted"] = sorted(gone)
        removed, left = remove_leftovers(
            self._settings.scratch, self._store, quiet, self._out_of_quarantine()
        )
        facts["scratch_removed"] = removed + facts.get("scratch_removed", 0)
        unfinished = []
        if left:
            unfinished.append(
                f"{left} scratch files were changed within {quiet}, perhaps by somebody at work"
            )
        if young:
            unfinished.append(f"{young} objects that the catalog does not know are younger than {quiet}")
        facts["catalog_rewritten"] = self._catalog.rewrite_files()
        if not facts["catalog_rewritten"]:
            unfinished.append("readers kept the catalog's log from being emptied")
        facts["unfinished"], facts["beyond_reach"] = unfinished, list(BEYOND_REACH)
        facts["finished"] = time_text(datetime.now(UTC))
        facts.pop("seal", None)
        certificate = Certificate.make(self._sealing, facts)
        self._keep(certificate)
        record(certificate)
        with self._catalog.session() as session:
            row = session.get_one(ErasureRow, number)
            row.finished = facts["finished"] if certificate.complete else None
            row.facts = certificate.to_json()
        return certificate

    def _out_of_quarantine(self) -> list[Path]:
        """Files of the quarantine that no collection waits for any more."""
        folder = self._settings.home / "quarantine"
        if not folder.is_dir():
            return []
        with self._catalog.session() as session:
            waiting = {row.digest for row in quarantine.records(session, None, quarantine.WAITING)}
        return [path for path in folder.iterdir() if path.name not in waiting]

    def _delete(self, keys: list[str]) -> list[str]:
        """Delete objects, but for those that the catalog knows again: the same content came once more."""
        gone = []
        for key in keys:
            with self._catalog.session() as session:
                one_writer(session)
                if members(session, [key])[key]:
                    continue
                self._store.delete(key)
            gone.append(key)
        return gone

    def _keep(self, certificate: Certificate) -> None:
        folder = self._settings.home / "erasures"
        target, draft = folder / f"{certificate.id}.json", folder / f"{certificate.id}.part"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            with draft.open("w", encoding="utf-8") as file:
                file.write(json.dumps(certificate.to_json(), indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        except OSError as error:
            raise StorageError(f"the certificate could not be kept: {error.strerror}") from error
