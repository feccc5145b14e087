"""Codestreams to one immutable object and back (docs/design/pack-format.md)."""

from imarium.pack.layout import DirectoryEntry, SeriesIndex
from imarium.pack.reader import (
    Fetch,
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
    "LevelReader",
    "PackWriter",
    "SeriesIndex",
    "WrittenPack",
    "read_attachments",
    "read_directory",
    "read_index",
    "verify_series",
]
