"""The digest of a manifest's content: the canonical form of docs/design/manifest.md."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3

from imarium.manifest.schema import NOT_DIGESTED, SCHEMA, VERSION

_MAP_AS_LIST = pa.list_(
    pa.field(
        "element",
        pa.struct([pa.field("key", pa.string(), False), pa.field("value", pa.string(), False)]),
        nullable=False,
    )
)


class ContentDigest:
    """BLAKE3 over the rows of a manifest, fed batch by batch; how rows are cut into batches does not show."""

    def __init__(self) -> None:
        self._streams: dict[str, blake3] = {}
        self._rows = 0
        self.update(pa.RecordBatch.from_pylist([], schema=SCHEMA))  # names all streams, in order

    def update(self, batch: pa.RecordBatch) -> None:
        """The next rows; the batch has the columns of the schema."""
        self._rows += batch.num_rows
        for field, column in zip(SCHEMA, batch.columns, strict=True):
            if field.name not in NOT_DIGESTED:
                self._feed(field.name, field, column)

    def hexdigest(self) -> str:
        """The digest of all rows so far."""
        whole = blake3(b"imarium.manifest" + struct.pack("<IQ", VERSION, self._rows))
        for name, stream in self._streams.items():
            whole.update(name.encode() + b"\0" + stream.digest())
        return whole.hexdigest()

    def _feed(self, path: str, field: pa.Field, values: pa.Array) -> None:
        kind = field.type
        if field.nullable:
            self._put(f"{path}?", _numbers(values.is_valid(), "<u1"))
        if pa.types.is_map(kind):
            kind, values = _MAP_AS_LIST, values.cast(_MAP_AS_LIST)
        if pa.types.is_list(kind):
            self._put(f"{path}#", _numbers(pc.list_value_length(values), "<u4"))
            self._feed(f"{path}.element", kind.value_field, values.flatten())
        elif pa.types.is_struct(kind):
            for child, column in zip(kind, values.flatten(), strict=True):
                self._feed(f"{path}.{child.name}", child, column)
        elif pa.types.is_string(kind):
            self._put(f"{path}#", _numbers(pc.binary_length(values), "<u4"))
            self._put(path, _text(values))
        elif pa.types.is_floating(kind):
            self._put(path, _numbers(pc.add(values, 0.0), "<f8"))  # -0.0 is 0.0
        else:
            self._put(path, _numbers(values, "<u1" if pa.types.is_boolean(kind) else "<i8"))

    def _put(self, name: str, data: bytes) -> None:
        self._streams.setdefault(name, blake3()).update(data)


def _numbers(values: pa.Array, kind: str) -> bytes:
    """Numbers and truth values in a fixed width, 0 where there is none."""
    filled = pc.fill_null(values, False if pa.types.is_boolean(values.type) else 0)
    return np.asarray(filled.to_numpy(zero_copy_only=False)).astype(kind).tobytes()


def _text(values: pa.Array) -> bytes:
    """All strings, one after another, in UTF-8."""
    filled = pc.fill_null(values, "")
    _, offsets, content = filled.buffers()
    if content is None or not len(filled):
        return b""
    ends = np.frombuffer(offsets, np.int32, len(filled) + 1, 4 * filled.offset)
    return bytes(memoryview(content)[ends[0] : ends[-1]])
