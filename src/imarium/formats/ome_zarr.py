"""OME-Zarr 0.5 (OME-NGFF): a multiscale image as one Zarr v3 group with an array a stored level.

Coordinates are those of the image's own axes, since OME-Zarr 0.5 knows scale and translation only: the centre
of the first full-resolution pixel is the origin, and a level's translation is how far its first pixel's
centre lies from there. Where the image lies in the patient stands beside the `ome` attribute, in `imarium`:
affine (column, row, slice to RAS+ mm) of every array, rescale slope and intercept, and notes.
"""

from __future__ import annotations

import math
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imarium.codec.color import check_colours, is_ybr, to_rgb
from imarium.errors import ExportRefusedError, InvalidRequestError, StorageError
from imarium.formats._shared import checked_frames
from imarium.formats.geometry_notes import report_geometry
from imarium.formats.outgoing import OutFile, Outgoing
from imarium.model import Rendition, Series, level_shape
from imarium.model.series import Frame
from imarium.model.windows import own_window

if TYPE_CHECKING:
    import zarr
    from zarr.codecs import ZstdCodec

SUFFIXES = (".ome.zarr", ".zarr")

_CHUNK_BYTES = 1 << 20
"""Frames are put together into chunks up to this size."""
_CHUNK_SIDE = 1024
_ZSTD_LEVEL = 3
_DESCRIPTION = "zarr.json"
_COLOURS = ("FF0000", "00FF00", "0000FF", "FFFFFF")
_MOST_HALVINGS = 16


@dataclass(slots=True)
class _Range:
    """The smallest and largest finite value seen."""

    low: float = math.inf
    high: float = -math.inf

    def see(self, values: NDArray[Any]) -> None:
        finite = np.abs(values) if values.dtype.kind == "c" else values
        if finite.dtype.kind == "f":
            finite = finite[np.isfinite(finite)]
        if finite.size:
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))


class OmeZarrWriter:
    """Writes a folder: stored values, little-endian, zstd; YBR_FULL becomes RGB.

    Axes are t, c, z, y and x, as far as the series has them. A further axis before time becomes c.
    """

    name = "ome-zarr"

    def write(self, rendition: Rendition, destination: Path) -> list[Path]:
        """Write the folder `destination`, which must not exist; returns it. Memory holds one chunk of frames.

        The arrays are the rendition's own level and the smaller ones that are stored. Raises
        InvalidRequestError for a name that does not end in .zarr or a folder that exists, and
        ExportRefusedError for more than five dimensions and for colours that have no RGB.
        """
        files = self._files(rendition, destination.name)
        if destination.exists():
            raise InvalidRequestError(f"{destination.name!r} exists; an OME-Zarr is written to a new folder")
        partial = destination.with_name(f".{destination.name}.{secrets.token_hex(4)}.part")
        try:
            partial.mkdir(parents=True)
            for name, content in files:
                path = partial / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            partial.rename(destination)
        except BaseException as error:
            with suppress(OSError):
                shutil.rmtree(partial, ignore_errors=True)
            if isinstance(error, OSError):
                reason = error.strerror or type(error).__name__
                raise StorageError(f"{destination.name!r} cannot be written: {reason}") from error
            raise
        return [destination]

    def outgoing(self, rendition: Rendition, name: str, scratch: Path) -> Outgoing:  # noqa: ARG002
        """The same folder; see `imarium.formats.base.Writer`."""
        files = (
            OutFile(f"{name}/{inner}", len(content), [content])
            for inner, content in self._files(rendition, name)
        )
        return Outgoing(f"{name}.zip", files)

    def _files(self, rendition: Rendition, name: str) -> Iterator[tuple[str, bytes]]:
        """Names within the folder, and contents."""
        if not name.lower().endswith(SUFFIXES):
            raise InvalidRequestError(f"an OME-Zarr folder ends in .ome.zarr, not {Path(name).suffix!r}")
        axes = _Axes.of(rendition.series)
        check_colours(rendition.series)
        report_geometry(rendition)
        return _group(rendition, axes)


@dataclass(frozen=True, slots=True)
class _Axes:
    """Where the axes of frames go in the arrays, whose order is t, c, z, y, x."""

    frame_axes: tuple[str, ...]
    """Names of `Series.dimensions`; () for a single picture."""
    samples: bool
    """Whether c is the samples of a pixel."""

    @classmethod
    def of(cls, series: Series) -> _Axes:
        count, samples = len(series.dimensions), series.samples > 1
        if count + samples > 3:
            raise ExportRefusedError(
                f"OME-Zarr has at most 5 dimensions; the series has {count} beside rows, columns"
                f"{' and colours' if samples else ''}; ask for npy"
            )
        if np.dtype(series.dtype).kind not in "biufc":
            raise ExportRefusedError(f"an array of type {series.dtype} cannot be written as OME-Zarr")
        unplaced = series.affine is None and count == 1
        if unplaced and series.frames == 1:
            return cls((), samples)
        if unplaced and series.time_step is not None:
            return cls(("t",), samples)
        return cls(("c", "t", "z")[3 - count :], samples)

    @property
    def names(self) -> list[str]:
        present = {*self.frame_axes, "y", "x"} | ({"c"} if self.samples else set())
        return [name for name in "tczyx" if name in present]

    def shape(self, series: Series) -> tuple[int, ...]:
        sizes = dict(zip(self.frame_axes, series.dimensions, strict=False))
        sizes |= {"y": series.rows, "x": series.columns}
        if self.samples:
            sizes["c"] = series.samples
        return tuple(sizes[name] for name in self.names)

    def chunks(self, series: Series) -> tuple[tuple[int, ...], int]:
        """A chunk's shape, and how many frames it is deep. All samples of a pixel are in one chunk."""
        side_y, side_x = min(series.rows, _CHUNK_SIDE), min(series.columns, _CHUNK_SIDE)
        size = side_y * side_x * series.samples * np.dtype(series.dtype).itemsize
        deep = max(1, min(_CHUNK_BYTES // size, series.dimensions[-1])) if self.frame_axes else 1
        sizes = dict.fromkeys(self.frame_axes, 1) | {"y": side_y, "x": side_x}
        if self.frame_axes:
            sizes[self.frame_axes[-1]] = deep
        if self.samples:
            sizes["c"] = series.samples
        return tuple(sizes[name] for name in self.names), deep

    def place(
        self, series: Series, first: int, block: list[Frame]
    ) -> tuple[tuple[int | slice, ...], NDArray[Any]]:
        """Where frames `first` and following go, which lie in one chunk, and the values in that order."""
        values = np.stack(block)
        if self.samples:
            # (frames, y, x, samples); the chunked axis of frames is t or z.
            values = np.moveaxis(values, -1, 1 if self.frame_axes[-1:] == ("t",) else 0)
        indexes = np.unravel_index(first, series.dimensions)
        found: dict[str, int | slice] = {
            name: int(index) for name, index in zip(self.frame_axes, indexes, strict=False)
        }
        if self.frame_axes:
            start = int(indexes[-1])
            found[self.frame_axes[-1]] = slice(start, start + len(block))
        else:
            values = values[:, 0] if self.samples else values[0]
        return tuple(found.get(name, slice(None)) for name in self.names), values


def _group(rendition: Rendition, axes: _Axes) -> Iterator[tuple[str, bytes]]:
    """The files of the group: chunks as soon as they are made, and what describes them last."""
    levels = rendition.levels() if rendition.levels is not None else [rendition]
    seen = _Range()
    # Loaded here: it takes a tenth of a second and much memory, at every start of every command.
    import zarr  # noqa: PLC0415
    from zarr.codecs import ZstdCodec  # noqa: PLC0415
    from zarr.storage import MemoryStore  # noqa: PLC0415

    held: dict[str, Any] = {}
    codec = ZstdCodec(level=_ZSTD_LEVEL)
    group = zarr.open_group(MemoryStore(held), mode="w-", zarr_format=3)
    for number, level in enumerate(levels):
        seen = _Range()  # of the smallest level alone, which says enough for a window
        for _ in _write_array(group, str(number), level, axes, seen, codec):
            for name in [name for name in held if not name.endswith(_DESCRIPTION)]:
                yield name, held.pop(name).to_bytes()
    group.update_attributes(
        {"ome": _ome(rendition, levels, axes, seen), "imarium": _own(rendition.series, levels)}
    )
    for name in sorted(held):
        yield name, held[name].to_bytes()


def _write_array(
    group: zarr.Group, name: str, level: Rendition, axes: _Axes, seen: _Range, codec: ZstdCodec
) -> Iterator[None]:
    """Writes the frames of a level; comes back after every chunk."""
    series = level.series
    chunks, deep = axes.chunks(series)
    array = group.create_array(
        name,
        shape=axes.shape(series),
        chunks=chunks,
        dtype=np.dtype(series.dtype),
        compressors=codec,
        dimension_names=axes.names,
        fill_value=0,
    )
    block: list[Frame] = []
    slices = series.dimensions[-1]
    for index, frame in enumerate(checked_frames(level), start=1):
        block.append(to_rgb(frame, series))
        seen.see(block[-1])
        if len(block) == deep or index % slices == 0 or index % slices % deep == 0:
            selection, values = axes.place(series, index - len(block), block)
            array[selection] = values
            block = []
            yield


def _ome(rendition: Rendition, levels: Sequence[Rendition], axes: _Axes, seen: _Range) -> dict[str, Any]:
    """The `ome` attribute (OME-NGFF 0.5: multiscales and omero)."""
    datasets = [
        {"path": str(number), "coordinateTransformations": _transformations(level, axes)}
        for number, level in enumerate(levels)
    ]
    described = [_axis(name, rendition.series) for name in axes.names]
    ome: dict[str, Any] = {
        "version": "0.5",
        "multiscales": [{"name": "series", "axes": described, "datasets": datasets}],
    }
    if seen.low <= seen.high:
        ome["omero"] = _omero(rendition.series, axes, seen)
    return ome


def _axis(name: str, series: Series) -> dict[str, str]:
    if name == "c":
        return {"name": "c", "type": "channel"}
    if name == "t":
        unit = {"unit": "second"} if series.time_step is not None else {}
        return {"name": "t", "type": "time"} | unit
    return {"name": name, "type": "space"} | ({} if series.affine is None else {"unit": "millimeter"})


def _transformations(level: Rendition, axes: _Axes) -> list[dict[str, Any]]:
    """Scale, then translation, of array indices to the axes' units."""
    series, source = level.series, level.source
    depth, row, column = source.spacing or (1.0, 1.0, 1.0)
    down, across = _factors(series, source)
    scale = {
        "t": series.time_step or 1.0,
        "c": 1.0,
        "z": depth,
        "y": row * down,
        "x": column * across,
    }
    moved = {"y": row * (down - 1) / 2, "x": column * (across - 1) / 2}
    return [
        {"type": "scale", "scale": [scale[name] or 1.0 for name in axes.names]},
        {"type": "translation", "translation": [moved.get(name, 0.0) for name in axes.names]},
    ]


def _factors(series: Series, source: Series) -> tuple[float, float]:
    """Full-resolution pixels that a pixel covers, down rows and across columns."""
    for level in range(_MOST_HALVINGS + 1):
        halved = source.at_level(level)
        if level_shape(source.rows, source.columns, level) == (series.rows, series.columns) and (
            halved.affine is None or halved.affine == series.affine
        ):
            return float(1 << level), float(1 << level)
    return source.rows / series.rows, source.columns / series.columns


def _omero(series: Series, axes: _Axes, seen: _Range) -> dict[str, Any]:
    """How to show the channels; limits are stored values, as those in the arrays."""
    dtype = np.dtype(series.dtype)
    low, high = seen.low, seen.high
    if dtype.kind == "b":
        low, high = 0, 1
    elif dtype.kind in "iu":
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        if series.bits_stored is not None and series.bits_stored < dtype.itemsize * 8:
            half = 1 << series.bits_stored - 1
            low, high = (-half, half - 1) if dtype.kind == "i" else (0, 2 * half - 1)
    colour = series.samples >= 3
    start, end = (low, high) if colour else _window(series) or (seen.low, seen.high)
    window = {"min": low, "max": high, "start": start, "end": end}
    names = ["red", "green", "blue", "alpha"] if colour else [series.modality or "value", "alpha"]
    sizes = dict(zip(axes.names, axes.shape(series), strict=True))
    channels = []
    for number in range(sizes.get("c", 1)):
        of_samples = axes.samples and number < len(names)
        channels.append(
            {
                "label": names[number] if of_samples else f"{names[0]} {number}" if number else names[0],
                "color": _COLOURS[number] if colour else "FFFFFF",
                "active": names[number] != "alpha" if of_samples else True,
                "inverted": series.photometric == "MONOCHROME1",
                "window": dict(window),
            }
        )
    return {
        "channels": channels,
        "rdefs": {
            "model": "color" if colour else "greyscale",
            "defaultT": 0,
            "defaultZ": sizes.get("z", 1) // 2,
        },
    }


def _window(series: Series) -> tuple[float, float] | None:
    """The default window as stored values."""
    window = own_window(series)
    if window is None or not series.rescale_slope:
        return None
    center, width = window
    edges = (center - width / 2, center + width / 2)
    low, high = sorted((edge - series.rescale_intercept) / series.rescale_slope for edge in edges)
    return low, high


def _own(series: Series, levels: Sequence[Rendition]) -> dict[str, Any]:
    """What OME-Zarr has no place for."""
    facts: dict[str, Any] = {
        "source_format": series.format,
        "photometric": "RGB" if is_ybr(series) else series.photometric,
        "rescale_slope": series.rescale_slope,
        "rescale_intercept": series.rescale_intercept,
        "rescale_unit": series.rescale_unit,
        "frame_rescale": series.frame_rescale,
        "label_map": series.label_map,
        "palette": series.palette,
        "affines": None if series.affine is None else [level.series.affine for level in levels],
        "notes": list(series.notes) or None,
    }
    return {key: value for key, value in facts.items() if value is not None}
