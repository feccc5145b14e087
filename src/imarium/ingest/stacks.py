"""Where a series goes whose UID is stored already: all is known, it joins a stored stack, or stays apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from imarium.catalog import SeriesRecord
from imarium.codec import decompositions_for, pixel_digest
from imarium.codec.frames import EncodedFrame, stays_encoded
from imarium.errors import IntegrityError, InvalidRequestError, NotFoundError
from imarium.formats import dicom
from imarium.model import Series, SourceSeries
from imarium.model.series import Frame
from imarium.pack import LevelReader, SeriesIndex, read_attachments
from imarium.store import ObjectStore

SEPARATOR = "-"
"""Between a Series Instance UID and the number of a stack that is kept apart from the first."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A stored series and what is needed to compare it with an incoming one."""

    record: SeriesRecord
    index: SeriesIndex
    attachments: dict[str, bytes]
    instances: dict[str, list[int]]
    """Frames of each SOP Instance UID."""
    reader: LevelReader

    def digests(self, instance: str) -> list[bytes]:
        """Of the pixels of an instance's frames."""
        return [self.index.digests[frame].tobytes() for frame in self.instances[instance]]

    def frame(self, number: int) -> Frame:
        """A stored frame, decoded. Raises IntegrityError."""
        with _stored():
            return self.reader.frame(number)

    def encoded(self, numbers: Sequence[int]) -> Iterator[EncodedFrame]:
        """Stored frames as they are, compared with their checksums. Raises IntegrityError."""
        with _stored():
            yield from self.reader.encoded(numbers)


@dataclass(frozen=True, slots=True)
class Growth:
    """A stored series with instances that came later."""

    stack: Stack
    merged: dicom.Merged
    source: SourceSeries
    """The whole series, under the UID that it has; its files are those that came."""

    def frames(self) -> Iterator[Frame | EncodedFrame]:
        """All frames in order: those that are stored as they are, unless they would mean something else now.

        Raises IntegrityError if the stored series is damaged, and what the source's frames raise.
        """
        index, series = self.stack.index, self.source.series
        alike = stays_encoded(index.series, series)
        if not alike or index.decompositions != decompositions_for(series.rows, series.columns):
            yield from self.source.read_frames()
            return
        stored = self.stack.encoded([number for number in self.merged.stored if number is not None])
        for number, known in enumerate(self.merged.stored):
            yield self.merged.frame(number) if known is None else next(stored)


def open_stack(record: SeriesRecord, store: ObjectStore) -> Stack:
    """What the store has of a series. Raises IntegrityError and StorageError."""
    key = record.pack.key
    fetch = store.fetch(key)
    with _stored():
        index = SeriesIndex.from_bytes(fetch(*record.index_span))
        reader = LevelReader(index, fetch, 0, fetch_many=lambda spans: store.read_many(key, spans))
        if record.series.format != "dicom":
            return Stack(record, index, {}, {}, reader)
        attachments = read_attachments(fetch, index)
        return Stack(record, index, attachments, dicom.instance_frames(attachments), reader)


@contextmanager
def _stored() -> Iterator[None]:
    """Says of damage that it is in the archive, not in the file that came."""
    try:
        yield
    except (IntegrityError, NotFoundError) as error:
        reason = f"the series that it belongs to is stored, but damaged: {error}"
        raise IntegrityError(reason) from error


def place(source: SourceSeries, stacks: Sequence[Stack], collection: str) -> SeriesRecord | Growth | Series:
    """The stored series that holds all of the source; or the one that grows by it; or the facts of a new one.

    `stacks` are all that is stored under the source's UID. A series grows in its own `collection` only.
    """
    series = source.series
    if not stacks:
        return series
    if series.format != "dicom":
        return stacks[0].record
    incoming = dicom.instance_frames(source.attachments)
    digests: list[bytes] = []
    if any(incoming.keys() & stack.instances.keys() for stack in stacks):
        digests = [pixel_digest(frame) for frame in source.read_frames()]
    targets: list[tuple[Stack, set[str]]] = []
    conflict = False
    for stack in stacks:
        overlap = incoming.keys() & stack.instances.keys()
        same = {uid for uid in overlap if [digests[frame] for frame in incoming[uid]] == stack.digests(uid)}
        if same == incoming.keys():
            return stack.record
        conflict = conflict or same != overlap
        here = stack.record.collection == collection
        if here and same == overlap and dicom.compatible(stack.record.series, series):
            targets.append((stack, same))
    for stack, same in targets:
        try:
            return _growth(stack, same, source)
        except InvalidRequestError:
            continue  # together they are no stack: a part of a further volume, for example
    series = replace(series, uid=f"{series.uid}{SEPARATOR}{len(stacks) + 1}")
    if conflict:
        note = "Other pixels came under the same SOP Instance UID; both are kept, for a curator to judge."
        series = replace(series, notes=(*series.notes, note))
    return series


def _growth(stack: Stack, same: set[str], source: SourceSeries) -> Growth:
    """Stored and new instances, without the new ones that are stored already. Raises InvalidRequestError."""
    stored = stack.record.series
    merged = dicom.merge(stored, stack.attachments, stack.frame, source, same)
    series = replace(merged.source.series, uid=stored.uid)
    return Growth(stack, merged, replace(merged.source, files=source.files, series=series))
