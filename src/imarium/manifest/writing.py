"""Writes manifests: Parquet and Arrow streams, from memory or batch by batch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from imarium.errors import InvalidRequestError, StorageError
from imarium.manifest import schema
from imarium.manifest.digest import ContentDigest
from imarium.manifest.rows import ManifestRow, batch_of
from imarium.model import Selection
from imarium.version import VERSION

_ROWS_AT_ONCE = 4096
"""Rows of a batch, and of a row group of Parquet."""


class Format(StrEnum):
    """How a manifest is written."""

    PARQUET = "parquet"
    ARROW = "arrow"
    """An Arrow IPC stream."""

    @classmethod
    def of(cls, path: Path) -> Format:
        """What a file's name asks for; raises InvalidRequestError."""
        try:
            return cls(path.suffix.lower().removeprefix("."))
        except ValueError as error:
            raise InvalidRequestError("a manifest is written to FILE.parquet or FILE.arrow") from error


def metadata(selection: Selection, digest: str, created: datetime) -> dict[bytes, bytes]:
    """What a manifest says of itself."""
    return {
        schema.K_VERSION: str(schema.VERSION).encode(),
        schema.K_SOFTWARE: VERSION.encode(),
        schema.K_CREATED: created.isoformat(timespec="seconds").encode(),
        schema.K_SELECTION: json.dumps(
            selection.to_json(), separators=(",", ":"), ensure_ascii=False
        ).encode(),
        schema.K_DIGEST: digest.encode(),
    }


def write_batches(path: Path, kind: Format, described: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write a file; it appears whole or not at all. Raises StorageError."""
    with _appearing(path) as file:
        if kind is Format.PARQUET:
            with pq.ParquetWriter(file, described, compression="zstd") as writer:
                for batch in batches:
                    writer.write_batch(batch.replace_schema_metadata(described.metadata))
        else:
            with pa.ipc.new_stream(file, described) as writer:
                for batch in batches:
                    writer.write_batch(batch)


@contextmanager
def _appearing(path: Path) -> Iterator[IO[bytes]]:
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"the manifest cannot be written: {error.strerror or 'out of room'}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


class Draft:
    """A manifest on its way: rows wait in a temporary file until all are there and the digest is known.

    Use as a context manager. Memory does not grow with the rows. Raises StorageError.
    """

    def __init__(self, folder: Path, selection: Selection) -> None:
        """`folder` is where the temporary file lies; `selection` is what the rows are of."""
        self._selection = selection
        self._content = ContentDigest()
        self._waiting: list[ManifestRow] = []
        self._created = datetime.now(UTC)
        self.series = 0
        """Rows so far."""
        with _storing():
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed on leaving
            self._writer = pa.ipc.new_stream(self._file, schema.SCHEMA)

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._writer.close()
        self._file.close()

    def add(self, rows: Sequence[ManifestRow]) -> None:
        """The next rows."""
        self.series += len(rows)
        self._waiting += rows
        if len(self._waiting) >= _ROWS_AT_ONCE:
            self._spill()

    def _spill(self) -> None:
        batch = batch_of(self._waiting)
        self._waiting = []
        self._content.update(batch)
        with _storing():
            self._writer.write_batch(batch)

    @property
    def digest(self) -> str:
        """Of the rows so far."""
        if self._waiting:
            self._spill()
        return self._content.hexdigest()

    def write(self, path: Path, kind: Format) -> None:
        """Write all rows to a file; no rows come afterwards."""
        described = schema.SCHEMA.with_metadata(metadata(self._selection, self.digest, self._created))
        with _storing():
            self._writer.close()
            self._file.seek(0)
            reader = pa.ipc.open_stream(self._file)
        write_batches(path, kind, described, reader)


@contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"the manifest cannot be kept: {error.strerror or 'out of room'}") from error
