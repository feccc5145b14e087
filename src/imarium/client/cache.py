"""Bytes of packs kept on disk: bounded, shared between processes, and safe to lose at any time.

A pack's folder holds `bytes`, a sparse file in which every byte lies where it does in the pack, and `log`,
the spans that are there. Packs never change, so two processes that write the same span write the same bytes,
and no lock is needed. A span is logged after its bytes were written; what a crash leaves behind is noticed by
the checksums of parts, like any other damage.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from blake3 import blake3

from imarium.client.intervals import Intervals
from imarium.client.origin import Origin
from imarium.errors import InvalidRequestError
from imarium.pack import Span
from imarium.pack.layout import crc32c

_DEFAULT_BYTES = 10 << 30
_OPEN_PACKS = 64
_USE_NOTED_SECONDS = 30.0
_LOG_CHUNK = 1 << 20
_PAGE_BYTES = 4096
"""What a span may take on disk beyond its bytes."""
_GONE = ".gone-"
_LAYOUT = "ranges-1"
"""The layout of the folder; another one goes beside it."""


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """`IMARIUM_CACHE`, or the platform's folder for what may be lost."""
    if environ.get("IMARIUM_CACHE"):
        return Path(environ["IMARIUM_CACHE"]).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "imarium"
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "imarium"


def cache_bytes(environ: Mapping[str, str] = os.environ) -> int:
    """`IMARIUM_CACHE_BYTES`, 0 for none, or 10 GiB; raises InvalidRequestError."""
    text = environ.get("IMARIUM_CACHE_BYTES") or str(_DEFAULT_BYTES)
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidRequestError(f"IMARIUM_CACHE_BYTES is a number of bytes, not {text!r}")
    return int(text)


class _Mirror:
    """One pack's folder, open in this process."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError."""
        self._descriptors: list[int] = []
        self._lock = threading.Lock()
        self._there = Intervals()
        self._read, self._rest = 0, b""
        self._used = -_USE_NOTED_SECONDS
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Both of one folder, even if another process throws it out just now and makes a new one of that name.
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name, flags in (("bytes", 0), ("log", os.O_APPEND)):
                flags |= os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                self._descriptors.append(os.open(name, flags, 0o600, dir_fd=opened))
        finally:
            os.close(opened)
        self._bytes, self._log = self._descriptors
        self._identity = os.fstat(self._log).st_ino

    def __del__(self) -> None:
        """Once no thread reads from it any more: a descriptor that is closed too early becomes another's."""
        for descriptor in self._descriptors:
            os.close(descriptor)

    def is_current(self) -> bool:
        """False if the folder was thrown out since."""
        try:
            return os.stat(self._folder / "log").st_ino == self._identity
        except OSError:
            return False

    def get(self, spans: Sequence[Span]) -> list[bytes | None]:
        with self._lock:
            self._catch_up()
            there = [self._there.covers(*span) for span in spans]
            if time.monotonic() - self._used > _USE_NOTED_SECONDS:
                self._used = time.monotonic()
                os.utime(self._log)
        return [self._piece(*span) if held else None for span, held in zip(spans, there, strict=True)]

    def _piece(self, start: int, stop: int) -> bytes | None:
        piece = os.pread(self._bytes, stop - start, start)
        return piece if len(piece) == stop - start else None

    def put(self, spans: Sequence[Span], pieces: Sequence[bytes]) -> None:
        for (start, _), piece in zip(spans, pieces, strict=True):
            view = memoryview(piece)
            while view:
                written = os.pwrite(self._bytes, view, start)
                start, view = start + written, view[written:]
        self._note("+", spans)

    def forget(self, spans: Sequence[Span]) -> None:
        self._note("-", spans)

    def _note(self, sign: str, spans: Sequence[Span]) -> None:
        """Lines that stand by themselves, so that one torn by a crash spoils no other."""
        facts = (f"{sign} {start} {stop}" for start, stop in spans)
        os.write(self._log, "".join(f"\n{fact} {crc32c(fact.encode()):08x}\n" for fact in facts).encode())

    def _catch_up(self) -> None:
        """Read what any process has logged since."""
        while found := os.pread(self._log, _LOG_CHUNK, self._read):
            self._read += len(found)
            *lines, self._rest = (self._rest + found).split(b"\n")
            for line in lines:
                self._take(line)

    def _take(self, line: bytes) -> None:
        fact, _, check = line.rpartition(b" ")
        if not fact or check != b"%08x" % crc32c(fact):
            return
        sign, start, stop = fact.split(b" ")
        change = self._there.add if sign == b"+" else self._there.remove
        change(int(start), int(stop))


class RangeCache:
    """Spans of packs in a folder. Never raises for a disk that fails or is full: it keeps less then."""

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        """`folder` and `limit`, in bytes on disk, default to `cache_folder` and `cache_bytes`.

        Past the limit, the packs that were not used for longest go. A process looks each time that it has
        written a thirty-second of it.
        """
        self.limit = cache_bytes() if limit is None else limit
        self.folder = (folder or cache_folder()) / _LAYOUT
        self._start_over()

    def __reduce__(self) -> tuple[Any, ...]:
        return RangeCache, (self.folder.parent, self.limit)

    def _start_over(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._mirrors: OrderedDict[str, _Mirror] = OrderedDict()
        self._unseen = self.limit  # look before the first write

    def get(self, pack: str, spans: Sequence[Span]) -> list[bytes | None]:
        """The bytes of each span, or None."""
        with suppress(OSError):
            return self._mirror(pack).get(spans)
        return [None] * len(spans)

    def put(self, pack: str, spans: Sequence[Span], pieces: Sequence[bytes]) -> None:
        """Keep spans."""
        size = sum(len(piece) + _PAGE_BYTES for piece in pieces)
        if size > self.limit // 2:
            return
        with suppress(OSError):
            self._unseen += size
            if self._unseen > self.limit // 32:
                self._unseen = 0
                self.trim(self.limit - size)
            self._mirror(pack).put(spans, pieces)

    def forget(self, pack: str, spans: Sequence[Span]) -> None:
        """Spans that turned out to be damaged."""
        with suppress(OSError):
            self._mirror(pack).forget(spans)

    def size(self) -> int:
        """Bytes on disk."""
        return sum(size for _, size, _ in self._packs())

    def trim(self, limit: int) -> None:
        """Throw packs out, those not used for longest first, until nine tenths of `limit` are left."""
        packs = sorted(self._packs())
        total = sum(size for _, size, _ in packs)
        if total <= limit:
            return
        for _, size, folder in packs:
            if total <= limit * 0.9:
                return
            _remove(folder)
            total -= size

    def _packs(self) -> list[tuple[float, int, Path]]:
        """(last use, bytes on disk, folder) of every pack; leftovers of killed processes go."""
        found = []
        with suppress(OSError):
            for entry in os.scandir(self.folder):
                folder = Path(entry.path)
                if entry.name.startswith(_GONE):
                    shutil.rmtree(folder, ignore_errors=True)
                    continue
                with suppress(OSError):  # another process throws it out just now
                    content, log = os.stat(folder / "bytes"), os.stat(folder / "log")
                    found.append((log.st_mtime, 512 * (content.st_blocks + log.st_blocks), folder))
        return found

    def _mirror(self, pack: str) -> _Mirror:
        """Raises OSError."""
        if self._process != os.getpid():  # in a fork, where another thread may have held the lock
            self._start_over()
        name = blake3(pack.encode()).hexdigest()[:40]
        with self._lock:
            mirror = self._mirrors.pop(name, None)
            if mirror is None or not mirror.is_current():
                mirror = _Mirror(self.folder / name)
            self._mirrors[name] = mirror
            if len(self._mirrors) > _OPEN_PACKS:
                self._mirrors.popitem(last=False)
        return mirror


def _remove(folder: Path) -> None:
    """At once for everybody: first by its name, then from the disk."""
    gone = folder.with_name(f"{_GONE}{uuid.uuid4().hex}")
    with suppress(OSError):
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


class CachedOrigin:
    """An origin whose bytes are kept in a cache. Ask for pieces (`origin.pieces_of_index`): what is kept
    serves every level that it is part of."""

    near = False

    def __init__(self, origin: Origin, cache: RangeCache) -> None:
        self._origin, self._cache = origin, cache

    async def read(self, pack: str, spans: Sequence[Span]) -> list[bytes]:
        """See `Origin.read`."""
        found = await asyncio.to_thread(self._cache.get, pack, spans)
        missing = [span for span, piece in zip(spans, found, strict=True) if piece is None]
        if missing:
            fresh = iter(await self._fetched(pack, missing))
            return [next(fresh) if piece is None else piece for piece in found]
        return [piece for piece in found if piece is not None]

    async def reread(self, pack: str, spans: Sequence[Span]) -> list[bytes]:
        """See `Origin.reread`."""
        await asyncio.to_thread(self._cache.forget, pack, spans)
        return await self._fetched(pack, spans)

    async def _fetched(self, pack: str, spans: Sequence[Span]) -> list[bytes]:
        pieces = await self._origin.read(pack, spans)
        await asyncio.to_thread(self._cache.put, pack, spans, pieces)
        return pieces

    def know(self, pack: str, address: str) -> None:
        """See `Origin.know`."""
        self._origin.know(pack, address)

    async def close(self) -> None:
        """Close the origin; what is kept stays."""
        await self._origin.close()
