"""A home folder, read as the client reads a store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from imarium.archive import Archive
from imarium.client import Client
from imarium.client.core import AsyncClient
from imarium.client.snapshots import ManifestListing
from imarium.client.stored import BucketOrigin, FolderOrigin
from imarium.formats.delivery import download_name
from imarium.model import Selection


class _Exports:
    """The writers of an archive in this process."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def export(self, uid: str, folder: Path, query: Mapping[str, Any]) -> list[Path]:
        """Files that were made in a folder."""
        name = str(query["format"])
        size = query.get("size")
        return await asyncio.to_thread(
            self._archive.streaming.export,
            uid,
            name,
            folder / download_name(name),
            level=query.get("level"),
            size=None if size is None else str(size),
        )


def client_of(archive: Archive, selection: Selection) -> Client:
    """A client for the series of a selection as they are now."""
    from imarium.manifest import Manifest  # noqa: PLC0415 - pyarrow takes long to load

    manifest = Manifest.of(chain.from_iterable(archive.manifests.rows(selection)), selection)
    settings = archive.settings
    origin = FolderOrigin(settings.objects) if settings.bucket is None else BucketOrigin(settings.bucket)
    return Client.of(AsyncClient(ManifestListing(manifest), origin, settings.threads, _Exports(archive)))
