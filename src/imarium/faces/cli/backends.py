"""Where commands act: on a home folder in this process, or on a server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from imarium.archive import Archive
from imarium.client import Client
from imarium.client.download import Downloaded, Form, Progress
from imarium.codec import Tier
from imarium.errors import InvalidRequestError, StorageError
from imarium.faces.cli.local import client_of
from imarium.faces.cli.paths import config_folder
from imarium.faces.cli.search_backends import LocalSearch, RemoteSearch, SearchBackend
from imarium.faces.cli.sending import folders_of, to_send
from imarium.formats.base import Refusal
from imarium.formats.delivery import deliver, download_name, resolve, scatter
from imarium.ingest import Observer, Outcome, Status
from imarium.ingest.scan import unreadable
from imarium.model import Selection
from imarium.streaming import VerifyOutcome, describe, describe_fully, parse_window

if TYPE_CHECKING:
    from imarium.manifest import Format, Manifest

Changes = Sequence[tuple[Selection, Mapping[str, str | None]]]
"""Labels to set, and with None to remove, on the series of selections."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What `imarium get` asks for."""

    uid: str
    format_name: str
    level: int | None
    size: str | None
    window: str | None
    full_range: bool
    transfer_syntax: str | None = None
    even: bool = False


@dataclass(frozen=True, slots=True)
class WrittenManifest:
    """What `imarium manifest` wrote."""

    series: int
    digest: str


class Backend(Protocol):
    """What every command needs, wherever it acts."""

    def ingest(
        self,
        paths: list[Path],
        collection: str,
        observer: Observer,
        tier: Tier,
        labels: Mapping[str, str],
    ) -> Iterator[Outcome]:
        """Take files in."""

    def label(self, changes: Changes) -> list[int]:
        """Set and remove labels; returns how many series each selection has."""

    def manifest(self, selection: Selection, path: Path, presign: int | None) -> WrittenManifest:
        """Write what a selection holds as a table."""

    def reading(self, selection: Selection) -> AbstractContextManager[tuple[Manifest, Client]]:
        """A snapshot of a selection, and a client that reads its series."""

    def download(
        self, selection: Selection, dest: Path, form: Form, report: Callable[[Progress], None]
    ) -> list[Downloaded]:
        """Write every series of a selection into a folder; what is finished there stays."""

    def collections(self) -> list[str]:
        """Names of all collections."""

    def list_series(self, collection: str | None) -> Iterator[dict[str, Any]]:
        """Facts of all series."""

    def show(self, uid: str) -> dict[str, Any]:
        """Everything of one series."""

    def export(self, request: ExportRequest, output: str | None, report: Callable[[str], None]) -> list[Path]:
        """Write an export to where `output`, as it was typed, says; returns the files.

        `report` takes what must be known of them.
        """

    def verify(self) -> Iterator[VerifyOutcome]:
        """Check everything that is stored."""

    @property
    def search(self) -> SearchBackend:
        """Searches, and selections that are kept."""


class LocalBackend:
    """A home folder, opened in this process."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.search: SearchBackend = LocalSearch(archive)

    @property
    def archive(self) -> Archive:
        """The archive itself."""
        return self._archive

    def ingest(
        self,
        paths: list[Path],
        collection: str,
        observer: Observer,
        tier: Tier,
        labels: Mapping[str, str],
    ) -> Iterator[Outcome]:
        """Take files in."""
        return self._archive.ingest.run(
            paths, collection=collection, observer=observer, tier=tier, labels=labels
        )

    def label(self, changes: Changes) -> list[int]:
        """Set and remove labels."""
        return self._archive.catalog.label(changes)

    def manifest(self, selection: Selection, path: Path, presign: int | None) -> WrittenManifest:
        """Write a manifest."""
        kind = manifest_format(path)
        with self._archive.manifests.draft(selection, presign) as draft:
            draft.write(path, kind)
            return WrittenManifest(draft.series, draft.digest)

    @contextmanager
    def reading(self, selection: Selection) -> Iterator[tuple[Manifest, Client]]:
        """A snapshot, and a client straight over the objects."""
        with client_of(self._archive, selection) as client:
            yield client.manifest(), client

    def download(
        self, selection: Selection, dest: Path, form: Form, report: Callable[[Progress], None]
    ) -> list[Downloaded]:
        """Read the packs as the client does."""
        with client_of(self._archive, selection) as client:
            return _downloaded(client, None, dest, form, report)

    def collections(self) -> list[str]:
        """Names of all collections."""
        return [record.name for record in self._archive.catalog.collections()]

    def list_series(self, collection: str | None) -> Iterator[dict[str, Any]]:
        """Facts of all series."""
        records, _ = self._archive.catalog.series(collection=collection)
        return (describe(record) for record in records)

    def show(self, uid: str) -> dict[str, Any]:
        """Everything of one series."""
        record = self._archive.catalog.get_series(uid)
        streaming = self._archive.streaming
        return describe_fully(record, streaming.level_details(record), streaming.exports(record))

    def export(self, request: ExportRequest, output: str | None, report: Callable[[str], None]) -> list[Path]:
        """Write an export."""

        def made(draft: Path) -> list[Path]:
            return self._archive.streaming.export(
                request.uid,
                request.format_name,
                draft,
                level=request.level,
                size=request.size,
                window=None if request.window is None else parse_window(request.window),
                full_range=request.full_range,
                transfer_syntax=request.transfer_syntax,
                even=request.even,
                report=report,
            )

        return _delivered(request.format_name, output, made)

    def verify(self) -> Iterator[VerifyOutcome]:
        """Check everything that is stored."""
        return self._archive.streaming.verify()


class RemoteBackend:
    """A server."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.search: SearchBackend = RemoteSearch(client)

    @property
    def client(self) -> Client:
        """The client itself."""
        return self._client

    def ingest(
        self,
        paths: list[Path],
        collection: str,
        observer: Observer,
        tier: Tier,
        labels: Mapping[str, str],
    ) -> Iterator[Outcome]:
        """Send files and have them taken in."""
        files: list[tuple[Path, int]] = []
        for found in to_send(paths):
            if isinstance(found, Refusal):
                yield Outcome(found.path, Status.REFUSED, reason=str(found.error))
                continue
            try:
                files.append((found, found.stat().st_size))
            except OSError as error:
                yield Outcome(found, Status.REFUSED, reason=str(unreadable(error)))
        observer.found(len(files), sum(size for _, size in files))

        def sent() -> Iterator[Path]:
            for path, size in files:
                yield path
                observer.advanced(size)

        if not files:
            return
        for answer in self._client.ingest(sent(), collection, tier, labels, folders=folders_of(paths)):
            yield Outcome(
                files[answer["number"]][0],
                Status(answer["status"]),
                answer["series"],
                answer["reason"],
                answer["source_bytes"],
                answer["stored_bytes"],
            )

    def label(self, changes: Changes) -> list[int]:
        """Have the server set and remove labels."""
        return self._client.label(changes)

    def manifest(self, selection: Selection, path: Path, presign: int | None) -> WrittenManifest:
        """Fetch a manifest and write it."""
        manifest = self._client.manifest(selection, presign=presign)
        manifest.write(path)
        return WrittenManifest(len(manifest), manifest.digest)

    @contextmanager
    def reading(self, selection: Selection) -> Iterator[tuple[Manifest, Client]]:
        """A snapshot, and the client of the server."""
        yield self._client.manifest(selection), self._client

    def download(
        self, selection: Selection, dest: Path, form: Form, report: Callable[[Progress], None]
    ) -> list[Downloaded]:
        """Stream from the server."""
        return _downloaded(self._client, selection, dest, form, report)

    def collections(self) -> list[str]:
        """Names of all collections."""
        return [item["name"] for item in self._client.collections()]

    def list_series(self, collection: str | None) -> Iterator[dict[str, Any]]:
        """Facts of all series."""
        return self._client.list_series(collection)

    def show(self, uid: str) -> dict[str, Any]:
        """Everything of one series."""
        return self._client.describe(uid)

    def export(self, request: ExportRequest, output: str | None, report: Callable[[str], None]) -> list[Path]:
        """Download an export; a zip of several files is unpacked."""

        def made(draft: Path) -> list[Path]:
            if draft.suffix == ".hdr":
                raise InvalidRequestError("a server sends one file; ask for .nii or .nii.gz")
            file = self._client.export(
                request.uid,
                draft.parent,
                format=request.format_name,
                level=request.level,
                size=request.size,
                window=request.window,
                full_range=request.full_range or None,
                transfer_syntax=request.transfer_syntax,
                even=request.even or None,
                report=report,
                compress=draft.name.endswith(".gz") if request.format_name == "nifti" else None,
            )
            return scatter(file)

        return _delivered(request.format_name, output, made)

    def verify(self) -> Iterator[VerifyOutcome]:
        """Have the server check everything."""
        for line in self._client.verify():
            yield VerifyOutcome(line["series"], line["frames"], line["error"])


def _downloaded(
    client: Client,
    selection: Selection | None,
    dest: Path,
    form: Form,
    report: Callable[[Progress], None],
) -> list[Downloaded]:
    return client.download(
        selection,
        dest,
        format=form.format_name,
        level=form.level,
        size=form.size,
        spacing=form.spacing,
        progress=report,
    )


def _delivered(format_name: str, output: str | None, make: Callable[[Path], list[Path]]) -> list[Path]:
    """What `make` writes at a draft's path, moved to where `output` says once it is whole."""
    target = resolve(output, format_name)
    nearest = next(folder for folder in target.absolute().parents if folder.is_dir())
    try:
        with TemporaryDirectory(prefix=".imarium-", dir=nearest) as folder:
            compress = target.name.lower().endswith(".gz")
            draft = Path(folder) / download_name(format_name, compress=compress)
            if target.name.lower().endswith(".hdr"):
                draft = draft.with_suffix(".hdr")
            return deliver(make(draft), output, format_name)
    except OSError as error:
        raise StorageError(f"the export cannot be written: {error.strerror}") from error


def manifest_format(path: Path) -> Format:
    """How a manifest is written to a file of that name; raises InvalidRequestError."""
    from imarium.manifest import Format  # noqa: PLC0415 - pyarrow takes long to load, few commands need it

    return Format.of(path)


def saved_token(url: str) -> str | None:
    """The token of `IMARIUM_TOKEN`, or the one that `imarium login` kept for a server."""
    if os.environ.get("IMARIUM_TOKEN"):
        return os.environ["IMARIUM_TOKEN"]
    with suppress(OSError, ValueError):
        tokens = json.loads((config_folder() / "tokens.json").read_text())
        return str(tokens[url.rstrip("/")]) if url.rstrip("/") in tokens else None
    return None


def save_token(url: str, token: str) -> Path:
    """Keep a token where only this user can read it."""
    path = config_folder() / "tokens.json"
    tokens: dict[str, str] = {}
    with suppress(OSError, ValueError):
        tokens = json.loads(path.read_text())
    tokens[url.rstrip("/")] = token
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(tokens, file)
    except OSError as error:
        raise StorageError(f"the token cannot be kept: {error.strerror}") from error
    return path
