"""What every format module provides, and what readers share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from blake3 import blake3

from imarium.errors import ImariumError, LimitExceededError
from imarium.formats.outgoing import Outgoing
from imarium.model import Rendition, SourceFile, SourceSeries
from imarium.settings import Limits

_CHUNK_BYTES = 1 << 20


class _Buffers(threading.local):
    """One buffer a thread, used again for every file."""

    def __init__(self) -> None:
        self.chunk = memoryview(bytearray(_CHUNK_BYTES))


_buffers = _Buffers()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that could not be taken in, and why."""

    path: Path
    error: ImariumError


def _nothing(_files: Sequence[SourceFile]) -> Collection[Path]:
    return ()


@dataclass(frozen=True, slots=True)
class ReadContext:
    """What readers may use: bounds, and a folder for temporary files."""

    limits: Limits
    scratch: Path
    digests: Mapping[Path, str] = field(default_factory=dict)
    """Digests of files that are known already, so that no file is hashed twice."""
    settled: Callable[[Sequence[SourceFile]], Collection[Path]] = _nothing
    """Tells which of the given files, whose headers were read, need no further reading: their content is
    stored already, or they cannot be read."""

    def digest_of(self, path: Path) -> str:
        """BLAKE3 of a file's bytes, hex; see `file_digest`."""
        return self.digests.get(path) or file_digest(path, self.limits)


def file_digest(path: Path, limits: Limits) -> str:
    """BLAKE3 of a file's bytes, hex. Raises OSError, and LimitExceededError for a file beyond the limit.

    Plain reads, not a memory map: a file that shrinks meanwhile must not kill the process.
    """
    digest, size = blake3(), 0
    buffer = _buffers.chunk
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            size += count
            if size > limits.file_bytes:
                raise LimitExceededError(f"the file is larger than the limit of {limits.file_bytes} bytes")
            digest.update(buffer[:count])
    return digest.hexdigest()


class OneFile:
    """For readers of formats whose files stand alone and hold one series."""

    several = False

    def companions(self, _path: Path) -> tuple[Path, ...]:
        """None."""
        return ()


class Reader(Protocol):
    """Reads files of one format. Recognition looks at content, never at the name."""

    name: str
    batch: bool
    """True if files must be seen together to form series (DICOM): such a reader asks
    `ReadContext.settled`. False if each stands alone; then only files of new content come here."""

    several: bool
    """True if one file may hold several series."""

    def companions(self, path: Path) -> tuple[Path, ...]:
        """Files beside `path` that hold its data, or that it leads to; none for most formats.

        Raises ImariumError where the header cannot be read, or leads outside its folder.
        """

    def recognises(self, path: Path, head: bytes) -> bool:
        """Whether the first 4 KiB of a file say that it is of this format."""

    def read(self, paths: Iterable[Path], context: ReadContext) -> Iterator[SourceSeries | Refusal]:
        """Series found in the files, and a refusal for each file that is in none. Raises for no file."""


class Writer(Protocol):
    """Writes a rendition in one format."""

    name: str

    def write(self, rendition: Rendition, destination: Path) -> list[Path]:
        """Write one file at `destination`, or several below it; returns the files written.

        A format that is a folder (OME-Zarr) makes the folder `destination` and returns that.

        Raises ExportRefusedError where the format cannot hold the rendition.
        """

    def outgoing(self, rendition: Rendition, name: str, scratch: Path) -> Outgoing:
        """The same files, made while they are taken; memory holds a few frames.

        `name` is that of a lone file or of a folder, and tells as the destination of `write` does what is
        wanted (.nii.gz). What cannot be made in order waits in unnamed files in `scratch`, one at a time for
        most series. What is refused is refused here, as far as it shows before frames are read.
        """
