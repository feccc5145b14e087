"""Series to files: each whole or not there, and a second call goes on where the first one ended."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from imarium.client.files import SUFFIXES, beside, nifti_image, written
from imarium.client.origin import together
from imarium.errors import (
    AuthenticationError,
    ExportRefusedError,
    ImariumError,
    InvalidRequestError,
    StorageError,
    TransportError,
)
from imarium.model import Series
from imarium.model.series import Frame

if TYPE_CHECKING:
    from imarium.client.core import AsyncSeries, Size, Spacing

FORMATS = ("nifti", "npy", "dicom", "png", "ome-zarr")
_AT_ONCE = 4
_WHOLE_BYTES = 64 << 20
"""Decoded pixels that are held at once: index and bytes of a small series come in one request."""
_JOURNAL = ".imarium-download"
"""In the folder of a download: which file holds what, a line each."""
_SAFE = re.compile(r"[0-9A-Za-z][0-9A-Za-z.-]{0,99}")


class Exports(Protocol):
    """Writes formats that the client cannot write."""

    async def export(self, uid: str, folder: Path, query: Mapping[str, Any]) -> list[Path]:
        """Files, or a folder that is one, that were made in `folder`. Raises ExportRefusedError."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a series is written as: at most one of the three is given."""

    format_name: str = "nifti"
    level: int | None = None
    size: Size | None = None
    spacing: Spacing | None = None

    def __post_init__(self) -> None:
        if self.format_name not in FORMATS:
            raise InvalidRequestError(f"formats are {', '.join(FORMATS)}, not {self.format_name!r}")
        if sum(given is not None for given in (self.level, self.size, self.spacing)) > 1:
            raise InvalidRequestError("ask for a level, for a size or for a spacing, not for several of them")
        if self.spacing is not None and self.format_name not in SUFFIXES:
            raise InvalidRequestError(f"a spacing is for nifti and npy, not for {self.format_name}")

    @property
    def _resolution(self) -> str:
        """The end of a file's name that tells the resolution."""
        if self.size is not None:
            return f"-size{self._size}"
        if self.spacing is not None:
            given = self.spacing if isinstance(self.spacing, tuple) else (self.spacing,)
            return "-spacing" + "x".join("own" if value is None else f"{value:g}" for value in given)
        return f"-level{self.level}" if self.level else ""

    def name(self, uid: str) -> str:
        """The name of a series' file, or of the folder of its files."""
        if not _SAFE.fullmatch(uid):  # of no DICOM file and of none of ours, but names lead nowhere else
            uid = hashlib.sha256(uid.encode()).hexdigest()
        ending = {"dicom": "-dicom", "png": "-png", "ome-zarr": ".ome.zarr"}
        last = ending.get(self.format_name) or SUFFIXES[self.format_name][0]
        return f"{uid}{self._resolution}{last}"

    def query(self) -> dict[str, Any]:
        """For an export."""
        return {"format": self.format_name, "level": self.level, "size": self._size}

    @property
    def _size(self) -> str | None:
        """The size as a server reads it."""
        if isinstance(self.size, tuple):
            return "x".join(str(side) for side in self.size)
        return None if self.size is None else str(self.size)


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What became of one series."""

    series: str
    path: Path
    status: str
    """written, kept (it was there already) or failed."""
    bytes: int = 0
    """Of its files."""
    error: ImariumError | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is."""

    last: Downloaded
    done: int
    """Series, those that were there and those that failed too."""
    total: int


async def save(series: AsyncSeries, exports: Exports | None, target: Path, form: Form) -> Path:
    """Write one series to a file, or to a folder where the format has several."""
    if form.format_name not in SUFFIXES:
        if exports is None:
            raise ExportRefusedError(f"{form.format_name} is written by a server only; ask for nifti or npy")
        await _save_export(series, exports, target, form)
        return target
    facts, frames = await rendered(series, form)
    with written(target, form.format_name, facts) as sink:
        async for frame in frames:
            await asyncio.to_thread(sink.add, frame)
    return target


async def to_nifti(series: AsyncSeries, form: Form) -> Any:
    """A nibabel image in memory."""
    facts, frames = await rendered(series, form)
    held = [frame async for frame in frames]
    return await asyncio.to_thread(nifti_image, facts, iter(held))


async def rendered(series: AsyncSeries, form: Form) -> tuple[Series, AsyncIterator[Frame]]:
    """Facts and frames at a resolution. Memory is bounded for levels; sizes and spacings need the volume."""
    level = form.level or 0
    resampled = form.size is not None or form.spacing is not None
    if not resampled and series.pixel_bytes(level) > _WHOLE_BYTES:
        index = await series.index()
        index.check_level(level)
        return index.series.at_level(level), series.frames(level=level)
    volume = await series.volume(form.level, size=form.size, spacing=form.spacing)
    facts = volume.series
    assert facts is not None

    async def each() -> AsyncIterator[Frame]:
        for frame in np.asarray(volume).reshape(-1, *facts.frame_shape):
            yield frame

    return facts, each()


async def _save_export(series: AsyncSeries, exports: Exports, target: Path, form: Form) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=beside(target).name, dir=target.parent))
    except OSError as error:
        raise StorageError(f"the folder cannot be written to: {error.strerror}") from error
    try:
        files = await exports.export(series.uid, draft, form.query())
        whole = files[0]
        if form.format_name != "ome-zarr":
            whole = draft / "whole"
            whole.mkdir()
            for file in files:
                file.replace(whole / file.name)
        await asyncio.to_thread(_put_in_place, whole, target)
    except OSError as error:
        raise StorageError(f"the export cannot be written: {error.strerror or 'out of room'}") from error
    finally:
        await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)


def _put_in_place(whole: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    whole.replace(target)


class _Journal:
    """Which files of a folder are finished, and which bytes of which pack they were made of."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _JOURNAL
        self._made: dict[str, list[Any]] = {}
        with suppress(OSError):
            for line in self._path.read_text(errors="replace").splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    item = json.loads(line)
                    self._made[str(item["name"])] = item["of"]

    def has(self, path: Path, of: list[Any]) -> bool:
        return self._made.get(path.name) == of and path.exists()

    def add(self, path: Path, of: list[Any]) -> None:
        with self._path.open("a") as file:
            file.write("\n" + json.dumps({"name": path.name, "of": of}) + "\n")
        self._made[path.name] = of


async def save_all(
    several: Sequence[AsyncSeries],
    exports: Exports | None,
    folder: Path,
    form: Form,
    report: Callable[[Progress], None] | None = None,
) -> list[Downloaded]:
    """Write many series into a folder, a few at the same time; what is finished there stays.

    A series that fails is told as failed, and the others go on. Raises TransportError, AuthenticationError
    and StorageError, which every series would meet.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the folder cannot be made: {error.strerror}") from error
    journal = _Journal(folder)
    turns = asyncio.Semaphore(_AT_ONCE)
    done = 0

    async def one(series: AsyncSeries) -> Downloaded:
        nonlocal done
        path = folder / form.name(series.uid)
        of = [series.pack, *series.metadata["pack"]["index"]]
        async with turns:
            if journal.has(path, of):
                made = Downloaded(series.uid, path, "kept", _size(path))
            else:
                made = await _made(series, path)
                if made.status == "written":
                    journal.add(path, of)
        done += 1
        if report is not None:
            report(Progress(made, done, len(several)))
        return made

    async def _made(series: AsyncSeries, path: Path) -> Downloaded:
        try:
            await save(series, exports, path, form)
        except (TransportError, AuthenticationError, StorageError):
            raise
        except ImariumError as error:
            return Downloaded(series.uid, path, "failed", error=error)
        return Downloaded(series.uid, path, "written", _size(path))

    try:
        return await together(one(series) for series in several)
    except OSError as error:
        raise StorageError(f"the folder cannot be written to: {error.strerror}") from error


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
    return path.stat().st_size
