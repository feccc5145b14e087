"""Manifests in memory: read, looked at, narrowed down, written."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imarium.errors import ImariumError, IntegrityError, NotFoundError, StorageError
from imarium.manifest import schema
from imarium.manifest.digest import ContentDigest
from imarium.manifest.rows import ManifestRow, batch_of, rows_of
from imarium.manifest.writing import Format, metadata, write_batches
from imarium.model import Selection

_MOST_BYTES = 16 << 30
"""Of all columns, as a Parquet file announces them: a hundred times a manifest of 100,000 series."""
_ROWS_AT_ONCE = 4096
_PACK_KEY = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$"
"""A path in a store, none of whose names begins with a point: it leads nowhere else."""


class Manifest:
    """A snapshot of a selection: one row a series, sorted by pack and by the place in it.

    Packs never change, so a manifest always stands for the same pixels. Immutable.
    """

    def __init__(self, table: pa.Table) -> None:
        """Of a table with the schema's columns and metadata; other columns are left out.

        Raises IntegrityError for another table, and ImariumError for a manifest of a newer version.
        """
        self.table: pa.Table = _conforming(table)
        """The Arrow table; its columns are those of docs/design/manifest.md."""

    @classmethod
    def of(
        cls, rows: Iterable[ManifestRow], selection: Selection, created: datetime | None = None
    ) -> Manifest:
        """A manifest of rows that are sorted already; `created` is now unless given."""
        table = pa.Table.from_batches([batch_of(list(rows))])
        return cls(_described(table, selection, created or datetime.now(UTC)))

    @classmethod
    def read(cls, source: Path | str | bytes) -> Manifest:
        """Read a file, or its bytes: Parquet or an Arrow stream, whatever its name.

        Raises NotFoundError, StorageError, IntegrityError for what is no manifest, is damaged, or was changed
        since it was written, and ImariumError for a newer version.
        """
        try:
            content = source if isinstance(source, bytes) else Path(source).read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError("there is no such manifest") from error
        except OSError as error:
            raise StorageError(f"the manifest cannot be read: {error.strerror}") from error
        manifest = cls(_parsed(content))
        told = (manifest.table.schema.metadata or {}).get(schema.K_DIGEST, b"").decode("ascii", "replace")
        if told != manifest.digest:
            raise IntegrityError(
                "the rows of the manifest do not match its digest: it was changed since it was written; "
                "Manifest.filter makes a smaller one that is whole"
            )
        return manifest

    def __len__(self) -> int:
        """Number of series."""
        return int(self.table.num_rows)

    def rows(self) -> Iterator[ManifestRow]:
        """All rows, in order."""
        for batch in self.table.to_batches(_ROWS_AT_ONCE):
            yield from rows_of(batch)

    @cached_property
    def digest(self) -> str:
        """BLAKE3, hex, of the content: equal exactly if the rows are equal, however they are written."""
        return _digest_of(self.table)

    @property
    def selection(self) -> Selection:
        """What was asked for."""
        try:
            return Selection.from_json(json.loads(self.table.schema.metadata[schema.K_SELECTION]))
        except (KeyError, ValueError, RecursionError) as error:
            raise IntegrityError("the manifest does not say what was selected") from error

    @property
    def created(self) -> datetime:
        """When the snapshot was made, in UTC."""
        try:
            return datetime.fromisoformat(self.table.schema.metadata[schema.K_CREATED].decode())
        except (KeyError, ValueError) as error:
            raise IntegrityError("the manifest does not say when it was made") from error

    def filter(self, keep: Callable[[ManifestRow], bool]) -> Manifest:
        """Those rows for which `keep` is true, as a manifest with a digest of its own.

        Its selection is still the one that was asked for.
        """
        kept = self.table.filter(pa.array([bool(keep(row)) for row in self.rows()], pa.bool_()))
        return Manifest(_described(kept, self.selection, self.created))

    def write(self, path: Path | str) -> None:
        """Write to FILE.parquet, or as an Arrow stream to FILE.arrow. Raises StorageError."""
        path = Path(path)
        batches = self.table.combine_chunks().to_batches(_ROWS_AT_ONCE)
        write_batches(path, Format.of(path), self.table.schema, batches)

    def __eq__(self, other: object) -> bool:
        """Whether the rows are equal."""
        return isinstance(other, Manifest) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<manifest of {len(self)} series, {self.digest[:12]}>"


def _described(table: pa.Table, selection: Selection, created: datetime) -> pa.Table:
    return table.replace_schema_metadata(metadata(selection, _digest_of(table), created))


def _digest_of(table: pa.Table) -> str:
    content = ContentDigest()
    for batch in table.to_batches(_ROWS_AT_ONCE):
        content.update(batch)
    return content.hexdigest()


def _parsed(content: bytes) -> pa.Table:
    try:
        if content[:4] == b"PAR1":
            file = pq.ParquetFile(io.BytesIO(content))
            facts = file.metadata
            size = sum(facts.row_group(number).total_byte_size for number in range(facts.num_row_groups))
            if size > _MOST_BYTES:
                raise IntegrityError("the manifest is larger than any can be")
            return file.read()
        return pa.ipc.open_stream(content).read_all()
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        raise IntegrityError("this is no manifest, or a damaged one") from error


def _conforming(table: pa.Table) -> pa.Table:
    """The table with exactly the schema's columns, every value in its bounds."""
    told = table.schema.metadata or {}
    version = told.get(schema.K_VERSION, b"")
    if not version.isdigit() or len(version) > 9:
        raise IntegrityError("this table is no manifest of Imarium: its metadata do not say so")
    if int(version) != schema.VERSION:
        raise ImariumError(
            f"the manifest has version {int(version)}; this Imarium reads version {schema.VERSION}"
        )
    try:
        chosen = table.select(schema.SCHEMA.names)
        chosen.validate(full=True)  # first of all: Arrow trusts what it reads
        chosen = chosen.cast(schema.SCHEMA)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise IntegrityError("the manifest lacks columns, or has others than its version says") from error
    for field, column in zip(schema.SCHEMA, chosen.columns, strict=True):
        if not all(_complete(field, chunk) for chunk in column.chunks):
            raise IntegrityError(
                f"the manifest has an empty value in {field.name}, where there is always one"
            )
    affines = pc.fill_null(pc.list_value_length(chosen["affine"]), 16)
    spacings = pc.fill_null(pc.list_value_length(chosen["spacing"]), 3)
    if not pc.all(pc.and_(pc.equal(affines, 16), pc.equal(spacings, 3)), min_count=0).as_py():
        raise IntegrityError("the manifest has affines or spacings of another length")
    if not pc.all(pc.match_substring_regex(chosen["pack"], _PACK_KEY), min_count=0).as_py():
        raise IntegrityError("the manifest names packs by keys that none can have")
    return chosen.replace_schema_metadata(told)


def _complete(field: pa.Field, values: pa.Array) -> bool:
    """Whether no value is missing, at any depth, that the schema promises."""
    if not field.nullable and values.null_count:
        return False
    kind = field.type
    if pa.types.is_map(kind):
        return not (values.keys.null_count or values.items.null_count)
    if pa.types.is_list(kind):
        return _complete(kind.value_field, values.flatten())
    if pa.types.is_struct(kind):
        return all(map(_complete, kind, values.flatten()))
    return True
