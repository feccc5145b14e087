"""The client for those who do not await: the same, run by one event loop in the background."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from imarium.client.administration import Administration
from imarium.client.background import iterate, run
from imarium.client.core import AsyncClient, AsyncSeries, Size, Spacing, selected
from imarium.client.download import Downloaded, Progress
from imarium.client.opening import CacheChoice, client_over, opened
from imarium.client.people import People
from imarium.client.progress import shown_progress
from imarium.client.wire import Wire
from imarium.errors import InvalidRequestError
from imarium.model import Selection, Series, Volume
from imarium.model.series import Frame
from imarium.pack import SeriesIndex

if TYPE_CHECKING:
    from imarium.manifest import Manifest, ManifestRow


def connect(
    url: str,
    token: str | None = None,
    *,
    cache: CacheChoice = None,
    threads: int | None = None,
) -> Client:
    """Open a client for a server, for example `connect("http://127.0.0.1:8000")`.

    `cache` is where bytes that came are kept for the next time, for all processes: None for the folder and
    the size that IMARIUM_CACHE and IMARIUM_CACHE_BYTES say (the platform's cache folder, 10 GiB), False for
    none, or a folder. `threads` decode.

    Raises TransportError if no Imarium answers there, or one of another version of the API.
    """
    client = Client(url, token, threads, cache=cache)
    try:
        run(client._core.listing.status(attempts=1))
    except BaseException:
        client.close()
        raise
    return client


def open(
    place: str | Path,
    *,
    store: str | Path | None = None,
    token: str | None = None,
    cache: CacheChoice = None,
    threads: int | None = None,
    **options: Any,
) -> Client:
    """Open packs without a server, with the interface of `connect`.

    `place` is the home folder of an archive, a folder of objects, the address of a bucket
    (`"s3://bucket/prefix"`), or a manifest's file. `store` says where the packs of a manifest are: a folder,
    a bucket, or a server with its `token`; without it they are at the addresses that the manifest has, or
    beside it. `options` are obstore's for a bucket (region, endpoint, skip_signature, ...). `cache` and
    `threads` are as for `connect`; folders need no cache.

    Packs hold neither collections nor labels; manifests do. What is taken in later shows when the place is
    opened again.

    Raises NotFoundError if there is no such place, and InvalidRequestError if it holds nothing to read.
    """
    return Client.of(run(opened(place, store=store, token=token, cache=cache, threads=threads, **options)))


class Client:
    """A server, or packs without one. Use as a context manager, or call `close()`.

    Safe to use from several threads, and in forks of the process, which make connections of their own.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        threads: int | None = None,
        *,
        cache: CacheChoice = None,
    ) -> None:
        """For a server; `connect` also looks whether it is there, and says what the others are."""
        self._wire: Wire | None = Wire(url, token)
        self._administration: Administration | None = Administration(url, token)
        self._core = client_over(self._wire, cache, threads)

    @classmethod
    def of(cls, core: AsyncClient) -> Self:
        """Around an asynchronous client without a server, which is then this one's alone."""
        client = cls.__new__(cls)
        client._wire, client._administration, client._core = None, None, core
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        run(self._core.close())
        if self._administration is not None:
            self._administration.close()

    @property
    def core(self) -> AsyncClient:
        """The same client for those who await, whose connections are the running event loop's."""
        return self._core

    # --- looking ------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Version and counts."""
        return run(self._core.status())

    def collections(self) -> list[dict[str, Any]]:
        """All collections with their counts and sizes."""
        return run(self._core.collections())

    def list_series(
        self, collection: str | None = None, study: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Facts of all series, page by page."""
        return iterate(self._core.list_series(collection, study))

    def series(self, uid: str) -> RemoteSeries:
        """One series; raises NotFoundError."""
        return RemoteSeries(run(self._core.series(uid)))

    def describe(self, uid: str) -> dict[str, Any]:
        """Everything that is known of a series."""
        return run(self._core.describe(uid))

    def manifest(self, selection: Selection | str | None = None, *, presign: int | None = None) -> Manifest:
        """A snapshot of a selection: "chest modality=CT label.class=covid", or nothing for all series.

        With `presign`, a server whose packs are in a bucket adds addresses that are valid for so many
        seconds; what is read by the manifest then comes from the bucket itself.

        Raises InvalidRequestError, and NotFoundError for a collection that does not exist.
        """
        return run(self._core.manifest(selection, presign=presign))

    def search(
        self, selection: Selection | str | None = None, *, query: str | None = None
    ) -> list[RemoteSeries]:
        """The series of a selection, and of a query if there is one, in the order of their packs.

        A query is what people ask: 'modality:CT age:>60 "ground glass"' (docs/guide/search.md); it needs a
        server. Raises QuerySyntaxError, which says where it cannot be read.
        """
        return [RemoteSeries(core) for core in run(self._core.search(selection, query=query))]

    def find(
        self, query: str = "", *, order: str = "newest", limit: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Facts of the series that meet a query, page by page: for looking, where `search` is for reading.

        `order` is newest, oldest, date, age, size or relevance. Pages do not shift while series arrive.
        """
        return self._server.searches.find(query, order, limit)

    def facets(self, query: str = "", names: Sequence[str] = (), *, most: int = 50) -> dict[str, Any]:
        """How many series meet a query (`total`), and how many of them have which values (`facets`).

        `names` are what is counted: modality, age, label.KEY, a DICOM keyword, ...; at most `most` values.
        """
        return self._server.searches.facets(query, names, most)

    def attributes(self) -> list[dict[str, Any]]:
        """What a query can ask for, with its type."""
        return self._server.searches.attributes()

    def saved(self, name: str) -> Selection:
        """A selection that the user keeps on the server; manifests, downloads and data sets take it."""
        return self._server.searches.get_saved(name)

    def list_saved(self) -> dict[str, Selection]:
        """All selections that the user keeps, by name."""
        return self._server.searches.saved()

    def save(self, name: str, selection: Selection | str) -> Selection:
        """Keep a selection under a name, in place of one that had it."""
        return self._server.searches.save(name, selected(selection))

    def change_saved(self, name: str, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Selection:
        """Put series into the list of a kept selection, and take others out, by UID; made if missing."""
        return self._server.searches.change_saved(name, add, remove)

    def remove_saved(self, name: str) -> None:
        """Forget a selection that the user keeps."""
        self._server.remove_saved(name)

    def series_of(self, manifest: Manifest) -> list[RemoteSeries]:
        """The series of a manifest of this server or store. Asks nothing."""
        return [RemoteSeries(core) for core in self._core.series_of(manifest)]

    def series_at(self, row: ManifestRow) -> RemoteSeries:
        """The series of one row of such a manifest. Asks nothing."""
        return RemoteSeries(self._core.series_at(row))

    def download(
        self,
        selection: Selection | Manifest | str | None,
        dest: str | Path,
        *,
        format: str = "nifti",
        level: int | None = None,
        size: Size | None = None,
        spacing: Spacing | None = None,
        progress: bool | Callable[[Progress], None] = False,
    ) -> list[Downloaded]:
        """Write every series of a selection or of a manifest into the folder `dest`, each as a file named by
        its UID and resolution, or for dicom and png as a folder of files.

        Files appear once they are whole. A second call goes on where the first one ended: finished files
        stay, unless their series has grown, and bytes that came already are in the cache. `progress` is told
        of every series; True shows a bar (the extra `progress`). nifti and npy are written here, from exactly
        the bytes of their level; dicom, png and ome-zarr come from the server.

        A series that cannot be written is told as failed in what is returned, and the others go on. Raises
        InvalidRequestError for what cannot be asked, and TransportError, AuthenticationError or StorageError
        where it is not the series' fault.
        """
        watching = shown_progress() if progress is True else nullcontext(progress or None)
        with watching as report:
            return run(
                self._core.download(
                    selection,
                    dest,
                    format=format,
                    level=level,
                    size=size,
                    spacing=spacing,
                    progress=report,
                )
            )

    # --- having the server do something -----------------------------------------------------------------

    def login(self, username: str, password: str) -> str:
        """Log in; the token is used from now on and returned."""
        token = self._server.login(username, password)
        if self._wire is not None:
            self._wire.token = token
        return token

    def export(
        self,
        uid: str,
        destination: Path,
        *,
        report: Callable[[str], None] | None = None,
        **query: str | int | float | bool | None,
    ) -> Path:
        """Download an export that the server makes into the folder `destination`, under its name for it.

        `query` holds format, and level, size, window, full_range, transfer_syntax or even; `report` takes
        what the server says must be known of the files.
        """
        return self._server.export(uid, destination, report=report, **query)

    def ingest(
        self,
        files: Iterable[Path],
        collection: str,
        tier: str = "fast",
        labels: Mapping[str, str] | None = None,
        *,
        folders: Iterable[Path] = (),
    ) -> Iterator[dict[str, Any]]:
        """Send files and have them taken in; yields one answer a file, its `number` counting `files`.

        `tier` is fast, or archive for images that are rarely read; all series get the `labels`. Files that
        lie in one folder find one another on the server (a header its data), and so do all that lie below
        one of `folders` (a DICOMDIR the files that it names). All go into one upload, and none is looked at
        before the last one is there.

        A file that cannot be read, or that the server does not take, is answered as refused.
        """
        return self._server.ingest(files, collection, tier, labels, folders=folders)

    def label(self, changes: Iterable[tuple[Selection, Mapping[str, str | None]]]) -> list[int]:
        """Set labels of all series of each selection, and remove those that are None; others stay.

        All or nothing; returns how many series each selection has.
        """
        return self._server.label(changes)

    def verify(self) -> Iterator[dict[str, Any]]:
        """Have every pack re-read and checked; yields one answer a series."""
        return self._server.verify()

    @property
    def people(self) -> People:
        """Accounts, tokens, roles, agreements and requests of a server."""
        return People(self._server)

    @property
    def _server(self) -> Administration:
        if self._administration is None:
            raise InvalidRequestError("this needs a server: imarium.connect(url)")
        return self._administration


class RemoteSeries:
    """A series that is read from afar. Pixels cross the network only when they are asked for."""

    def __init__(self, core: AsyncSeries) -> None:
        self._core = core

    @property
    def metadata(self) -> dict[str, Any]:
        """Everything that is known of the series."""
        return self._core.metadata

    @property
    def uid(self) -> str:
        """Identifies the series."""
        return self._core.uid

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frames, rows, columns) at full resolution."""
        return self._core.shape

    @property
    def levels(self) -> int:
        """Number of levels: 0 is the full resolution, levels - 1 the smallest."""
        return self._core.levels

    @property
    def index(self) -> SeriesIndex:
        """Where every part of every frame lies; one small request, the first time."""
        return run(self._core.index())

    @property
    def series(self) -> Series:
        """The facts at full resolution."""
        return self.index.series

    def volume(
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
        return run(self._core.volume(level, size=size, spacing=spacing, upsample=upsample))

    def frames(self, start: int = 0, stop: int | None = None, *, level: int = 0) -> Iterator[Frame]:
        """Frames start to stop - 1 of a level in order, (rows, columns) or (rows, columns, samples) each.

        Memory is bounded; the next frames are fetched while these are decoded. Raises LevelError, and
        InvalidRequestError for frames that do not exist.
        """
        return iterate(self._core.frames(start, stop, level=level))

    def pyramids(self, numbers: Sequence[int]) -> Iterator[list[Frame]]:
        """Some frames in the order of their numbers, each at all of its levels, full resolution first.

        The bytes of a frame are fetched once. Raises InvalidRequestError for frames that do not exist.
        """
        return iterate(self._core.pyramids(numbers))

    def to_nifti(
        self, level: int | None = None, *, size: Size | None = None, spacing: Spacing | None = None
    ) -> Any:
        """A nibabel image, as if loaded from a file: `get_fdata()` gives values in their unit (HU for CT).

        Level, size and spacing as for `volume`. Rows of a DICOM source go from bottom to top, as converters
        usually write them; the affine says so. Raises ExportRefusedError for pictures and plain arrays, which
        do not say where they lie, and InvalidRequestError without nibabel (the extra `nifti`).
        """
        return run(self._core.to_nifti(level, size=size, spacing=spacing))

    def download(
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
        return run(self._core.download(dest, format=format, level=level, size=size, spacing=spacing))

    def __repr__(self) -> str:
        return repr(self._core)
