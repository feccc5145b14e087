"""What the modules of single formats share: identifiers, opening sources, and writing safely."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from blake3 import blake3

from imarium.errors import (
    CorruptFileError,
    IntegrityError,
    LimitExceededError,
    RefusedFileError,
    StorageError,
)
from imarium.model import Rendition, SourceFile
from imarium.model.series import Frame
from imarium.settings import Limits

CHUNK = 1 << 20
"""Bytes read at a time from files of unknown size."""


def uid_of_digest(digest: bytes) -> str:
    """A UID from the first 128 bits of a digest, in the form of PS3.5 B.2: at most 44 characters."""
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def study_uid_of(uid: str) -> str:
    """The UID of the study that a source without studies is filed under."""
    return uid_of_digest(blake3(b"study " + uid.encode()).digest())


@contextmanager
def opened(path: Path, limits: Limits) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """Open a source file and check its size.

    Raises RefusedFileError if it cannot be opened or read, CorruptFileError if it is empty and
    LimitExceededError if it is beyond `limits.file_bytes`.
    """
    try:
        with path.open("rb") as stream:
            facts = os.fstat(stream.fileno())
            if facts.st_size == 0:
                raise CorruptFileError("the file is empty")
            if facts.st_size > limits.file_bytes:
                raise LimitExceededError(
                    f"the file has {facts.st_size} bytes; the limit is {limits.file_bytes} "
                    "(limits.file_bytes)"
                )
            yield stream, facts
    except OSError as error:
        raise RefusedFileError(
            f"the file cannot be read: {error.strerror or type(error).__name__}"
        ) from error


def unchanged(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether two looks at a file saw the same content, as far as the file system tells."""
    return (before.st_ino, before.st_dev, before.st_size, before.st_mtime_ns) == (
        after.st_ino,
        after.st_dev,
        after.st_size,
        after.st_mtime_ns,
    )


@contextmanager
def reopened(path: Path, facts: os.stat_result) -> Iterator[BinaryIO]:
    """Open a source file again, to read what its header promised when it was first read.

    Raises CorruptFileError if it changed since, vanished, or cannot be read any more.
    """
    try:
        with path.open("rb") as stream:
            if not unchanged(facts, os.fstat(stream.fileno())):
                raise CorruptFileError("the file changed since it was first read; take it in again")
            yield stream
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CorruptFileError(f"the file vanished or cannot be read any more: {reason}") from error


def parts_of(file: SourceFile, count: int) -> tuple[SourceFile, ...]:
    """One file as the source of each of its `count` series.

    Only the last series carries the file's digest and bytes, so that no file is counted twice; the others
    carry a digest of the file's and their number. Whether such a file was taken in before is told by its
    series, never by the digest alone (`Reader.several`).
    """
    digest = bytes.fromhex(file.digest)
    first = (
        SourceFile(file.path, 0, blake3(f"series {number} of ".encode() + digest).hexdigest())
        for number in range(count - 1)
    )
    return (*first, file)


def uid_of_part(digest: str, number: int) -> str:
    """The UID of series `number` (from 0) of a file with the given BLAKE3; series 0 has the file's own."""
    own = bytes.fromhex(digest)
    return uid_of_digest(
        own if number == 0 else blake3(f"uid of series {number} of ".encode() + own).digest()
    )


@contextmanager
def replacing(destination: Path) -> Iterator[BinaryIO]:
    """Write a file under a temporary name beside `destination`; it appears whole or not at all.

    Raises StorageError if it cannot be written.
    """
    partial = destination.with_name(f".{destination.name}.{secrets.token_hex(4)}.part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as stream:
            yield stream
        partial.replace(destination)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = error.strerror or type(error).__name__
            raise StorageError(f"{destination.name!r} cannot be written: {reason}") from error
        raise


def checked_frames(rendition: Rendition) -> Iterator[Frame]:
    """The frames of a rendition, each of the shape and type that its series says, and all of them.

    Raises IntegrityError otherwise.
    """
    series = rendition.series
    dtype = np.dtype(series.dtype)
    count = 0
    for count, frame in enumerate(rendition.frames, start=1):
        if frame.shape != series.frame_shape or frame.dtype != dtype:
            raise IntegrityError(
                f"frame {count} is {frame.dtype.name} {frame.shape}; "
                f"the series says {series.dtype} {series.frame_shape}"
            )
        if count > series.frames:
            break
        yield frame
    if count != series.frames:
        raise IntegrityError(f"the series has {series.frames} frames, {count} were delivered")
