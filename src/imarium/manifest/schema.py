"""The columns of a manifest (docs/design/manifest.md), and what its metadata says."""

from __future__ import annotations

import pyarrow as pa

VERSION = 1
"""Version of the schema that is written, and the newest that is read."""

K_VERSION = b"imarium.manifest"
K_SOFTWARE = b"imarium.version"
K_CREATED = b"imarium.created"
K_SELECTION = b"imarium.selection"
K_DIGEST = b"imarium.digest"

NOT_DIGESTED = frozenset({"url"})
"""Columns that may differ between manifests of the same content."""


def _field(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


_SPAN = pa.struct([_field("start", pa.int64()), _field("stop", pa.int64())])
_LEVEL = pa.struct(
    [
        _field("level", pa.int8()),
        _field("rows", pa.int32()),
        _field("columns", pa.int32()),
        _field("bytes", pa.int64()),
        _field("spans", pa.list_(_field("element", _SPAN))),
    ]
)

SCHEMA: pa.Schema = pa.schema(
    [
        _field("series", pa.string()),
        _field("study", pa.string()),
        pa.field("subject", pa.string()),
        _field("collection", pa.string()),
        pa.field("modality", pa.string()),
        pa.field("body_part", pa.string()),
        _field("format", pa.string()),
        _field("frames", pa.int32()),
        _field("rows", pa.int32()),
        _field("columns", pa.int32()),
        _field("samples", pa.int32()),
        _field("dtype", pa.string()),
        _field("photometric", pa.string()),
        _field("dimensions", pa.list_(_field("element", pa.int32()))),
        pa.field("spacing", pa.list_(_field("element", pa.float64()))),
        pa.field("affine", pa.list_(_field("element", pa.float64()))),
        pa.field("window_center", pa.float64()),
        pa.field("window_width", pa.float64()),
        pa.field("rescale_slope", pa.float64()),
        pa.field("rescale_intercept", pa.float64()),
        _field("label_map", pa.bool_()),
        _field("labels", pa.map_(pa.string(), _field("value", pa.string()))),
        _field("pack", pa.string()),
        _field("pack_bytes", pa.int64()),
        _field("pack_digest", pa.string()),
        pa.field("url", pa.string()),
        _field("index", _SPAN),
        _field("levels", pa.list_(_field("element", _LEVEL))),
    ]
)
"""One row a series, sorted by (pack, index.start)."""
