"""A pack that several small series share, from its first series to its commit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imarium.codec.frames import EncodedFrame
from imarium.formats.base import Reader
from imarium.model import Series, SourceFile
from imarium.model.details import Details
from imarium.pack import DirectoryEntry, PackWriter, SeriesIndex, WrittenPack
from imarium.settings import Sharing


@dataclass(frozen=True, slots=True)
class Member:
    """A series in an open pack: what the catalog needs of it, and how to take it again."""

    series: Series
    base_uid: str
    levels: int
    lane: str
    entry: DirectoryEntry
    files: tuple[SourceFile, ...]
    """With their digests; nothing here keeps a source open or in memory."""
    pseudonym: str | None
    reader: Reader
    details: Details

    @property
    def stored_bytes(self) -> int:
        """Its body, attachments and index."""
        return self.entry.index[1] - self.entry.body[0]

    @property
    def paths(self) -> list[Path]:
        """Of the files that it was read from."""
        return [file.path for file in self.files]


class OpenPack:
    """Series that wait for their commit. Nobody is told of them before it.

    The pack's file is made with the first series and forgotten by `close`.
    """

    def __init__(self, folder: Path, sharing: Sharing) -> None:
        self._folder, self._sharing = folder, sharing
        self._writer: PackWriter | None = None
        self._began = 0.0
        self._members: list[Member] = []
        self._uids: set[str] = set()
        self._digests: set[str] = set()
        self._instances: set[str] = set()

    @property
    def members(self) -> Sequence[Member]:
        """The series so far, in the order of the pack."""
        return self._members

    def write(
        self,
        series: Series,
        decompositions: int,
        frames: Sequence[EncodedFrame],
        attachments: Mapping[str, bytes],
    ) -> tuple[SeriesIndex, DirectoryEntry]:
        """Append a series that was encoded completely; if that raises StorageError, it is not there."""
        if self._writer is None:
            self._writer, self._began = PackWriter(self._folder), time.monotonic()
        index = self._writer.add(series, decompositions, frames, attachments)
        return index, self._writer.entries[-1]

    def add(self, member: Member) -> None:
        """Remember a series that was written."""
        self._members.append(member)
        self._uids |= {member.base_uid, member.series.uid}
        for file in member.files:
            self._digests.add(file.digest)
            if file.instance_uid is not None:
                self._instances.add(file.instance_uid)

    def holds_series(self, uid: str) -> bool:
        """Whether a series of that UID, or a stack of it, is here."""
        return uid in self._uids

    def holds_file(self, digest: str) -> bool:
        """Whether the content of a file is here."""
        return digest in self._digests

    def holds_instance(self, uid: str | None) -> bool:
        """Whether a DICOM file of that SOP Instance UID is here."""
        return uid in self._instances

    @property
    def is_full(self) -> bool:
        """Whether it is time for the commit."""
        if self._writer is None or not self._members:
            return False
        return (
            self._writer.size >= self._sharing.pack_bytes
            or len(self._members) >= self._sharing.pack_series
            or self.is_old
        )

    @property
    def is_old(self) -> bool:
        """Whether its first series has waited long enough."""
        return bool(self._members) and time.monotonic() - self._began >= self._sharing.seconds

    def finish(self) -> WrittenPack:
        """The whole pack in a file that lives until `close`. Raises StorageError."""
        assert self._writer is not None
        return self._writer.finish()

    def close(self) -> None:
        """Forget all series and the file; the next series begins another pack."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._members = []
        self._uids, self._digests, self._instances = set(), set(), set()
