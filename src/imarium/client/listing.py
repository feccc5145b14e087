"""What there is: series and where they lie, as a server or the packs themselves tell it."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from imarium.client.wire import PassingError, Wire
from imarium.errors import IntegrityError, TransportError
from imarium.model import Selection
from imarium.version import API_VERSION, VERSION

if TYPE_CHECKING:
    from imarium.manifest import Manifest

_CHUNK_BYTES = 1 << 20
_PAGE = 500


class Listing(Protocol):
    """Tells what can be read. Descriptions are JSON-able and name the pack, the index and every level."""

    async def status(self, attempts: int | None = None) -> dict[str, Any]:
        """Version and counts; `attempts` at a server that may be away, as often as at anything if None."""

    async def collections(self) -> list[dict[str, Any]]:
        """All collections."""

    def list_series(self, collection: str | None, study: str | None) -> AsyncIterator[dict[str, Any]]:
        """Facts of all series, or of those of a collection or study."""

    async def describe(self, uid: str) -> dict[str, Any]:
        """Everything that is known of a series; raises NotFoundError."""

    async def manifest(self, selection: Selection, presign: int | None = None) -> Manifest:
        """A snapshot of a selection, with addresses that are valid for `presign` seconds.

        Raises NotFoundError for a collection that does not exist, and InvalidRequestError where nothing is
        signed."""

    async def close(self) -> None:
        """Release connections."""


class ServerListing:
    """A server's catalog."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def status(self, attempts: int | None = None) -> dict[str, Any]:
        """Version and counts. Raises TransportError if no Imarium answers, or one that speaks another
        language."""
        status = await self._wire.json("GET", "/status", attempts=attempts)
        if "version" not in status:
            raise TransportError(f"{self._wire.url} answers, but is no Imarium server")
        spoken = status.get("api", 1)
        if spoken != API_VERSION:
            older = "the server" if isinstance(spoken, int) and spoken < API_VERSION else "this package"
            raise TransportError(
                f"{self._wire.url} is Imarium {status['version']} with version {spoken} of the API, and this "
                f"package {VERSION} speaks version {API_VERSION}; bring {older} up to date"
            )
        return status

    async def collections(self) -> list[dict[str, Any]]:
        """All collections with their counts and sizes."""
        return list((await self._wire.json("GET", "/collections"))["items"])

    async def list_series(self, collection: str | None, study: str | None) -> AsyncIterator[dict[str, Any]]:
        """Facts of all series, page by page."""
        offset, query = 0, {"collection": collection, "study": study}
        given = {key: value for key, value in query.items() if value is not None}
        while True:
            params = {**given, "offset": offset, "limit": _PAGE}
            page = await self._wire.json("GET", "/series", params=params)
            for item in page["items"]:
                yield item
            offset += len(page["items"])
            if not page["items"] or offset >= page["total"]:
                return

    async def describe(self, uid: str) -> dict[str, Any]:
        """Everything the server tells of a series."""
        return await self._wire.json("GET", f"/series/{quote(uid, safe='')}")

    async def manifest(self, selection: Selection, presign: int | None = None) -> Manifest:
        """A snapshot of a selection."""
        from imarium.manifest import Manifest  # noqa: PLC0415 - pyarrow takes long to load

        params = {"format": "arrow"} | ({} if presign is None else {"presign": str(presign)})
        answer = await self._wire.request("POST", "/manifest", params=params, json=selection.to_json())
        return await asyncio.to_thread(Manifest.read, answer.content)

    async def export(self, uid: str, folder: Path, query: Mapping[str, Any]) -> list[Path]:
        """Files of an export, downloaded into a folder; one that is cut off from its beginning."""
        params = {key: value for key, value in query.items() if value is not None}
        patience = self._wire.patience()
        while True:
            try:
                target = await self._export(uid, folder, params)
                return await asyncio.to_thread(_unpacked, target)
            except PassingError as failure:
                await patience.failed(failure)

    async def _export(self, uid: str, folder: Path, params: Mapping[str, Any]) -> Path:
        address = self._wire.address(f"/series/{quote(uid, safe='')}/export")
        async with self._wire.stream("GET", address, params=params) as response:
            target = folder / export_name(response.headers.get("content-disposition", ""))
            with target.open("wb") as file:
                async for chunk in response.aiter_bytes(_CHUNK_BYTES):
                    file.write(chunk)
        return target

    async def close(self) -> None:
        """Close the connections of the running loop."""
        await self._wire.close()


def _unpacked(bundle: Path) -> list[Path]:
    """The files of a zip, or the folder that they are all in; any other file is all there is."""
    if bundle.suffix != ".zip":
        return [bundle]
    folder = bundle.with_name("files")
    try:
        with zipfile.ZipFile(bundle) as archive:
            archive.extractall(folder)
    except (zipfile.BadZipFile, ValueError) as error:
        raise IntegrityError("the server's export is damaged") from error
    return sorted(folder.iterdir())


def export_name(header: str) -> str:
    """The name of a Content-Disposition header, which leads nowhere else."""
    return Path(header.partition("filename=")[2].strip('"') or "series").name
