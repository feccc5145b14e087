"""Packs that hold what stays and what goes: what stays is written to a new one, not coded anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from imarium.catalog import PackRecord
from imarium.catalog.erasing import Repointed
from imarium.errors import IntegrityError, StorageError
from imarium.pack import LevelReader, PackWriter, SeriesIndex, read_attachments, read_directory
from imarium.settings import Settings
from imarium.store import ObjectStore


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A pack that was written anew, and where its series lie there."""

    old: str
    new: PackRecord
    moved: tuple[Repointed, ...]


def rewrite(settings: Settings, store: ObjectStore, key: str, staying: Mapping[str, int]) -> Rewritten:
    """Store a pack with only these series (numbers in the catalog by UID), in the order of the old one.

    Every part is compared with its checksum and written as it is. Raises IntegrityError if one is damaged: it
    is not copied, and nothing changes.
    """
    fetch = store.fetch(key)
    moved = []
    with PackWriter(settings.scratch) as writer:
        for entry in read_directory(fetch, store.size(key)):
            if entry.uid not in staying:
                continue
            index = SeriesIndex.from_bytes(fetch(*entry.index))
            reader = LevelReader(
                index, fetch, 0, fetch_many=lambda spans: store.read_many(key, spans), near=store.near
            )
            writer.add(
                index.series,
                index.decompositions,
                reader.encoded(range(index.series.frames)),
                read_attachments(fetch, index),
                index.block_frames,
            )
            moved.append(Repointed(staying[entry.uid], writer.entries[-1].index))
        if len(moved) != len(staying):
            raise IntegrityError("a pack lacks series that the catalog says are in it; see `imarium verify`")
        pack = writer.finish()
        record = PackRecord(f"packs/{pack.digest[:2]}/{pack.digest}.imp", pack.size, pack.digest)
        store.put(record.key, pack.path)
    if store.size(record.key) != record.size:
        raise StorageError("the store kept another number of bytes than it was given")
    return Rewritten(key, record, tuple(moved))
