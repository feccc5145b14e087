"""The client: what there is, and pixels of it at any resolution. Asynchronous: `sync` is without await."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from imarium.client.download import Downloaded, Exports, Form, Progress, save, save_all, to_nifti
from imarium.client.listing import Listing
from imarium.client.origin import Origin, pieces_of_levels
from imarium.client.reading import checked_index, read_frames, read_pyramids, read_volume
from imarium.client.snapshots import describe_row
from imarium.codec import resample_stack
from imarium.errors import InvalidRequestError, LevelError, TransportError
from imarium.model import Selection, Series, Volume, level_shape
from imarium.model.series import Frame
from imarium.model.sizes import grid_of_spacing, parse_size
from imarium.pack import Held, SeriesIndex, Span

if TYPE_CHECKING:
    from imarium.manifest import Manifest, ManifestRow

Size = int | str | tuple[int, int]
Spacing = float | tuple[float | None, float | None, float | None]


class AsyncClient:
    """A server, or packs without one. Use as an async context manager, or call `close()`."""

    def __init__(
        self,
        listing: Listing,
        origin: Origin,
        threads: int | None = None,
        exports: Exports | None = None,
    ) -> None:
        """`threads` decode; all processors if it is not given. `exports` writes what the client cannot."""
        self.listing, self.origin, self.exports = listing, origin, exports
        self.threads = threads or os.cpu_count() or 1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self.origin.close()
        await self.listing.close()

    async def status(self) -> dict[str, Any]:
        """Version and counts."""
        return await self.listing.status()

    async def collections(self) -> list[dict[str, Any]]:
        """All collections with their counts and sizes."""
        return await self.listing.collections()

    def list_series(
        self, collection: str | None = None, study: str | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Facts of all series."""
        return self.listing.list_series(collection, study)

    async def series(self, uid: str) -> AsyncSeries:
        """One series; raises NotFoundError."""
        return AsyncSeries(self, await self.describe(uid))

    async def describe(self, uid: str) -> dict[str, Any]:
        """Everything that is known of a series."""
        return await self.listing.describe(uid)

    async def manifest(
        self, selection: Selection | str | None = None, *, presign: int | None = None
    ) -> Manifest:
        """A snapshot of a selection: "chest modality=CT label.class=covid", or nothing for all series.

        With `presign`, a server whose packs are in a bucket adds addresses that are valid for so many
        seconds; what is read by the manifest then comes from the bucket itself.

        Raises InvalidRequestError, and NotFoundError for a collection that does not exist.
        """
        return await self.listing.manifest(selected(selection), presign)

    async def search(
        self, selection: Selection | str | None = None, *, query: str | None = None
    ) -> list[AsyncSeries]:
        """The series of a selection, and of a query if there is one, in the order of their packs.

        Raises QuerySyntaxError, which says where the query cannot be read.
        """
        chosen = selected(selection)
        return self.series_of(await self.manifest(chosen if query is None else replace(chosen, query=query)))

    def know(self, manifest: Manifest) -> None:
        """Read packs from the addresses that a manifest has for them, as long as those answer."""
        for pack, url in zip(
            manifest.table["pack"].to_pylist(), manifest.table["url"].to_pylist(), strict=True
        ):
            if url is not None:
                self.origin.know(pack, url)

    def series_of(self, manifest: Manifest) -> list[AsyncSeries]:
        """The series of a manifest of this server or store. Asks nothing."""
        return [self.series_at(row) for row in manifest.rows()]

    def series_at(self, row: ManifestRow) -> AsyncSeries:
        """The series of one row of such a manifest. Asks nothing."""
        if row.url is not None:
            self.origin.know(row.pack, row.url)
        return AsyncSeries(self, describe_row(row))

    async def download(
        self,
        selection: Selection | Manifest | str | None,
        dest: str | Path,
        *,
        format: str = "nifti",
        level: int | None = None,
        size: Size | None = None,
        spacing: Spacing | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> list[Downloaded]:
        """Write every series of a selection or of a manifest into the folder `dest`, each as a file named by
        its UID and resolution, or for dicom and png as a folder of files.

        Files appear once they are whole. A second call goes on where the first one ended: finished files
        stay, unless their series has grown, and bytes that came already are in the cache. `progress` is told
        of every series. nifti and npy are written here, from exactly the bytes of their level; dicom, png
        and ome-zarr come from the server.

        A series that cannot be written is told as failed in what is returned, and the others go on. Raises
        InvalidRequestError for what cannot be asked, and TransportError, AuthenticationError or StorageError
        where it is not the series' fault.
        """
        form = Form(format, level, size, spacing)
        if selection is None or isinstance(selection, Selection | str):
            selection = await self.manifest(selection)
        return await save_all(self.series_of(selection), self.exports, Path(dest), form, progress)


class AsyncSeries:
    """A series that is read from afar. Pixels cross the network only when they are asked for."""

    def __init__(self, client: AsyncClient, description: dict[str, Any]) -> None:
        self._client = client
        self.metadata = description
        """Everything that is known of the series."""
        self._index: SeriesIndex | None = None

    @property
    def uid(self) -> str:
        """Identifies the series."""
        return str(self.metadata["uid"])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frames, rows, columns) at full resolution."""
        frames, rows, columns = self.metadata["shape"]
        return frames, rows, columns

    @property
    def levels(self) -> int:
        """Number of levels: 0 is the full resolution, levels - 1 the smallest."""
        return int(self.metadata["levels"])

    @property
    def pack(self) -> str:
        """Key of the pack that holds the series."""
        return str(self.metadata["pack"]["key"])

    def pixel_bytes(self, level: int = 0) -> int:
        """Bytes of a level's pixels in memory; those of the smallest for a level that does not exist."""
        frames, rows, columns = self.shape
        facts = self.metadata
        at_level = level_shape(rows, columns, max(0, min(level, self.levels - 1)))
        item: int = np.dtype(facts["dtype"]).itemsize
        return frames * math.prod(at_level) * int(facts["samples"]) * item

    async def index(self) -> SeriesIndex:
        """Where every part of every frame lies; one small request, the first time."""
        if self._index is None:
            (content,) = await self._client.origin.read(self.pack, [self._index_span])
            await self._take_index(content)
        assert self._index is not None
        return self._index

    async def volume(
        self,
        level: int | None = None,
        *,
        size: Size | None = None,
        spacing: Spacing | None = None,
        upsample: bool = False,
    ) -> Volume:
        """All frames in one array of (slices, rows, columns), stored values: a level, or resampled.

        Give one of three; nothing means level 0. `level` is exact, and 0 the full resolution. `size` is the
        shorter side in pixels (224 or "224"), or (rows, columns), or "192x256". `spacing` is in mm: (slice,
        row, column), None for what stays as it is, or one number for all; the volume's voxels are the nearest
        that fill the same extent, which `volume.spacing` tells exactly. Both come from the smallest level
        that is fine enough, by linear interpolation with antialiasing, and for label maps from the nearest
        voxels.

        Fetches exactly that level's bytes, in one request or, for a large level, a few at the same time.
        Raises LevelError for what the series does not have: levels beyond its own, and more than the full
        resolution unless `upsample`.
        """
        if size is None and spacing is None:
            return await self._level(level or 0)
        if (level is not None) + (size is not None) + (spacing is not None) > 1:
            raise InvalidRequestError("ask for a level, for a size or for a spacing, not for several of them")
        index = await self.index()
        target = target_of(index.series, size, spacing, upsample=upsample)
        volume = await self._level(level_for(index, target))
        return await asyncio.to_thread(fitted, volume, target, self._client.threads)

    async def _level(self, level: int) -> Volume:
        client = self._client
        held = None
        if self._index is None:
            held = await self._read_with_index(level)
        return await read_volume(client.origin, self.pack, await self.index(), level, client.threads, held)

    async def _read_with_index(self, level: int) -> Held | None:
        """A level's bytes and the index in one go."""
        levels = [
            [(start, stop) for start, stop in item["ranges"]] for item in self.metadata["level_details"]
        ]
        check_level(level, len(levels))
        pieces = pieces_of_levels(levels, level)
        content, *found = await self._client.origin.read(self.pack, [self._index_span, *pieces])
        await self._take_index(content)
        return Held(pieces, found)

    async def frames(
        self, start: int = 0, stop: int | None = None, *, level: int = 0
    ) -> AsyncIterator[Frame]:
        """Frames start to stop - 1 of a level in order, (rows, columns) or (rows, columns, samples) each.

        Memory is bounded; the next frames are fetched while these are decoded. Raises LevelError, and
        InvalidRequestError for frames that do not exist.
        """
        index = await self.index()
        stop = index.series.frames if stop is None else stop
        index.spans(level, start, stop)  # raises what is to be raised
        client = self._client
        async for frame in read_frames(client.origin, self.pack, index, level, start, stop, client.threads):
            yield frame

    async def pyramids(self, numbers: Sequence[int]) -> AsyncIterator[list[Frame]]:
        """Some frames in the order of their numbers, each at all of its levels, full resolution first.

        The bytes of a frame are fetched once. Raises InvalidRequestError for frames that do not exist.
        """
        index = await self.index()
        async for levels in read_pyramids(self._client.origin, self.pack, index, numbers):
            yield levels

    async def to_nifti(
        self, level: int | None = None, *, size: Size | None = None, spacing: Spacing | None = None
    ) -> Any:
        """A nibabel image, as if loaded from a file: `get_fdata()` gives values in their unit (HU for CT).

        Level, size and spacing as for `volume`. Rows of a DICOM source go from bottom to top, as converters
        usually write them; the affine says so. Raises ExportRefusedError for pictures and plain arrays, which
        do not say where they lie, and InvalidRequestError without nibabel (the extra `nifti`).
        """
        return await to_nifti(self, Form("nifti", level, size, spacing))

    async def download(
        self,
        dest: str | Path,
        *,
        format: str = "nifti",
        level: int | None = None,
        size: Size | None = None,
        spacing: Spacing | None = None,
    ) -> Path:
        """Write the series to a file, or for dicom and png to a folder, which appears once it is whole.

        `dest` is its name, or a folder that exists, where it is named by UID and resolution. Level, size and
        spacing as for `volume`. Raises ExportRefusedError, LevelError, InvalidRequestError, StorageError, and
        what reading raises.
        """
        form = Form(format, level, size, spacing)
        target = Path(dest)
        if target.is_dir():
            target /= form.name(self.uid)
        return await save(self, self._client.exports, target, form)

    @property
    def _index_span(self) -> Span:
        span = self.metadata["pack"].get("index")
        if span is None:
            raise TransportError("the server is of a version that does not say where indexes lie; update it")
        start, stop = span
        return start, stop

    async def _take_index(self, content: bytes) -> None:
        self._index = await checked_index(self._client.origin, self.pack, self._index_span, content)

    def __repr__(self) -> str:
        return described(self.metadata)


def selected(selection: Selection | str | None) -> Selection:
    """A selection out of what people give; raises InvalidRequestError."""
    if isinstance(selection, Selection):
        return selection
    return Selection.parse(selection or "")


def described(metadata: dict[str, Any]) -> str:
    """A series in a few words."""
    shape = "x".join(str(side) for side in metadata["shape"])
    return f"<{metadata.get('modality') or 'series'} {shape}, {metadata['levels']} levels>"


def check_level(level: int, levels: int) -> None:
    """Raises LevelError if there is no such level."""
    if not 0 <= level < levels:
        raise LevelError(f"level {level} does not exist: this series has levels 0 (full) to {levels - 1}")


def target_of(series: Series, size: Size | None, spacing: Spacing | None, *, upsample: bool) -> Series:
    """The facts of a series at a size or a spacing; raises LevelError and InvalidRequestError."""
    if spacing is not None:
        slices, rows, columns = grid_of_spacing(spacing, series, upsample=upsample)
        return series.at_slices(slices).at_size(rows, columns)
    text = "x".join(str(side) for side in size) if isinstance(size, tuple) else str(size)
    rows, columns = parse_size(text, series, upsample=upsample)
    if (rows > series.rows or columns > series.columns) and not upsample:
        raise LevelError(
            f"{rows}x{columns} is larger than the full resolution, {series.rows}x{series.columns}; ask for "
            "at most that, or with upsample=True"
        )
    return series.at_size(rows, columns)


def level_for(index: SeriesIndex, target: Series) -> int:
    """The smallest level that is large enough for a target; 0 if none is."""
    full = index.series
    return index.level_for_size(min(target.rows, full.rows), min(target.columns, full.columns))


def fitted(volume: Volume, target: Series, threads: int) -> Volume:
    """A level's volume resampled to a target's grid."""
    series = volume.series
    assert series is not None
    if series.volume_shape == target.volume_shape:
        return volume
    stacks = np.asarray(volume).reshape(-1, series.dimensions[-1], *series.frame_shape)
    made = [
        resample_stack(
            stack,
            target.dimensions[-1],
            target.rows,
            target.columns,
            nearest=target.label_map,
            threads=threads,
        )
        for stack in stacks
    ]
    return Volume.wrap(np.stack(made).reshape(target.volume_shape), target)
