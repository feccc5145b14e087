"""From an address or a place to a client."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imarium.client.cache import CachedOrigin, RangeCache
from imarium.client.core import AsyncClient
from imarium.client.listing import ServerListing
from imarium.client.origin import Origin
from imarium.client.remote import HttpOrigin
from imarium.client.snapshots import ManifestListing, PackListing
from imarium.client.stored import PACKS, BucketOrigin, FolderOrigin, StoreOrigin
from imarium.client.wire import Wire
from imarium.errors import InvalidRequestError, NotFoundError

if TYPE_CHECKING:
    from imarium.manifest import Manifest

CacheChoice = bool | str | Path | RangeCache | None
"""None or True: the cache that the environment says. False: none. A folder, or a cache: that one."""


def client_over(wire: Wire, cache: CacheChoice = None, threads: int | None = None) -> AsyncClient:
    """A client for a server; asks nothing yet."""
    listing = ServerListing(wire)
    return AsyncClient(listing, cached(HttpOrigin(wire), cache), threads, listing)


async def opened(
    place: str | Path,
    *,
    store: str | Path | None = None,
    token: str | None = None,
    cache: CacheChoice = None,
    threads: int | None = None,
    **options: Any,
) -> AsyncClient:
    """A client without a server: of a home folder, a folder of objects, a bucket's address, or a manifest.

    `store` says where the packs of a manifest are: a folder, a bucket, or a server with its `token`. Without
    it they are at the addresses that the manifest has, or beside it. `options` are obstore's for a bucket.

    Raises NotFoundError if there is no such place, InvalidRequestError if it holds nothing to read, and what
    reading manifests and stores raises.
    """
    text = str(place)
    if text.startswith(("http://", "https://")):
        raise InvalidRequestError("that is the address of a server: imarium.connect(url)")
    if "://" not in text and Path(place).expanduser().is_file():
        from imarium.manifest import Manifest  # noqa: PLC0415 - pyarrow takes long to load

        path = Path(place).expanduser()
        manifest = await asyncio.to_thread(Manifest.read, path)
        origin = _origin_of(manifest, path, store, token, options)
        return AsyncClient(ManifestListing(manifest), cached(origin, cache), threads)
    origin = _store(text, options)
    return AsyncClient(await PackListing.of(origin), cached(origin, cache), threads)


def _origin_of(
    manifest: Manifest, path: Path, store: str | Path | None, token: str | None, options: dict[str, Any]
) -> Origin:
    if store is not None:
        if str(store).startswith(("http://", "https://")):
            return HttpOrigin(Wire(str(store), token))
        return _store(str(store), options)
    addresses = HttpOrigin(Wire(None))
    missing = False
    for row in manifest.rows():
        if row.url is None:
            missing = True
        else:
            addresses.know(row.pack, row.url)
    if not missing:
        return addresses
    try:
        return _store(str(path.parent), options)
    except (InvalidRequestError, NotFoundError) as error:
        raise InvalidRequestError(
            "the manifest does not say where its packs are; say it: store= a folder, a bucket or a server"
        ) from error


def _store(place: str, options: dict[str, Any]) -> StoreOrigin:
    if "://" in place:
        return BucketOrigin(place, **options)
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise NotFoundError("there is no such folder or file")
    for root in (folder, folder / "objects"):
        if (root / PACKS).is_dir():
            return FolderOrigin(root)
    raise InvalidRequestError(
        f"the folder holds no {PACKS}/ and no objects/{PACKS}/: is it the home folder of an archive?"
    )


def cached(origin: Origin, choice: CacheChoice) -> Origin:
    """The origin with the cache of a choice before it."""
    if choice is False or origin.near:
        return origin
    if not isinstance(choice, RangeCache):
        choice = RangeCache(None if choice is None or choice is True else Path(choice))
    return CachedOrigin(origin, choice) if choice.limit else origin
