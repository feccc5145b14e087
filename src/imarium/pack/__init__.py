"""Codestreams to one immutable object and back (docs/design/pack-format.md)."""

from imarium.pack.inspection import LaneReport, LevelReport, PackReport, SeriesReport, open_pack_file
from imarium.pack.layout import DirectoryEntry, SeriesIndex, Span
from imarium.pack.reader import (
    Fetch,
    Held,
    LevelReader,
    read_attachments,
    read_directory,
    read_index,
    verify_series,
)
from imarium.pack.writer import PackWriter, WrittenPack

__all__ = [
    "DirectoryEntry",
    "Fetch",
    "Held",
    "LaneReport",
    "LevelReader",
    "LevelReport",
    "PackReport",
    "PackWriter",
    "SeriesIndex",
    "SeriesReport",
    "Span",
    "WrittenPack",
    "open_pack_file",
    "read_attachments",
    "read_directory",
    "read_index",
    "verify_series",
]
