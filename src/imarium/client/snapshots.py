"""What there is where no server tells: a manifest, or the directories of the packs themselves."""

from __future__ import annotations

import asyncio
import re
import warnings
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imarium.client.origin import together
from imarium.client.reading import checked_index
from imarium.client.stored import StoredPack, StoreOrigin
from imarium.errors import IntegrityError, InvalidRequestError, NotFoundError
from imarium.model import Selection
from imarium.model.geometry import rescale_affine, spacing_of
from imarium.pack import DirectoryEntry, SeriesIndex, Span
from imarium.pack.layout import FOOTER, directory_span, parse_directory
from imarium.version import API_VERSION, VERSION

if TYPE_CHECKING:
    from imarium.manifest import Manifest, ManifestRow

_TAIL_BYTES = 1 << 16
"""Of a pack, in which its footer and most directories are."""
_PACKS_AT_ONCE = 16


def describe_row(row: ManifestRow) -> dict[str, Any]:
    """A series as a server describes it, as far as a manifest knows it."""
    levels = []
    for level in row.levels:
        factor = float(1 << level.level)
        affine = None if row.affine is None else rescale_affine(row.affine, factor, factor)
        levels.append(
            {
                "level": level.level,
                "rows": level.rows,
                "columns": level.columns,
                "spacing": None if affine is None else spacing_of(affine),
                "affine": affine,
                "ranges": [list(span) for span in level.spans],
                "bytes": level.bytes,
            }
        )
    return {
        "uid": row.series,
        "collection": row.collection,
        "study_uid": row.study,
        "subject": row.subject,
        "modality": row.modality,
        "body_part": row.body_part,
        "format": row.format,
        "shape": [row.frames, row.rows, row.columns],
        "dimensions": list(row.dimensions),
        "samples": row.samples,
        "dtype": row.dtype,
        "photometric": row.photometric,
        "levels": len(levels),
        "labels": dict(row.labels),
        "affine": row.affine,
        "spacing": row.spacing,
        "rescale_slope": row.rescale_slope,
        "rescale_intercept": row.rescale_intercept,
        "window_center": row.window_center,
        "window_width": row.window_width,
        "label_map": row.label_map,
        "pack": {"key": row.pack, "size": row.pack_bytes, "index": list(row.index)},
        "level_details": levels,
    }


def meets(row: ManifestRow, selection: Selection) -> bool:
    """Whether a series is one of a selection; raises InvalidRequestError for one with a query."""
    if selection.query is not None:
        raise InvalidRequestError("a query needs a catalog: have a server make the manifest")
    return (
        selection.collection in (None, row.collection)
        and (not selection.series or row.series in selection.series)
        and (not selection.studies or row.study in selection.studies)
        and selection.modality in (None, row.modality)
        and selection.body_part in (None, row.body_part)
        and selection.labels.items() <= row.labels.items()
    )


class ManifestListing:
    """The series of a manifest."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._rows = {row.series: row for row in manifest.rows()}

    async def status(self, attempts: int | None = None) -> dict[str, Any]:  # noqa: ARG002 - nobody is asked
        """Counts."""
        return _status(await self.collections())

    async def collections(self) -> list[dict[str, Any]]:
        """All collections with their counts."""
        return _collections(self._rows.values())

    async def list_series(self, collection: str | None, study: str | None) -> AsyncIterator[dict[str, Any]]:
        """Facts of all series, or of those of a collection or study."""
        for row in self._rows.values():
            if collection in (None, row.collection) and study in (None, row.study):
                yield describe_row(row)

    async def describe(self, uid: str) -> dict[str, Any]:
        """Everything that the manifest knows of a series."""
        if uid not in self._rows:
            raise NotFoundError("no series of the manifest has that UID")
        return describe_row(self._rows[uid])

    async def manifest(self, selection: Selection, presign: int | None = None) -> Manifest:
        """Those of a selection; raises NotFoundError for a collection that does not occur."""
        _nothing_is_signed(presign)
        if selection.collection is not None and all(
            row.collection != selection.collection for row in self._rows.values()
        ):
            raise NotFoundError("no series of the manifest is of that collection")
        return self._manifest.filter(lambda row: meets(row, selection))

    async def close(self) -> None:
        """Nothing stays open."""


def _nothing_is_signed(presign: int | None) -> None:
    if presign is not None:
        raise InvalidRequestError(
            "only a server whose packs are in a bucket signs addresses; leave presign out"
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a series lies."""

    pack: StoredPack
    index: Span


class PackListing:
    """The series of all packs of a store, as their directories name them when it is opened.

    Packs hold neither collections nor labels. Of a series that lies in several packs, since it has grown, the
    one with most frames counts, and of those the newest.
    """

    def __init__(self, origin: StoreOrigin, places: Mapping[str, _Place]) -> None:
        """Made by `of`."""
        self._origin = origin
        self._places = dict(places)
        self._rows: dict[str, ManifestRow] = {}

    @classmethod
    async def of(cls, origin: StoreOrigin) -> PackListing:
        """Read the directories of all packs, several at the same time. Raises StorageError; a pack that is
        damaged is left out, with a warning."""
        turns = asyncio.Semaphore(_PACKS_AT_ONCE)

        async def entries(pack: StoredPack) -> list[tuple[str, _Place]]:
            async with turns:
                try:
                    found = await _directory(origin, pack)
                except (IntegrityError, NotFoundError) as error:
                    name = pack.key.rpartition("/")[2]
                    warnings.warn(f"the pack {name} is left out: {error}", stacklevel=2)
                    return []
            return [(entry.uid, _Place(pack, entry.index)) for entry in found]

        packs = [pack async for pack in origin.packs()]
        several: dict[str, list[_Place]] = {}
        for entry in await together(entries(pack) for pack in packs):
            for uid, place in entry:
                several.setdefault(uid, []).append(place)
        places = {uid: found[0] for uid, found in several.items() if len(found) == 1}
        for uid, found in several.items():
            if len(found) > 1:
                frames = [(await _index(origin, place)).series.frames for place in found]
                best = max(range(len(found)), key=lambda n: (frames[n], found[n].pack.modified))
                places[uid] = found[best]
        return cls(origin, places)

    async def status(self, attempts: int | None = None) -> dict[str, Any]:  # noqa: ARG002 - nobody is asked
        """Counts."""
        return {"version": VERSION, "api": API_VERSION, "collections": 0, "series": len(self._places)}

    async def collections(self) -> list[dict[str, Any]]:
        """None: packs do not say where they belong."""
        return []

    async def list_series(self, collection: str | None, study: str | None) -> AsyncIterator[dict[str, Any]]:
        """Facts of all series, or of those of a study."""
        selection = Selection(collection=collection, studies=() if study is None else (study,))
        for row in (await self.manifest(selection)).rows():
            yield describe_row(row)

    async def describe(self, uid: str) -> dict[str, Any]:
        """Everything that its index tells of a series."""
        if uid not in self._places:
            raise NotFoundError("no series of the store has that UID")
        (row,) = await self._read([uid])
        return describe_row(row)

    async def manifest(self, selection: Selection, presign: int | None = None) -> Manifest:
        """Those of a selection, which reads the indexes of all series the first time."""
        from imarium.manifest import Manifest  # noqa: PLC0415 - pyarrow takes long to load

        _nothing_is_signed(presign)
        if selection.collection is not None or selection.labels:
            raise InvalidRequestError(
                "packs hold no collections and no labels: choose by series, study, modality or body_part, or "
                "have a server make the manifest"
            )
        wanted = [uid for uid in selection.series or self._places if uid in self._places]
        rows = [row for row in await self._read(wanted) if meets(row, selection)]
        return Manifest.of(sorted(rows, key=lambda row: (row.pack, row.index)), selection)

    async def _read(self, uids: Iterable[str]) -> list[ManifestRow]:
        uids = list(uids)
        packs: dict[StoredPack, list[str]] = {}
        for uid in uids:
            if uid not in self._rows:
                packs.setdefault(self._places[uid].pack, []).append(uid)
        turns = asyncio.Semaphore(_PACKS_AT_ONCE)

        async def read(pack: StoredPack, members: list[str]) -> None:
            async with turns:
                spans = [self._places[uid].index for uid in members]
                contents = await self._origin.read(pack.key, spans)
                for uid, span, content in zip(members, spans, contents, strict=True):
                    index = await checked_index(self._origin, pack.key, span, content)
                    self._rows[uid] = row_of(index, pack, span)

        await together(read(pack, members) for pack, members in packs.items())
        return [self._rows[uid] for uid in uids]

    async def close(self) -> None:
        """Nothing stays open."""


async def _directory(origin: StoreOrigin, pack: StoredPack) -> list[DirectoryEntry]:
    begin = max(0, pack.size - _TAIL_BYTES)
    (tail,) = await origin.read(pack.key, [(begin, pack.size)])
    (start, stop), checksum = directory_span(tail[-FOOTER.size :], pack.size)
    if start >= begin:
        return parse_directory(tail[start - begin : stop - begin], checksum)
    (content,) = await origin.read(pack.key, [(start, stop)])
    return parse_directory(content, checksum)


async def _index(origin: StoreOrigin, place: _Place) -> SeriesIndex:
    (content,) = await origin.read(place.pack.key, [place.index])
    return await checked_index(origin, place.pack.key, place.index, content)


def row_of(index: SeriesIndex, pack: StoredPack, span: Span) -> ManifestRow:
    """A manifest's row of a series out of its index; collection and labels are not in it."""
    from imarium.manifest import ManifestRow  # noqa: PLC0415 - see above

    digest = re.search(r"([0-9a-f]{64})\.imp$", pack.key)
    return ManifestRow.of(
        index.series,
        [index.spans(level) for level in range(index.levels)],
        pack=pack.key,
        pack_bytes=pack.size,
        pack_digest=digest[1] if digest else "",
        index=span,
    )


def _collections(rows: Iterable[ManifestRow]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    studies: dict[str, set[str]] = {}
    for row in rows:
        item = found.setdefault(row.collection, {"name": row.collection, "series": 0, "stored_bytes": 0})
        item["series"] += 1
        item["stored_bytes"] += row.levels[0].bytes
        studies.setdefault(row.collection, set()).add(row.study)
    return [item | {"studies": len(studies[name])} for name, item in sorted(found.items())]


def _status(collections: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "version": VERSION,
        "api": API_VERSION,
        "collections": len(collections),
        "series": sum(item["series"] for item in collections),
    }
