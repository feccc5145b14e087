"""Looks into every object of the store for what is to go: the catalog knows only where series live now."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from imarium.audit import ObjectKeys, ObjectKind
from imarium.catalog import Catalog
from imarium.catalog.erasing import Target, known_packs, members
from imarium.errors import ImariumError, NotFoundError
from imarium.pack import DirectoryEntry, SeriesIndex, read_directory
from imarium.store import ObjectStore

_THREADS = 8
_AT_ONCE = 512
_STACK = re.compile(r"-\d+$")
"""What stacks have after a Series Instance UID that are kept apart (`ingest.stacks`)."""


@dataclass(frozen=True, slots=True)
class Found:
    """Objects that hold what is to go, by what must become of them."""

    deleted: tuple[str, ...]
    rewritten: tuple[str, ...]
    abandoned: tuple[str, ...]
    young: int
    unreadable: int
    live: dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """How series that are to go are told in directories and indexes."""

    uids: Collection[str]
    """Of series, with those of the sources that they are stacks of."""
    studies: Collection[str]
    """All of whose series go."""

    @classmethod
    def of(cls, target: Target) -> Wanted:
        """What a target is told by."""
        uids = {item.uid for item in target.series} | {item.base_uid for item in target.series}
        return cls(uids, {uid for _, uid in target.studies})

    def names(self, uid: str) -> bool:
        """Whether a series of that UID, which lives nowhere, is one of them or a stack of one."""
        return uid in self.uids or _STACK.sub("", uid) in self.uids


def search(catalog: Catalog, store: ObjectStore, target: Target, quiet: timedelta) -> Found:
    """Look into all objects. One that the catalog does not know is nobody's once it is as old as `quiet`."""
    with catalog.session() as session:
        known = known_packs(session)
    going, wanted = {item.uid for item in target.series}, Wanted.of(target)
    deleted: list[str] = []
    rewritten: list[str] = []
    abandoned: list[str] = []
    live: dict[str, dict[str, int]] = {}
    young = unreadable = 0
    latest = datetime.now(UTC) - quiet
    changed = store.changed()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="search") as pool:
        while group := list(islice(changed, _AT_ONCE)):
            directories = pool.map(lambda item: directory_of(store, item[0]), group)
            looked = list(zip(group, directories, strict=True))
            interesting = [
                key
                for (key, _), entries in looked
                if key in known
                and known[key]
                and (entries is None or len(entries) != known[key] or _any(entries, going))
            ]
            with catalog.session() as session:
                here = members(session, interesting)
            for (key, moment), entries in looked:
                unreadable += entries is None
                if key not in known:
                    if moment <= latest:
                        abandoned.append(key)
                        unreadable -= entries is None
                    elif entries and _holds(store, key, entries, wanted):
                        young += 1
                    continue
                if not known[key]:  # replaced, or never used
                    if entries and _holds(store, key, entries, wanted):
                        deleted.append(key)
                        live[key] = {}
                    continue
                alive = here.get(key)
                if alive is None:
                    continue
                dead = [entry for entry in entries or () if entry.uid not in alive]
                if not (alive.keys() & going or _holds(store, key, dead, wanted)):
                    continue
                live[key] = alive
                if alive.keys() <= going:
                    deleted.append(key)
                    unreadable -= entries is None
                else:
                    rewritten.append(key)
    return Found(tuple(deleted), tuple(rewritten), tuple(abandoned), young, unreadable, live)


def sweep(
    catalog: Catalog, store: ObjectStore, keys: ObjectKeys, facts: Mapping[str, Any], quiet: timedelta
) -> tuple[list[str], int]:
    """Objects that the catalog does not know: those that are nobody's, and how many younger ones hold series
    that a certificate's `facts` name by their keys."""
    with catalog.session() as session:
        known = known_packs(session)
    series, studies = set(facts["series"]), set(facts["studies"])
    latest = datetime.now(UTC) - quiet
    abandoned, young = [], 0
    for key, moment in store.changed():
        if key in known:
            continue
        if moment <= latest:
            abandoned.append(key)
            continue
        entries = directory_of(store, key) or []
        young += any(keys.of(ObjectKind.SERIES, entry.uid) in series for entry in entries) or any(
            keys.of(ObjectKind.STUDY, study) in studies for study in _studies(store, key, entries)
        )
    return abandoned, young


def _any(entries: list[DirectoryEntry], uids: Collection[str]) -> bool:
    return any(entry.uid in uids for entry in entries)


def _holds(store: ObjectStore, key: str, entries: list[DirectoryEntry], wanted: Wanted) -> bool:
    """Whether one of these series, none of which lives, is to go."""
    if any(wanted.names(entry.uid) for entry in entries):
        return True
    return bool(wanted.studies) and any(study in wanted.studies for study in _studies(store, key, entries))


def _studies(store: ObjectStore, key: str, entries: list[DirectoryEntry]) -> Iterator[str]:
    for entry in entries:
        try:
            yield SeriesIndex.from_bytes(store.read(key, *entry.index)).series.study_uid
        except ImariumError:
            continue  # its UID was compared; of a damaged index no more is known


def directory_of(store: ObjectStore, key: str) -> list[DirectoryEntry] | None:
    """The series of a pack; None if it cannot be read, and nothing if it went meanwhile."""
    try:
        return read_directory(store.fetch(key), store.size(key))
    except NotFoundError:
        return []
    except ImariumError:
        return None
