"""What NRRD and MetaImage share: a header in text lines, with one array behind it or in files beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from imarium.errors import CorruptFileError, ImariumError, LimitExceededError
from imarium.formats._arrays import Encoding, Part, StoredArray, combined_digest, frames_of, payload_of
from imarium.formats._shared import uid_of_digest
from imarium.formats.base import ReadContext, Refusal
from imarium.model import Series, SourceFile, SourceSeries
from imarium.settings import Limits

_HEADER_BYTES = 4 << 20
"""Most bytes of a header; tens of thousands of lines."""
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_SIZE = re.compile(r"\d{1,18}")


def header_lines(stream: BinaryIO, limits: Limits, name: str) -> Iterator[bytes]:
    """Lines with their ends, for as long as the caller takes them to be the header of the format `name`.

    Raises LimitExceededError for more bytes than a header may have.
    """
    most = left = min(_HEADER_BYTES, limits.header_bytes)
    while line := stream.readline(left + 1):
        left -= len(line)
        if left < 0:
            raise LimitExceededError(f"the {name} header has more than {most} bytes (limits.header_bytes)")
        yield line


def whole(value: str, what: str) -> int:
    """A whole number; `what` names the field in the CorruptFileError for anything else."""
    if not _WHOLE.fullmatch(value):
        raise CorruptFileError(f"{what} is no whole number")
    return int(value)


def sizes_of(value: str, axes: int, what: str) -> tuple[int, ...]:
    """The lengths of the axes, the fastest first; raises CorruptFileError for anything else."""
    words = value.split()
    if len(words) != axes or not all(_SIZE.fullmatch(word) for word in words):
        raise CorruptFileError(f"{what} does not hold {axes} numbers, one for each dimension")
    sizes = tuple(int(word) for word in words)
    if min(sizes) < 1:
        raise CorruptFileError(f"{what} holds 0; every axis is at least 1 long")
    return sizes


def read_each(
    paths: Iterable[Path], context: ReadContext, read: Callable[[Path, ReadContext], SourceSeries]
) -> Iterator[SourceSeries | Refusal]:
    """What `read` makes of each file, or why it does not."""
    for path in paths:
        try:
            found: SourceSeries | Refusal = read(path, context)
        except ImariumError as error:
            found = Refusal(path, error)
        yield found
        del found  # a scratch file goes as soon as the caller lets go of the series


def source_of(
    header: SourceFile | None,
    parts: Sequence[Part],
    encoding: Encoding,
    array: StoredArray,
    context: ReadContext,
    attachments: dict[str, bytes],
    series_of: Callable[[str, list[str]], Series],
) -> SourceSeries:
    """The series of an array in `parts`; `header` is the file of a header that has its data elsewhere.

    `series_of` gets the UID, which follows from the content of all files, and the notes so far.
    """
    notes: list[str] = []
    payload, files = payload_of(parts, encoding, array, context, notes)
    if header is not None:
        files = (header, *files)
    return SourceSeries(
        series=series_of(uid_of_digest(combined_digest(files)), notes),
        files=files,
        read_frames=frames_of(array, payload, context),
        attachments=attachments,
    )
