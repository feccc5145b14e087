"""Packs in a folder, or in a bucket of an object store, without a server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from imarium.client.origin import Origin, cut, joined
from imarium.errors import ImariumError, IntegrityError, InvalidRequestError, NotFoundError, StorageError
from imarium.pack import Held, Span

PACKS = "packs"
_SUFFIX = ".imp"
_COALESCED_BYTES = 1 << 16
"""Bytes between two ranges of a bucket's object that cost less than a request of their own."""


@dataclass(frozen=True, slots=True)
class StoredPack:
    """A pack as a store lists it."""

    key: str
    size: int
    modified: float
    """Seconds since 1970; tells which of two is newer, and nothing else."""


class StoreOrigin(Origin, Protocol):
    """An origin that can list its packs."""

    def packs(self) -> AsyncIterator[StoredPack]:
        """All packs. Raises StorageError."""


class FolderOrigin:
    """A folder that holds `packs/`."""

    near = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def read(self, pack: str, spans: Sequence[Span]) -> list[bytes]:
        """See `Origin.read`."""
        return await asyncio.to_thread(self._read, pack, spans)

    async def reread(self, pack: str, spans: Sequence[Span]) -> list[bytes]:
        """Nothing is kept on the way."""
        return await self.read(pack, spans)

    def know(self, pack: str, address: str) -> None:
        """The store is nearer."""

    async def close(self) -> None:
        """Nothing stays open."""

    def _read(self, pack: str, spans: Sequence[Span]) -> list[bytes]:
        try:
            descriptor = os.open(self._folder / pack, os.O_RDONLY)
            try:
                pieces = [_range(descriptor, start, stop) for start, stop in spans]
            finally:
                os.close(descriptor)
        except FileNotFoundError as error:
            raise _gone() from error
        except OSError as error:
            raise StorageError(f"a pack cannot be read: {error.strerror}") from error
        for (start, stop), piece in zip(spans, pieces, strict=True):
            if len(piece) != max(0, stop - start):
                raise _too_short(stop)
        return pieces

    async def packs(self) -> AsyncIterator[StoredPack]:
        """All packs."""
        for pack in await asyncio.to_thread(self._list):
            yield pack

    def _list(self) -> list[StoredPack]:
        found = []
        try:
            for path in sorted((self._folder / PACKS).rglob(f"*{_SUFFIX}")):
                facts = path.stat()
                key = path.relative_to(self._folder).as_posix()
                found.append(StoredPack(key, facts.st_size, facts.st_mtime))
        except OSError as error:
            raise StorageError(f"the store cannot be listed: {error.strerror}") from error
        return found


def _range(descriptor: int, start: int, stop: int) -> bytes:
    """One call of the system reads at most 2 GiB."""
    pieces = []
    while start < stop and (found := os.pread(descriptor, stop - start, start)):
        pieces.append(found)
        start += len(found)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class BucketOrigin:
    """A place of an object store, by its address: s3://, gs://, az://, ... (obstore)."""

    near = False

    def __init__(self, address: str, **options: Any) -> None:
        """`options` as obstore takes them for the store (region, endpoint, skip_signature, ...); without
        them, the environment says who asks. Raises InvalidRequestError."""
        try:
            import obstore  # noqa: PLC0415 - the bare package does without
            from obstore.exceptions import BaseError  # noqa: PLC0415
            from obstore.store import from_url  # noqa: PLC0415
        except ImportError as error:
            raise InvalidRequestError(
                "reading a bucket needs one more library: pip install 'imarium[s3]'"
            ) from error
        try:
            self._store = from_url(address, **options)
        except (BaseError, ValueError, TypeError) as error:
            raise InvalidRequestError(f"{address!r} is no address of a store: {_kind(error)}") from error
        self._obstore, self._failures = obstore, (BaseError, OSError)
        self._address, self._options = address, options

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(BucketOrigin, **self._options), (self._address,)

    async def read(self, pack: str, spans: Sequence[Span]) -> list[bytes]:
        """See `Origin.read`. Failures that pass are tried again by obstore."""
        wanted = joined(spans)
        if not wanted:
            return [b""] * len(spans)
        try:
            pieces = await self._obstore.get_ranges_async(
                self._store,
                pack,
                starts=[start for start, _ in wanted],
                ends=[stop for _, stop in wanted],
                coalesce=_COALESCED_BYTES,
            )
        except self._failures as error:
            raise _translated(error) from error
        contents = [bytes(piece) for piece in pieces]
        for (start, stop), content in zip(wanted, contents, strict=True):
            if len(content) != stop - start:
                raise _too_short(stop)
        return cut(Held(wanted, contents), spans)

    async def reread(self, pack: str, spans: Sequence[Span]) -> list[bytes]:
        """Nothing is kept on the way."""
        return await self.read(pack, spans)

    def know(self, pack: str, address: str) -> None:
        """The store is nearer."""

    async def close(self) -> None:
        """Connections are the library's."""

    async def packs(self) -> AsyncIterator[StoredPack]:
        """All packs."""
        try:
            async for batch in self._obstore.list(self._store, prefix=PACKS):
                for item in batch:
                    if str(item["path"]).endswith(_SUFFIX):
                        modified = item["last_modified"].timestamp()
                        yield StoredPack(str(item["path"]), int(item["size"]), modified)
        except self._failures as error:
            raise _translated(error) from error


def _translated(error: Exception) -> ImariumError:
    if isinstance(error, FileNotFoundError) or type(error).__name__ == "NotFoundError":
        return _gone()
    text = str(error)
    if "416" in text or "InvalidRange" in text or "greater than object" in text:
        return IntegrityError("the pack has no such bytes; do the ranges come from its manifest?")
    return StorageError(f"the object store cannot be read ({_kind(error)})")


def _kind(error: Exception) -> str:
    """What went wrong, without the library's nested output, which names addresses and accounts."""
    return type(error).__name__


def _gone() -> NotFoundError:
    return NotFoundError("a pack is gone from the store; open the store anew, or make a new manifest")


def _too_short(stop: int) -> IntegrityError:
    return IntegrityError(
        f"the pack ends before byte {stop - 1}, which was asked for; do the ranges come from its manifest?"
    )
