"""A synchronous HTTP client."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx

from imarium import errors
from imarium.client.multipart import pieces_of
from imarium.client.names import SentPaths
from imarium.errors import ImariumError, IntegrityError, RefusedFileError, StorageError, TransportError
from imarium.model import Selection, Series, Volume
from imarium.pack import LevelReader, SeriesIndex, Span

if TYPE_CHECKING:
    from imarium.manifest import Manifest

_API = "/api/v1"
_TIMEOUT = httpx.Timeout(30.0, read=300.0)
_CHUNK_BYTES = 1 << 20
_RANGES_AT_ONCE = 256
"""As many ranges as a server answers at once."""
_LONGEST_PATH = 3072
"""As many characters of a file's path as a server takes; one that is longer stays here."""


def connect(url: str, token: str | None = None) -> Client:
    """Open a client for a server, for example `connect("http://127.0.0.1:8000")`.

    Raises TransportError if no Imarium answers there.
    """
    client = Client(url, token)
    client.status()
    return client


class Client:
    """One server. Use as a context manager, or call `close()`."""

    def __init__(self, url: str, token: str | None = None, threads: int | None = None) -> None:
        self.url = url.rstrip("/")
        self.threads = threads or os.cpu_count() or 1
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx.Client(base_url=self.url + _API, headers=headers, timeout=_TIMEOUT)
        except (httpx.InvalidURL, ValueError) as error:
            raise TransportError(f"{url!r} is no address of a server: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    # --- looking ------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Version and counts of the server."""
        status = self._json("GET", "/status")
        if "version" not in status:
            raise TransportError(f"{self.url} answers, but is no Imarium server")
        return status

    def collections(self) -> list[dict[str, Any]]:
        """All collections with their counts and sizes."""
        return list(self._json("GET", "/collections")["items"])

    def list_series(
        self, collection: str | None = None, study: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Facts of all series, page by page."""
        offset, query = 0, {"collection": collection, "study": study}
        while True:
            params = {key: value for key, value in query.items() if value is not None}
            page = self._json("GET", "/series", params={**params, "offset": offset, "limit": 500})
            yield from page["items"]
            offset += len(page["items"])
            if not page["items"] or offset >= page["total"]:
                return

    def series(self, uid: str) -> RemoteSeries:
        """One series; raises NotFoundError."""
        return RemoteSeries(self, self.describe(uid))

    def describe(self, uid: str) -> dict[str, Any]:
        """Everything the server tells of a series."""
        return self._json("GET", f"/series/{uid}")

    def manifest(self, selection: Selection | str = "") -> Manifest:
        """A snapshot of a selection: one row a series, with geometry, labels and byte ranges of every level.

        A text is read as `Selection.parse` does; an empty one means every series.
        """
        from imarium.manifest import Manifest  # noqa: PLC0415 - pyarrow takes long to load, few need it

        chosen = Selection.parse(selection) if isinstance(selection, str) else selection
        answer = self._request("POST", "/manifest", params={"format": "arrow"}, json=chosen.to_json())
        return Manifest.read(answer.content)

    # --- bytes --------------------------------------------------------------------------------------

    def read_index(self, uid: str) -> SeriesIndex:
        """The index of a series."""
        return SeriesIndex.from_bytes(self._request("GET", f"/series/{uid}/index").content)

    def read_pack(self, key: str, start: int, stop: int) -> bytes:
        """Bytes start to stop - 1 of a pack, in one request."""
        response = self._request("GET", f"/{key}", headers={"Range": f"bytes={start}-{stop - 1}"})
        if response.status_code != httpx.codes.PARTIAL_CONTENT or len(response.content) != stop - start:
            raise IntegrityError("the server did not answer with the range that was asked for")
        return response.content

    def read_ranges(self, key: str, spans: Sequence[Span]) -> list[bytes]:
        """Bytes of several ranges of a pack, ascending and not empty, in one request up to 256 of them."""
        pieces: list[bytes] = []
        for first in range(0, len(spans), _RANGES_AT_ONCE):
            group = spans[first : first + _RANGES_AT_ONCE]
            if len(group) == 1:
                pieces.append(self.read_pack(key, *group[0]))
                continue
            asked = ",".join(f"{start}-{stop - 1}" for start, stop in group)
            response = self._request("GET", f"/{key}", headers={"Range": f"bytes={asked}"})
            if response.status_code != httpx.codes.PARTIAL_CONTENT:
                raise IntegrityError("the server did not answer with the ranges that were asked for")
            pieces += pieces_of(response.headers.get("content-type", ""), response.content, group)
        return pieces

    def export(
        self,
        uid: str,
        destination: Path,
        *,
        report: Callable[[str], None] | None = None,
        **query: str | int | float | bool | None,
    ) -> Path:
        """Download an export into the folder `destination`, under the server's name for it.

        `query` holds format, and level, size, window, full_range, transfer_syntax or even; `report` takes
        what the server says must be known of the files.
        """
        params = {key: value for key, value in query.items() if value is not None}
        with self._stream("GET", f"/series/{uid}/export", params=params) as response:
            header = response.headers.get("content-disposition", "")
            name = Path(header.partition("filename=")[2].strip('"') or "series").name
            target = destination / name
            for note in _notes(response.headers.get("imarium-notes", "[]")):
                if report is not None:
                    report(note)
            try:
                with target.open("wb") as file:
                    for chunk in response.iter_bytes(_CHUNK_BYTES):
                        file.write(chunk)
            except BaseException:
                target.unlink(missing_ok=True)
                raise
        for note in _late_notes(target):
            if report is not None:
                report(note)
        return target

    # --- changing -----------------------------------------------------------------------------------

    def login(self, username: str, password: str) -> str:
        """Log in; the token is used from now on and returned."""
        answer = self._json("POST", "/login", json={"username": username, "password": password})
        token = str(answer["token"])
        self._http.headers["Authorization"] = f"Bearer {token}"
        return token

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

        `tier` is fast, or archive for images that are rarely read; all series get the `labels`. Files
        that lie in one folder find one another on the server (a header its data), and so do all that lie
        below one of `folders` (a DICOMDIR the files that it names). All go into one upload, and
        none is looked at before the last one is there.

        A file that cannot be read, or that the server does not take, is answered as refused.
        """
        sent_path = SentPaths(folders)
        opened = self._json(
            "POST", "/uploads", json={"collection": collection, "tier": tier, "labels": dict(labels or {})}
        )
        upload = f"/uploads/{opened['id']}"
        try:
            for number, path in enumerate(files):
                place = sent_path(path)
                headers = {"Imarium-Path": place} if len(place) <= _LONGEST_PATH else {}
                try:
                    with path.open("rb") as file:
                        address = f"{upload}/files/{number}"
                        self._request("PUT", address, content=_chunks(file), headers=headers)
                except OSError as error:
                    yield _refused(number, _unreadable(error))
                except (RefusedFileError, StorageError) as error:
                    yield _refused(number, str(error))
            yield from self._lines("POST", f"{upload}/ingest")
        except BaseException:
            with suppress(ImariumError):  # already gone, or the server is; it forgets uploads by itself
                self._request("DELETE", upload)
            raise

    def label(self, changes: Iterable[tuple[Selection, Mapping[str, str | None]]]) -> list[int]:
        """Set labels of all series of each selection, and remove those that are None; others stay.

        All or nothing; returns how many series each selection has.
        """
        items = [{"selection": chosen.to_json(), "labels": dict(labels)} for chosen, labels in changes]
        return [int(count) for count in self._json("POST", "/labels", json={"items": items})["series"]]

    def verify(self) -> Iterator[dict[str, Any]]:
        """Have every pack re-read and checked; yields one answer a series."""
        return self._lines("POST", "/verify")

    # --- wire ---------------------------------------------------------------------------------------

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        response = self._request(method, path, **options)
        try:
            answer: dict[str, Any] = response.json()
        except ValueError as error:
            raise TransportError(f"{self.url} answers, but is no Imarium server") from error
        return answer

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if response.is_error:
            raise _error_of(response)
        return response

    @contextmanager
    def _stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        try:
            with self._http.stream(method, path, **options) as response:
                if response.is_error:
                    response.read()
                    raise _error_of(response)
                yield response
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _lines(self, method: str, path: str) -> Iterator[dict[str, Any]]:
        with self._stream(method, path) as response:
            for line in response.iter_lines():
                yield json.loads(line)

    def _unreachable(self, error: httpx.HTTPError) -> TransportError:
        kind = type(error).__name__
        if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
            return TransportError(
                f"{self.url} broke off before all was sent ({kind}); its log may say why, or try again"
            )
        return TransportError(f"{self.url} cannot be reached ({kind}); is `imarium serve` running there?")


class RemoteSeries:
    """A series on a server. Pixels cross the network only when asked for."""

    def __init__(self, client: Client, description: dict[str, Any]) -> None:
        self._client = client
        self.metadata = description
        """Everything the server tells of the series."""

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

    @cached_property
    def index(self) -> SeriesIndex:
        """Where every part of every frame lies; one small request, the first time."""
        return self._client.read_index(self.uid)

    @property
    def series(self) -> Series:
        """The facts at full resolution."""
        return self.index.series

    def volume(self, level: int = 0) -> Volume:
        """All frames of a level in one array of (slices, rows, columns), stored values.

        Fetches exactly that level's bytes in one request: of one range, or of one a block of frames for
        a series of many. Raises LevelError.
        """
        client, key = self._client, self.metadata["pack"]["key"]
        return LevelReader(
            self.index,
            lambda start, stop: client.read_pack(key, start, stop),
            level,
            client.threads,
            lambda spans: client.read_ranges(key, spans),
        ).volume()

    def __repr__(self) -> str:
        frames, rows, columns = self.shape
        return (
            f"<{self.metadata.get('modality') or 'series'} {frames}x{rows}x{columns}, {self.levels} levels>"
        )


def _error_of(response: httpx.Response) -> ImariumError:
    """The error of our tree that the server's answer stands for."""
    try:
        body = response.json()["error"]
        code, message = str(body["code"]), str(body["message"])
    except (ValueError, KeyError, TypeError):
        return TransportError(f"the server answered {response.status_code}, and no Imarium error")
    for name in dir(errors):
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, ImariumError) and kind.__dict__.get("code") == code:
            return kind(message)
    return TransportError(f"the server answered {response.status_code}: {message}")


def _notes(header: str) -> list[str]:
    """Sentences of a header that the server made; nothing where it is not what it should be."""
    try:
        notes = json.loads(header)
    except ValueError:
        return []
    return [str(note) for note in notes] if isinstance(notes, list) else []


def _late_notes(file: Path) -> list[str]:
    """Sentences that the server had to say when a zip was done: its comment."""
    if file.suffix != ".zip":
        return []
    try:
        with zipfile.ZipFile(file) as archive:
            return _notes(archive.comment.decode("utf-8", "replace"))
    except (zipfile.BadZipFile, OSError):
        return []


def _refused(number: int, reason: str) -> dict[str, Any]:
    """An answer like the server's, for a file that it has not got."""
    return {
        "number": number,
        "status": "refused",
        "series": None,
        "reason": reason,
        "source_bytes": 0,
        "stored_bytes": 0,
    }


def _unreadable(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file does not exist, or disappeared while it was read"
    if isinstance(error, PermissionError):
        return "permission denied; make the file readable and try again"
    return f"the file cannot be read: {error.strerror or type(error).__name__}"


def _chunks(file: Any) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
