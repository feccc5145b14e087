"""What changes a server: logging in, sending files, having everything checked, exports."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from imarium.client.listing import export_name
from imarium.client.names import SentPaths
from imarium.client.searching import Searches, address_of
from imarium.client.wire import API, TIMEOUT, check_address, error_of, parsed, unreachable
from imarium.errors import ImariumError, RefusedFileError, StorageError
from imarium.model import Selection

_CHUNK_BYTES = 1 << 20
_LONGEST_PATH = 3072
"""As many characters of a file's path as a server takes; one that is longer stays here."""


class Administration:
    """What changes a server, or has it work for long: by plain requests, of which none is repeated."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """Raises TransportError for what is no address of a server."""
        check_address(url)
        self.url, self._token = url.rstrip("/"), token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=self.url + API, headers=headers, timeout=TIMEOUT)
        self.searches = Searches(self._json)

    def __reduce__(self) -> tuple[Any, ...]:
        return Administration, (self.url, self._token)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def login(self, username: str, password: str) -> str:
        """Log in; the token is used from now on and returned."""
        answer = self._json("POST", "/login", json={"username": username, "password": password})
        self._token = token = str(answer["token"])
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

        `tier` is fast, or archive for images that are rarely read; all series get the `labels`. Files that
        lie in one folder find one another on the server (a header its data), and so do all that lie below
        one of `folders` (a DICOMDIR the files that it names). All go into one upload, and none is looked at
        before the last one is there.

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

    def remove_saved(self, name: str) -> None:
        """Forget a selection that the user keeps."""
        self._request("DELETE", address_of(name))

    def verify(self) -> Iterator[dict[str, Any]]:
        """Have every pack re-read and checked; yields one answer a series."""
        return self._lines("POST", "/verify")

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
            target = destination / export_name(response.headers.get("content-disposition", ""))
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

    def call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The answer to a request of the API, nothing where there is none; raises the server's error."""
        response = self._request(method, path, **options)
        return parsed(self.url, response) if response.content else {}

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return parsed(self.url, self._request(method, path, **options))

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error
        if response.is_error:
            raise error_of(response)
        return response

    @contextmanager
    def _stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        try:
            with self._http.stream(method, path, **options) as response:
                if response.is_error:
                    response.read()
                    raise error_of(response)
                yield response
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error

    def _lines(self, method: str, path: str) -> Iterator[dict[str, Any]]:
        with self._stream(method, path) as response:
            for line in response.iter_lines():
                yield json.loads(line)


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
