"""Immutable objects by key, on obstore.

Keys hold the digest of the content, so writing an object twice changes nothing. An object is visible
only when it is complete: obstore writes beside it and renames.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store, from_url
from obstore.store import ObjectStore as Backend

from imarium.errors import InvalidRequestError, NotFoundError, StorageError

MOST_SIGNED_SECONDS = 7 * 24 * 3600
"""Of S3's signature version 4."""


class ObjectStore:
    """Puts, ranges, sizes and listings of one backend. Raises StorageError and NotFoundError."""

    def __init__(self, backend: Backend, folder: Path | None = None) -> None:
        """`folder` is where a local backend keeps its objects; files on the same disk move in there, and are
        read without the backend, whose way to them copies twice."""
        self._backend, self._folder = backend, folder

    @property
    def near(self) -> bool:
        """Whether a further range costs next to nothing, as on a disk of this machine."""
        return self._folder is not None

    def put(self, key: str, source: Path) -> None:
        """Store a file's content under a key. The file may be gone afterwards."""
        try:
            if self._folder is None or not _moved(source, self._folder / key):
                obstore.put(self._backend, key, source)
        except (BaseError, OSError) as error:
            raise StorageError(f"the object could not be written: {_reason(error)}") from error

    def read(self, key: str, start: int, stop: int) -> bytes:
        """Bytes start to stop - 1 of an object."""
        if start >= stop:
            return b""
        try:
            if self._folder is not None:
                return _ranges(self._folder / key, [(start, stop)])[0]
            return bytes(obstore.get_range(self._backend, key, start=start, end=stop))
        except (BaseError, OSError) as error:
            raise self._translated(error) from error

    def read_many(self, key: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Bytes of several ranges (start, stop) of an object, none of them empty; read at the same time."""
        try:
            if self._folder is not None:
                return _ranges(self._folder / key, spans)
            starts, ends = [start for start, _ in spans], [stop for _, stop in spans]
            return [
                bytes(piece) for piece in obstore.get_ranges(self._backend, key, starts=starts, ends=ends)
            ]
        except (BaseError, OSError) as error:
            raise self._translated(error) from error

    def open(self, key: str) -> BinaryIO | None:
        """The file of an object; None where the backend keeps no files. Raises NotFoundError."""
        if self._folder is None:
            return None
        try:
            return (self._folder / key).open("rb")
        except OSError as error:
            raise self._translated(error) from error

    def signed(self, keys: Sequence[str], seconds: int) -> list[str]:
        """Addresses at which anyone may read objects for so long, asked of nobody: a bucket's key signs them.

        Raises InvalidRequestError for a folder, and for more than a week.
        """
        if not isinstance(self._backend, S3Store | GCSStore | AzureStore):
            raise InvalidRequestError(
                "packs in a folder have no signed addresses; leave `presign` out and read them through the "
                "server"
            )
        if not 1 <= seconds <= MOST_SIGNED_SECONDS:
            raise InvalidRequestError(f"signed addresses are valid for 1 to {MOST_SIGNED_SECONDS} seconds")
        try:
            return list(obstore.sign(self._backend, "GET", list(keys), timedelta(seconds=seconds)))
        except (BaseError, OSError) as error:
            raise self._translated(error) from error

    def fetch(self, key: str) -> Callable[[int, int], bytes]:
        """The `fetch(start, stop)` of one object, for the pack's readers."""
        return lambda start, stop: self.read(key, start, stop)

    def size(self, key: str) -> int:
        """Bytes of an object."""
        try:
            return int(obstore.head(self._backend, key)["size"])
        except (BaseError, OSError) as error:
            raise self._translated(error) from error

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Keys of all complete objects under a prefix."""
        try:
            for batch in obstore.list(self._backend, prefix=prefix or None):
                for meta in batch:
                    yield str(meta["path"])
        except (BaseError, OSError) as error:
            raise self._translated(error) from error

    def changed(self, prefix: str = "") -> Iterator[tuple[str, datetime]]:
        """Keys of all complete objects under a prefix, with the time of their last change."""
        try:
            for batch in obstore.list(self._backend, prefix=prefix or None):
                for meta in batch:
                    yield str(meta["path"]), meta["last_modified"]
        except (BaseError, OSError) as error:
            raise self._translated(error) from error

    def delete(self, key: str) -> None:
        """Remove an object for good, as far as the backend goes; nothing happens if there is none."""
        try:
            if self._folder is None:
                obstore.delete(self._backend, key)
                return
            path = self._folder / key
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                _sync_folders(path.parent)
        except FileNotFoundError:
            pass
        except (BaseError, OSError) as error:
            if not isinstance(self._translated(error), NotFoundError):
                raise StorageError(f"the object could not be removed: {_reason(error)}") from error

    def half_written(self) -> Iterator[tuple[Path, datetime]]:
        """Files of a local backend that are no objects: what a writer left that was ended."""
        if self._folder is None:
            return
        whole = {self._folder / key for key in self.keys()}
        for path in self._folder.rglob("*"):
            if path.is_file() and path not in whole:
                yield path, datetime.fromtimestamp(path.stat().st_mtime, UTC)

    @staticmethod
    def _translated(error: Exception) -> StorageError | NotFoundError:
        if isinstance(error, FileNotFoundError) or type(error).__name__ == "NotFoundError":
            return NotFoundError("no such object in the store")
        return StorageError(f"the object could not be read: {_reason(error)}")


def _ranges(path: Path, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    """Bytes of ranges of a file; fewer where it ends before."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return [_range(descriptor, start, stop) for start, stop in spans]
    finally:
        os.close(descriptor)


def _range(descriptor: int, start: int, stop: int) -> bytes:
    """One call of the system reads at most 2 GiB."""
    found = os.pread(descriptor, stop - start, start)
    pieces = [found]
    while found and (start := start + len(found)) < stop:
        pieces.append(found := os.pread(descriptor, stop - start, start))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _moved(source: Path, target: Path) -> bool:
    """Rename a file to where it belongs, at once and whole; False if that is another file system."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as file:
            os.fsync(file.fileno())
        source.replace(target)
        _sync_folders(target.parent, target.parent.parent)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return False
        raise
    return True


def _sync_folders(*folders: Path) -> None:
    """Have the names in the folders survive a power failure."""
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error: Exception) -> str:
    """What went wrong in one line, without the backend's nested debug output or paths."""
    text = str(error)
    if "No space left" in text or "StorageFull" in text:
        return "no space left on the device; make room and try again"
    if "Permission denied" in text:
        return "permission denied"
    return type(error).__name__


def open_store(folder: Path, bucket: str | None) -> ObjectStore:
    """The store that settings ask for: a bucket, else a folder. Raises StorageError."""
    if bucket is None:
        return open_local(folder)
    try:
        return ObjectStore(from_url(bucket))
    except (BaseError, OSError, ValueError) as error:
        raise StorageError(
            f"the bucket that IMARIUM_OBJECTS names could not be opened: {_reason(error)}; it is an address "
            "such as s3://BUCKET/PREFIX, and AWS_ACCESS_KEY_ID, AWS_REGION, ... say who asks"
        ) from error


def open_local(folder: Path) -> ObjectStore:
    """A store in a folder, made if missing."""
    try:
        return ObjectStore(LocalStore(folder, mkdir=True), folder)
    except (BaseError, OSError) as error:
        raise StorageError(f"the object folder could not be opened: {_reason(error)}") from error
