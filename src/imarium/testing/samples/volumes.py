"""NRRD and MetaImage files: headers in text, with the values behind them or in other files."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imarium.testing.frames import smooth_frames
from imarium.testing.samples._shared import picture, written

_NRRD_TYPES = {"int16": "short", "uint8": "uchar", "uint16": "ushort", "float32": "float", "int32": "int"}
_META_TYPES = {
    "int16": "MET_SHORT",
    "uint8": "MET_UCHAR",
    "uint16": "MET_USHORT",
    "float32": "MET_FLOAT",
    "int32": "MET_INT",
}


def _text(values: NDArray[Any]) -> bytes:
    lines = (" ".join(str(value) for value in row) for row in values.reshape(-1, values.shape[-1]).tolist())
    return "\n".join(lines).encode() + b"\n"


def _bytes(values: NDArray[Any], order: str = "<") -> bytes:
    return np.ascontiguousarray(values, values.dtype.newbyteorder(order)).tobytes()  # type: ignore[arg-type]


def _nrrd(shape: tuple[int, ...], dtype: str, encoding: str = "raw", **fields: str) -> bytes:
    """A header up to, but without, the blank line; `shape` has the slowest axis first."""
    lines = [
        "NRRD0005",
        "# made for tests",
        f"type: {_NRRD_TYPES[dtype]}",
        f"dimension: {len(shape)}",
        "sizes: " + " ".join(str(size) for size in reversed(shape)),
        f"encoding: {encoding}",
        "endian: little",
    ]
    given = {name.replace("_", " "): value for name, value in fields.items()}
    lines = [line for line in lines if line.partition(":")[0] not in given]
    # The name of the data comes last: behind it nothing could be missed.
    lines += [f"{name}: {value}" for name, value in sorted(given.items(), key=lambda item: "data" in item[0])]
    return "\n".join(lines).encode() + b"\n"


_PLACED = {
    "space": "left-posterior-superior",
    "space_directions": "(0.5,0,0) (0,0.75,0) (0,0,2)",
    "space_origin": "(-10,-20,30)",
}


def nrrd_small(folder: Path) -> Iterator[Path]:
    """Every encoding, either byte order, colours, vectors, a segmentation, and detached data."""
    values = smooth_frames(3, 20, 24)
    shape, raw = values.shape, _bytes(values)
    yield written(folder / "plain.nrrd", _nrrd(shape, "int16", **_PLACED) + b"\n" + raw)
    big = _nrrd(shape, "float32", endian="big", spacings="0.5 0.75 2")
    yield written(folder / "big-endian.nrrd", big + b"\n" + _bytes(values.astype(np.float32) / 7, ">"))
    for encoding, data in {
        "gzip": gzip.compress(raw, mtime=0),
        "bzip2": bz2.compress(raw),
        "hex": raw.hex().encode(),
        "text": _text(values),
    }.items():
        header = _nrrd(shape, "int16", encoding, **_PLACED)
        yield written(folder / f"{encoding}.nrrd", header + b"\n" + data)
    colour = np.stack([picture(20, 24, 3)] * 2)
    header = _nrrd(colour.shape, "uint8", kinds="RGB-color domain domain domain")
    yield written(folder / "colour.nrrd", header + b"\n" + colour.tobytes())
    vectors = np.moveaxis(smooth_frames(9, 20, 24, "uint16").reshape(3, 3, 20, 24), 1, -1)
    directions = "none (1,0,0) (0,1,0) (0,0,1)"
    header = _nrrd(
        vectors.shape, "uint16", "gzip", kinds="vector domain domain domain",
        space="RAS", space_directions=directions,
    )  # fmt: skip
    yield written(folder / "vectors.nrrd", header + b"\n" + gzip.compress(_bytes(vectors), mtime=0))
    labels = (values > 0).astype(np.uint8)
    pairs = b"Segment0_ID:=one\nSegment0_LabelValue:=1\n"
    header = _nrrd(shape, "uint8", "gzip", **_PLACED) + pairs
    yield written(folder / "labels.seg.nrrd", header + b"\n" + gzip.compress(labels.tobytes(), mtime=0))
    yield from _nrrd_detached(folder, values)


def _nrrd_detached(folder: Path, values: NDArray[Any]) -> Iterator[Path]:
    place = folder / "detached"
    written(place / "volume.raw", _bytes(values))
    yield written(place / "volume.nhdr", _nrrd(values.shape, "int16", data_file="volume.raw", **_PLACED))
    place = folder / "skipped"
    content = gzip.compress(b"sixteen bytes..." + _bytes(values), mtime=0)
    written(place / "volume.raw.gz", b"one line\nand another\n" + content)
    skips = {"line_skip": "2", "byte_skip": "16", "data_file": "volume.raw.gz"}
    yield written(place / "skipped.nhdr", _nrrd(values.shape, "int16", "gzip", **skips))
    for name, data_file in (("numbered", "slice%03d.raw 1 3 1"), ("listed", "LIST")):
        place = folder / name
        names = [f"slice{number:03d}.raw" for number in range(1, len(values) + 1)]
        for slice_name, frame in zip(names, values, strict=True):
            written(place / slice_name, _bytes(frame))
        header = _nrrd(values.shape, "int16", data_file=data_file)
        if name == "listed":
            header += "\n".join(names).encode()
        yield written(place / f"{name}.nhdr", header)


def nrrd_large(folder: Path) -> Path:
    """Packed, so that all of it has to be unpacked first."""
    values = np.tile(smooth_frames(4, 512, 512), (8, 1, 1))
    header = _nrrd(values.shape, "int16", "gzip", **_PLACED)
    return written(folder / "large.nrrd", header + b"\n" + gzip.compress(_bytes(values), 1, mtime=0))


def nrrd_liars(folder: Path) -> Iterator[Path]:
    """Sizes beyond the data, in every encoding, and data files beyond counting."""
    values = smooth_frames(2, 20, 24)
    raw = _bytes(values)
    encoded = {
        "raw": raw,
        "gzip": gzip.compress(raw, mtime=0),
        "bzip2": bz2.compress(raw),
        "hex": raw.hex().encode(),
        "text": _text(values),
    }
    sizes = {"sides": (1 << 40, 1 << 20, 1 << 20), "large": (20, 16000, 16000), "one-more": (3, 20, 24)}
    for encoding, data in encoded.items():
        for name, shape in sizes.items():
            yield written(folder / f"{name}-{encoding}.nrrd", _nrrd(shape, "int16", encoding) + b"\n" + data)
    vectors = _nrrd((2000, 2000, 64, 3), "int16", kinds="domain domain domain vector")
    yield written(folder / "turned.nrrd", vectors + b"\n" + raw)
    place = folder / "files"
    written(place / "slice1.raw", raw)
    header = _nrrd((10**8, 20, 24), "int16", data_file="slice%d.raw 1 100000000 1")
    yield written(place / "files.nhdr", header)


def _meta(shape: tuple[int, ...], dtype: str, **fields: str) -> bytes:
    """A header; `shape` has the slowest axis first, without channels."""
    given = {
        "ObjectType": "Image",
        "NDims": str(len(shape)),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "DimSize": " ".join(str(size) for size in reversed(shape)),
        "ElementType": _META_TYPES[dtype],
        **fields,
    }
    given["ElementDataFile"] = given.pop("ElementDataFile", "LOCAL")
    return "".join(f"{name} = {value}\n" for name, value in given.items()).encode()


def _packed(shape: tuple[int, ...], dtype: str, raw: bytes, **fields: str) -> bytes:
    data = zlib.compress(raw, 6)
    size = {"CompressedData": "True", "CompressedDataSize": str(len(data))}
    return _meta(shape, dtype, **size, **fields) + data


def meta_small(folder: Path) -> Iterator[Path]:
    """Plain, packed and in text; colours, channels; attached and detached."""
    values = smooth_frames(3, 20, 24)
    shape, raw = values.shape, _bytes(values)
    placed = {"TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "-10 -20 30", "ElementSpacing": "0.5 0.75 2"}
    yield written(folder / "plain.mha", _meta(shape, "int16", **placed) + raw)
    big = _meta(shape, "float32", BinaryDataByteOrderMSB="True")
    yield written(folder / "big-endian.mha", big + _bytes(values.astype(np.float32) / 7, ">"))
    yield written(folder / "packed.mha", _packed(shape, "int16", raw, **placed))
    yield written(folder / "text.mha", _meta(shape, "int16", BinaryData="False") + _text(values))
    colour = picture(20, 24, 3)
    header = _meta(colour.shape[:2], "uint8", ElementNumberOfChannels="3")
    yield written(folder / "colour.mha", header + colour.tobytes())
    channels = smooth_frames(2, 20, 24, "uint16").reshape(2, 20, 12, 2)
    yield written(
        folder / "channels.mha",
        _packed(channels.shape[:3], "uint16", _bytes(channels), ElementNumberOfChannels="2"),
    )
    place = folder / "detached"
    written(place / "volume.raw", bytes(16) + raw)
    header = _meta(shape, "int16", HeaderSize="16", ElementDataFile="volume.raw", **placed)
    yield written(place / "volume.mhd", header)
    place = folder / "packed-apart"
    written(place / "volume.zraw", zlib.compress(raw))
    header = _meta(shape, "int16", CompressedData="True", ElementDataFile="volume.zraw", **placed)
    yield written(place / "apart.mhd", header)
    for name, data_file in (("numbered", "slice%03d.raw 1 3 1"), ("listed", "LIST")):
        place = folder / name
        names = [f"slice{number:03d}.raw" for number in range(1, len(values) + 1)]
        for slice_name, frame in zip(names, values, strict=True):
            written(place / slice_name, _bytes(frame))
        header = _meta(shape, "int16", ElementDataFile=data_file)
        if name == "listed":
            header += "\n".join(names).encode()
        yield written(place / f"{name}.mhd", header)


def meta_large(folder: Path) -> Path:
    """Values as they are, in a file of their own."""
    values = np.tile(smooth_frames(4, 512, 512), (8, 1, 1))
    written(folder / "large" / "large.raw", _bytes(values))
    header = _meta(values.shape, "int16", ElementDataFile="large.raw")
    return written(folder / "large" / "large.mhd", header)


def meta_liars(folder: Path) -> Iterator[Path]:
    """Sizes beyond the data, in every encoding, and data files beyond counting."""
    raw = _bytes(smooth_frames(2, 20, 24))
    sizes = {"sides": (1 << 40, 1 << 20, 1 << 20), "large": (20, 16000, 16000), "one-more": (3, 20, 24)}
    for name, shape in sizes.items():
        yield written(folder / f"{name}.mha", _meta(shape, "int16") + raw)
        yield written(folder / f"{name}-packed.mha", _packed(shape, "int16", raw))
        text = _meta(shape, "int16", BinaryData="False") + _text(np.frombuffer(raw, "<i2").reshape(-1, 24))
        yield written(folder / f"{name}-text.mha", text)
    channels = _meta((2000, 2000, 64), "int16", ElementNumberOfChannels="2")
    yield written(folder / "turned.mha", channels + raw)
    many = _meta((2, 20, 24), "int16", ElementNumberOfChannels=str(10**12))
    yield written(folder / "channels.mha", many + raw)
    place = folder / "files"
    written(place / "slice1.raw", raw)
    header = _meta((10**8, 20, 24), "int16", ElementDataFile="slice%d.raw 1 100000000 1")
    yield written(place / "files.mhd", header)
