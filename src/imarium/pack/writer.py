"""Writes a pack: parts of a block are spooled by resolution, then laid out resolution-major in one file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from imarium.codec.frames import EncodedFrame
from imarium.errors import IntegrityError, StorageError
from imarium.model import Series
from imarium.pack.hashing_file import HashingFile
from imarium.pack.heads import HeadCollector
from imarium.pack.layout import (
    DirectoryEntry,
    SeriesIndex,
    block_frames_for,
    crc32c,
    directory_and_footer,
    header,
    pack_attachments,
)

_SPOOLED_IN_MEMORY = 32 << 20
_COPY_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class WrittenPack:
    """A finished pack in a temporary file."""

    path: Path
    size: int
    digest: str
    """BLAKE3 of the whole object, hex."""


class _Spool:
    """Parts of one resolution until the block has all: in memory at first, then in a temporary file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: list[bytes] = []
        self._size = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.clear()
        if self._file is not None:
            self._file.close()

    def append(self, data: bytes) -> None:
        self._held.append(data)
        self._size += len(data)
        if self._size > _SPOOLED_IN_MEMORY:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed on leaving
            self._file.writelines(self._held)
            self._held.clear()
            self._size = 0

    def write_to(self, target: HashingFile) -> None:
        """Append everything to a file."""
        if self._file is not None:
            self._file.seek(0)
            while chunk := self._file.read(_COPY_BYTES):
                target.write(chunk)
        target.write(*self._held)


class PackWriter:
    """Builds one pack in `folder`. Use as a context manager: leaving it removes what is left there.

    Raises StorageError if the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix="pack-", dir=folder))
            self._file = HashingFile(self._folder / "pack")
            self._file.write(header())
        except OSError as error:
            raise _full(error) from error
        self._entries: list[DirectoryEntry] = []

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what is left in the folder."""
        self._file.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(
        self,
        series: Series,
        decompositions: int,
        frames: Iterable[EncodedFrame],
        attachments: Mapping[str, bytes],
        block_frames: int | None = None,
    ) -> SeriesIndex:
        """Append a series. `frames` is consumed one at a time, and written block by block.

        A block has `block_frames` frames; None: as `block_frames_for` says. Memory does not grow with pixels.
        If anything is raised, by `frames` too, the pack is as if the series had never been added.
        """
        mark = self._file.mark()
        try:
            return self._add(series, decompositions, frames, attachments, block_frames)
        except BaseException as error:
            self._file.rollback(mark)
            if isinstance(error, OSError):
                raise _full(error) from error
            raise

    def _add(
        self,
        series: Series,
        decompositions: int,
        frames: Iterable[EncodedFrame],
        attachments: Mapping[str, bytes],
        block_frames: int | None,
    ) -> SeriesIndex:
        parts = decompositions + 1
        block = block_frames_for(series.frames) if block_frames is None else block_frames
        lengths = np.zeros((parts, series.frames), np.uint32)
        checksums = np.zeros((parts, series.frames), np.uint32)
        params, digests, lanes = bytearray(), bytearray(), bytearray()
        start = self._file.position
        waiting = enumerate(frames)
        heads = HeadCollector(series.frames)
        for first in range(0, series.frames, block):
            with ExitStack() as stack:
                spools = [stack.enter_context(_Spool(self._folder)) for _ in range(parts)]
                for number, frame in islice(waiting, min(block, series.frames - first)):
                    if len(frame.parts) != parts:
                        raise IntegrityError("an encoded frame does not fit the series it is added to")
                    stored = (heads.without_head(frame.parts[0]), *frame.parts[1:])
                    for part, data in enumerate(stored):
                        spools[part].append(data)
                        lengths[part, number] = len(data)
                        checksums[part, number] = crc32c(data)
                    params += frame.params
                    digests += frame.digest
                    lanes.append(frame.lane)
                for spool in spools:
                    spool.write_to(self._file)
        if len(lanes) != series.frames or next(waiting, None) is not None:
            raise IntegrityError(f"more or fewer frames were encoded than the {series.frames} announced")
        body = (start, self._file.position)
        extra = pack_attachments(attachments)
        self._file.write(extra)
        index = SeriesIndex(
            series=series,
            decompositions=decompositions,
            block_frames=block,
            body=body,
            attachments=(body[1], self._file.position),
            attachments_crc=crc32c(extra),
            params=np.frombuffer(bytes(params), np.uint8).reshape(series.frames, -1),
            digests=np.frombuffer(bytes(digests), np.uint8).reshape(series.frames, -1),
            lengths=lengths,
            checksums=checksums,
            lanes=np.frombuffer(bytes(lanes), np.uint8),
            heads=heads.finish(),
        )
        begin = self._file.position
        self._file.write(index.to_bytes())
        self._entries.append(
            DirectoryEntry(series.uid, body, index.attachments, (begin, self._file.position))
        )
        return index

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._file.position

    @property
    def entries(self) -> tuple[DirectoryEntry, ...]:
        """Where the series added so far lie."""
        return tuple(self._entries)

    def finish(self) -> WrittenPack:
        """Write directory and footer. The file lives until the context is left."""
        try:
            self._file.write(directory_and_footer(self._entries, self._file.position))
            digest = self._file.finish()
        except OSError as error:
            raise _full(error) from error
        return WrittenPack(self._folder / "pack", self._file.position, digest)


def _full(error: OSError) -> StorageError:
    return StorageError(f"the pack could not be written: {error.strerror}; make room and try again")
