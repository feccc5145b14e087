"""Packed and written-out data as plain bytes, in small pieces, and unnamed scratch files to hold them.

Nothing here trusts its input: pieces are at most CHUNK bytes (numbers in text: a few times that), and
whoever keeps them stops at the number of bytes that a header promised.
"""

from __future__ import annotations

import binascii
import bz2
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from imarium.errors import CorruptFileError, StorageError
from imarium.formats._shared import CHUNK

GZIP = b"\x1f\x8b"
DEFLATE_RATIO = 1032
"""Deflate cannot shrink data further than this (RFC 1951: 258 bytes in 2 bits)."""
TRAILER_BYTES = 64 << 10
"""Most bytes after the last promised one that packed data may hold."""
_SPARE_BYTES = 64 << 20
"""Bytes that stay free in the scratch folder."""
_AT_ONCE = 64 << 10
"""Packed bytes read at a time: what follows a member is copied, and a member can be as small as 14 bytes."""
_BZIP2 = b"BZh"
_LONGEST_NUMBER = 64
"""Characters of a number in text; a float64 with all its digits has 25."""

Read: TypeAlias = Callable[[int], bytes]
"""Reads at most so many bytes; none at the end."""


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn what the system says of the scratch folder into a StorageError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StorageError(f"the scratch folder {folder.name!r} cannot be written: {reason}") from error


def scratch_file(folder: Path, length: int) -> IO[bytes]:
    """An unnamed file in `folder`, where `length` bytes are free; it goes when it is closed.

    Raises StorageError if they are not, or the folder cannot be written.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if length + _SPARE_BYTES > free:
            raise StorageError(f"unpacking needs {length} bytes in the scratch folder; {free} are free there")
        return tempfile.TemporaryFile(dir=folder)


def inflate(read: Read, notes: list[str], wbits: int = 31) -> Iterator[bytes]:
    """Unpacked pieces of gzip (RFC 1952; `wbits` 31), or of zlib (RFC 1950) or gzip (`wbits` 47).

    Members of gzip may follow one another. What follows them and is no member is left out, with a note
    unless it is zeros. Raises CorruptFileError if the data are damaged or cut.
    """
    name = "gzip" if wbits == 31 else "zlib"
    engine = zlib.decompressobj(wbits=wbits)
    after, data = False, b""
    while True:
        if not data:
            data = read(_AT_ONCE)
            if not data:
                break
        if engine.eof and not after:
            data = data.lstrip(b"\0")
            if not data:
                continue
            # The two bytes of the magic can be split between reads; one more byte settles it.
            if len(data) == 1:
                data += read(1)
            after = data[:2] != GZIP
            if not after:
                engine = zlib.decompressobj(wbits=31)
        if after:
            data = b""
            continue
        try:
            piece = engine.decompress(data, CHUNK)
        except zlib.error as error:
            raise CorruptFileError(f"the {name} data are damaged: they cannot be unpacked") from error
        data = engine.unused_data if engine.eof else engine.unconsumed_tail
        if piece:
            yield piece
    while not engine.eof and (piece := engine.decompress(b"", CHUNK)):
        yield piece
    if not engine.eof:
        raise CorruptFileError(f"the {name} data are truncated: the stream ends before its end marker")
    if after:
        notes.append(f"bytes after the end of the {name} data are left out")


def bunzip2(read: Read, notes: list[str]) -> Iterator[bytes]:
    """Unpacked pieces of bzip2; streams may follow one another, as members in `inflate`.

    Raises CorruptFileError if the data are damaged or cut.
    """
    engine = bz2.BZ2Decompressor()
    data = b""
    while True:
        if engine.eof:
            data = engine.unused_data.lstrip(b"\0")
            while not data and (more := read(_AT_ONCE)):
                data = more.lstrip(b"\0")
            if not data:
                return
            if len(data) < len(_BZIP2):
                data += read(len(_BZIP2))
            if not data.startswith(_BZIP2):
                notes.append("bytes after the end of the bzip2 data are left out")
                return
            engine = bz2.BZ2Decompressor()
        elif engine.needs_input:
            data = read(_AT_ONCE)
            if not data:
                raise CorruptFileError("the bzip2 data are truncated: the stream ends before its end marker")
        try:
            piece = engine.decompress(data, CHUNK)
        except (OSError, ValueError) as error:
            raise CorruptFileError("the bzip2 data are damaged: they cannot be unpacked") from error
        data = b""
        if piece:
            yield piece


def unhex(read: Read) -> Iterator[bytes]:
    """Bytes written as two hexadecimal digits each, with white space anywhere.

    Raises CorruptFileError for any other character.
    """
    rest = b""
    while data := read(CHUNK):
        text = rest + data.translate(None, b" \t\r\n\v\f")
        even = len(text) & ~1
        rest = text[even:]
        try:
            yield binascii.unhexlify(text[:even])
        except binascii.Error as error:
            raise CorruptFileError("the hexadecimal data hold something else than digits") from error


def numbers(read: Read, dtype: np.dtype[Any]) -> Iterator[bytes]:
    """Numbers in text, apart by white space or commas, as bytes of `dtype` (integers or floats).

    Raises CorruptFileError for what is no number, or one that the type cannot hold.
    """
    rest = b""
    while data := read(CHUNK // 4):
        text = (rest + data).replace(b",", b" ")
        words = text.split()
        rest = words.pop() if words and not text[-1:].isspace() else b""
        yield _parsed([*words, rest] if len(rest) > _LONGEST_NUMBER else words, dtype)
    yield _parsed([rest] if rest else [], dtype)


def _parsed(words: list[bytes], dtype: np.dtype[Any]) -> bytes:
    if any(len(word) > _LONGEST_NUMBER or b"_" in word for word in words):
        raise CorruptFileError("the text holds something else than numbers")
    try:
        if dtype.kind == "f":
            with np.errstate(over="ignore"):
                return np.array([float(word) for word in words], np.float64).astype(dtype).tobytes()
        return np.array([int(word) for word in words], dtype).tobytes()
    except (ValueError, OverflowError) as error:
        raise CorruptFileError(f"the text holds something else than numbers of type {dtype.name}") from error


def store(pieces: Iterable[bytes], file: IO[bytes], length: int, folder: Path, skip: int = 0) -> int:
    """Append the `length` bytes after the first `skip` to `file`; returns how many bytes follow these.

    Stops at what was promised: raises CorruptFileError if there are fewer bytes, or more than
    TRAILER_BYTES further ones, and StorageError if the scratch folder cannot take them.
    """
    done, end = 0, skip + length
    for piece in pieces:
        start = min(len(piece), max(0, skip - done))
        stop = min(len(piece), max(0, end - done))
        done += len(piece)
        if stop > start:
            with storage_errors(folder):
                file.write(memoryview(piece)[start:stop])
        if done > end + TRAILER_BYTES:
            raise CorruptFileError(
                f"more than {TRAILER_BYTES} bytes follow the {end} unpacked bytes that the header promises"
            )
    if done < end:
        raise CorruptFileError(
            f"the data are truncated: the header promises {end} bytes unpacked, there are {done}"
        )
    return done - end
