"""The program that reads HDF5 files, in a process of its own: `python -m` this module.

libhdf5 is not made for hostile files: it may crash, loop or ask for memory without end. Here it may, since
this process has bounded memory, is ended when it takes too long, and has no more than the one file. Once
that is open no other file can be opened (RLIMIT_NOFILE is 0): external links, external storage and virtual
datasets are passed over below, and would not get far if one were missed. Requests are those of
`imarium.formats.dicom.decoder_process`, without content; options are

    {"operation": "describe", "path", "identity", "limits": {...}}   -> JSON as uint8
    {"operation": "frame", "path", "identity", "dataset", "index", "cache"}  -> the values of one frame
    {"operation": "close"}                                           -> nothing
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from typing import Any

# No filter plug-in is ever loaded from disk.
os.environ["HDF5_PLUGIN_PRELOAD"] = "::"

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5p, h5s, h5t, h5z
from numpy.typing import NDArray

from imarium.formats.dicom import decoder_process

_FILTERS = frozenset((h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32, h5z.FILTER_SZIP, 32000))
"""gzip, shuffle, fletcher32, szip and lzf: exact, and built in."""
_TYPES = frozenset(("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"))
_OTHER_TYPES = frozenset(("float16", "float32", "float64", "complex64", "complex128"))
_LINKS = 4096
"""Most links that are followed or named."""
_DEPTH = 16
_CHUNK_SLOTS = 1 << 20
_TEXT_BYTES = 64 << 10
"""Longest text, and most bytes of numbers, of one attribute or small dataset."""
_ATTRIBUTES = 256
_SMALL_DATASETS = 64

_CLASSES = {
    h5t.STRING: "text",
    h5t.REFERENCE: "references",
    h5t.COMPOUND: "compounds",
    h5t.VLEN: "lists of different lengths",
    h5t.OPAQUE: "opaque bytes",
    h5t.BITFIELD: "bit fields",
    h5t.TIME: "times",
    h5t.ARRAY: "arrays",
}

Json = dict[str, Any]


def describe(file: h5py.File, limits: dict[str, int]) -> Json:
    """What is in a file: datasets that can be kept, why others cannot, attributes and small values."""
    described: Json = {
        "images": [],
        "notes": [],
        "attributes": _attributes(file.id),
        "values": {},
        "header": "",
        "reasons": {},
    }
    left_out = 0
    for path, identifier in _datasets(file, described["notes"]):
        try:
            _describe_dataset(path, identifier, described, limits)
        except _NoImageError as reason:
            described["reasons"][str(reason)] = None
            if len(described["notes"]) < 32:
                described["notes"].append(f"{_shown(path)} is left out: {reason}")
            else:
                left_out += 1
    if left_out:
        described["notes"].append(f"{left_out} more datasets are left out")
    return described


class _NoImageError(Exception):
    """Why a dataset is no image, or none that can be kept."""


def _datasets(file: h5py.File, notes: list[str]) -> Iterator[tuple[str, h5d.DatasetID]]:
    """Datasets reached by hard links, each once, in the order of their names."""
    seen: set[int] = set()
    waiting: list[tuple[str, int, h5g.GroupID]] = [("", 0, file.id)]
    links = 0
    while waiting:
        prefix, depth, group = waiting.pop()
        names: list[bytes] = []
        room = _LINKS - links

        def gather(name: bytes, names: list[bytes] = names, room: int = room) -> bool | None:
            names.append(name)
            return True if len(names) > room else None

        group.links.iterate(gather)
        links += len(names)
        if links > _LINKS:
            notes.append(f"more than {_LINKS} objects: the rest is left out")
            names = names[:-1]
        inside = []
        for name in names:
            path = f"{prefix}/{name.decode('utf-8', 'replace')}"
            kind = group.links.get_info(name).type
            if kind != h5l.TYPE_HARD:
                what = "a link within the file" if kind == h5l.TYPE_SOFT else "a link to another file"
                notes.append(f"{_shown(path)} is left out: it is {what}, which is not followed")
                continue
            info = h5o.get_info(group, name)
            if info.addr in seen:
                continue
            seen.add(info.addr)
            if info.type == h5o.TYPE_DATASET:
                identifier = h5d.open(group, name)
                yield path, identifier
            elif info.type == h5o.TYPE_GROUP:
                if depth >= _DEPTH:
                    notes.append(f"groups more than {_DEPTH} deep are left out")
                else:
                    inside.append((path, depth + 1, h5g.open(group, name)))
        waiting.extend(reversed(inside))
        if links > _LINKS:
            return


def _shown(path: str) -> str:
    """A path as it may be printed: other characters than printable ASCII could be anything."""
    clean = "".join(letter if " " <= letter <= "~" else "?" for letter in path)
    return clean if len(clean) <= 64 else f"{clean[:61]}..."


def _describe_dataset(path: str, identifier: h5d.DatasetID, described: Json, limits: dict[str, int]) -> None:
    stored = identifier.get_create_plist()
    if stored.get_layout() == h5d.VIRTUAL:
        raise _NoImageError("it is virtual: its values are in other datasets")
    if stored.get_external_count():
        raise _NoImageError("its values are in another file")
    space = identifier.get_space()
    if space.get_simple_extent_type() == h5s.NULL:
        raise _NoImageError("it is empty")
    shape = identifier.shape
    dtype = _dtype(identifier, shape, path, described)
    if dtype is None:
        return
    for number in range(stored.get_nfilters()):
        code = stored.get_filter(number)[0]
        if code not in _FILTERS:
            raise _NoImageError(f"filter {code} is not read; gzip, lzf, szip, shuffle and fletcher32 are")
    if len(shape) < 2 or 0 in shape:
        _keep_small(path, identifier, shape, dtype, described)
        return
    if len(shape) > 6:
        raise _NoImageError(f"it has {len(shape)} dimensions; 2 to 6 are read")
    colour = _is_true_colour(identifier, shape, dtype)
    leading, frame = (shape[:-3], shape[-3:]) if colour else (shape[:-2], shape[-2:])
    image = {
        "dataset": path,
        "shown": _shown(path),
        "shape": list(leading),
        "frame": list(frame),
        "dtype": dtype.name,
        "flags": _is_flags(identifier),
        "names": _names(identifier),
        "attributes": _attributes(identifier),
        "cache": _cache(stored, shape, len(leading), dtype.itemsize, limits),
    }
    bytes_of_frame = math.prod(frame) * dtype.itemsize
    if frame[0] * frame[1] > limits["frame_pixels"] or bytes_of_frame > limits["frame_bytes"]:
        raise _NoImageError(f"a frame of {frame[1]} x {frame[0]} values is beyond the limits")
    if math.prod(leading) > limits["frames"]:
        raise _NoImageError(f"{math.prod(leading)} frames are beyond the limit of {limits['frames']}")
    if math.prod(leading) * bytes_of_frame > limits["bytes"]:
        raise _NoImageError(f"{math.prod(leading) * bytes_of_frame} bytes are more than such a file can hold")
    if len(described["images"]) >= limits["images"]:
        raise _NoImageError(f"at most {limits['images']} datasets of a file become series")
    described["images"].append(image)


def _dtype(
    identifier: h5d.DatasetID, shape: tuple[int, ...], path: str, described: Json
) -> np.dtype[Any] | None:
    """The NumPy type of numbers; None for a text that was kept. Raises _NoImageError for other types."""
    kind = identifier.get_type()
    if kind.get_class() == h5t.STRING and shape == ():
        _keep_text(path, identifier, described)
        return None
    try:
        # What h5py makes of types: {r, i} compounds are complex, {FALSE, TRUE} enumerations flags.
        dtype: np.dtype[Any] = np.dtype(identifier.dtype)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise _NoImageError("its type has no counterpart here") from error
    if dtype == np.bool_ or dtype.name in _TYPES:
        if kind.get_class() not in (h5t.INTEGER, h5t.ENUM):
            raise _NoImageError(f"it holds {_CLASSES.get(kind.get_class(), 'no numbers')}")
        return np.dtype(np.uint8) if dtype == np.bool_ else dtype.newbyteorder("=")
    if dtype.name in _OTHER_TYPES and dtype.subdtype is None:
        return dtype.newbyteorder("=")
    name = _CLASSES.get(kind.get_class(), "numbers of a kind that cannot be kept exactly")
    raise _NoImageError(f"it holds {name}")


def _is_flags(identifier: h5d.DatasetID) -> bool:
    return bool(np.dtype(identifier.dtype) == np.bool_)


def _names(identifier: h5d.DatasetID) -> dict[str, int]:
    """Names of the values of an enumeration."""
    names = h5py.check_enum_dtype(identifier.dtype) or {}
    return {str(name): int(value) for name, value in list(names.items())[:_LINKS]}


def _is_true_colour(identifier: h5d.DatasetID, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether the last axis is red, green and blue (HDF5 Image and Palette Specification 1.2)."""
    if len(shape) < 3 or shape[-1] != 3 or dtype.name not in ("uint8", "uint16"):
        return False
    said = _attributes(identifier)
    return said.get("IMAGE_SUBCLASS") == "IMAGE_TRUECOLOR" and said.get("INTERLACE_MODE") == "INTERLACE_PIXEL"


def _cache(
    stored: h5p.PropDCID, shape: tuple[int, ...], leading: int, itemsize: int, limits: dict[str, int]
) -> int:
    """Bytes of the chunks that one frame touches, so that each is unpacked once for the frames it holds."""
    if stored.get_layout() != h5d.CHUNKED:
        return 0
    chunk = stored.get_chunk()
    size = math.prod(chunk) * itemsize
    if size > limits["frame_bytes"]:
        raise _NoImageError(f"its chunks of {size} bytes are beyond the limit of {limits['frame_bytes']}")
    pairs = list(zip(shape, chunk, strict=True))
    touched = math.prod(-(-length // part) for length, part in pairs[leading:])
    shared = math.prod(part for _, part in pairs[:leading]) > 1
    if shared and touched * size > limits["frame_bytes"]:
        raise _NoImageError("each of its frames takes more chunks than may be in memory")
    if touched > _CHUNK_SLOTS:
        raise _NoImageError(f"each of its frames is in {touched} chunks")
    return touched * size if shared else 0


def _keep_small(
    path: str, identifier: h5d.DatasetID, shape: tuple[int, ...], dtype: np.dtype[Any], described: Json
) -> None:
    """Keep a few numbers (a sampling mask) beside the images."""
    size = math.prod(shape) * dtype.itemsize
    chunk = identifier.get_create_plist()
    if chunk.get_layout() == h5d.CHUNKED and math.prod(chunk.get_chunk()) * dtype.itemsize > 1 << 24:
        raise _NoImageError("its chunks are too large for so few values")
    if size == 0 or size > _TEXT_BYTES or len(described["values"]) >= _SMALL_DATASETS:
        raise _NoImageError(f"it has the shape {list(shape)}, which is no image")
    values = np.empty(shape, np.bool_ if _is_flags(identifier) else dtype)
    identifier.read(h5s.ALL, h5s.ALL, values)
    described["values"][path] = {"dtype": dtype.name, "shape": list(shape), "values": _json(values)}


def _keep_text(path: str, identifier: h5d.DatasetID, described: Json) -> None:
    value = h5py.Dataset(identifier)[()]
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    if path == "/ismrmrd_header":
        if len(text) > 4 << 20:
            raise _NoImageError("it is longer than 4 MiB")
        described["header"] = text
    elif len(text) <= _TEXT_BYTES and len(described["values"]) < _SMALL_DATASETS:
        described["values"][path] = text
    else:
        raise _NoImageError("it is a long text")


def _attributes(identifier: Any) -> Json:
    """Attributes that are text or a few numbers; others are passed over."""
    names: list[bytes] = []

    def gather(name: bytes, *_: Any) -> bool | None:
        names.append(name)
        return True if len(names) >= _ATTRIBUTES else None

    h5a.iterate(identifier, gather)
    kept: Json = {}
    for name in names:
        with contextlib.suppress(Exception):  # one that cannot be read is no reason to refuse the images
            attribute = h5a.open(identifier, name)
            value = _attribute(attribute)
            if value is not None:
                kept[name.decode("utf-8", "replace")] = value
    return kept


def _attribute(attribute: h5a.AttrID) -> Any:
    kind, shape = attribute.get_type(), attribute.shape
    if attribute.get_space().get_simple_extent_type() == h5s.NULL:
        return None
    if kind.get_class() == h5t.STRING:
        if shape not in ((), (1,)) or (not kind.is_variable_str() and kind.get_size() > _TEXT_BYTES):
            return None
        values = np.empty(shape, attribute.dtype)
        attribute.read(values)
        value = values.reshape(-1)[0]
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        return text if len(text) <= _TEXT_BYTES else None
    dtype = np.dtype(attribute.dtype)
    if dtype.kind not in "iufb" or math.prod(shape) * dtype.itemsize > _TEXT_BYTES:
        return None
    values = np.empty(shape, dtype)
    attribute.read(values)
    return _json(values)


def _json(values: NDArray[Any]) -> Any:
    """Numbers for JSON, which knows no infinities and no complex numbers."""
    flat = values.reshape(-1)
    if values.dtype.kind == "c":
        listed: list[Any] = [repr(complex(value)) for value in flat]
    elif values.dtype.kind == "f":
        listed = [float(value) if math.isfinite(value) else repr(float(value)) for value in flat]
    else:
        listed = flat.tolist()
    return listed[0] if values.shape == () else np.array(listed, object).reshape(values.shape).tolist()


def frame(file: h5py.File, options: Json) -> NDArray[Any]:
    """The values of one frame in native byte order; flags as 0 and 1."""
    access = h5p.create(h5p.DATASET_ACCESS)
    cache = int(options["cache"])
    if cache:
        access.set_chunk_cache(_CHUNK_SLOTS + 7, cache + (1 << 20), 1.0)
    dataset = _open_dataset(file, options["dataset"].encode(), access, cache)
    shape = dataset.shape
    index = tuple(options["index"])
    space = dataset.get_space()
    inner = shape[len(index) :]
    space.select_hyperslab((*index, *[0] * len(inner)), (*[1] * len(index), *inner))
    dtype = np.dtype(dataset.dtype)
    values = np.empty(inner, dtype if dtype == np.bool_ else dtype.newbyteorder("="))
    dataset.read(h5s.create_simple(inner), space, values)
    return values.view(np.uint8) if dtype == np.bool_ else values


_kept: dict[str, Any] = {}
"""The open file and dataset, with what they were asked for by."""


def _open_dataset(file: h5py.File, path: bytes, access: h5p.PropDAID, cache: int) -> h5d.DatasetID:
    """The dataset of a path, kept open so that its chunks stay in memory between frames."""
    if _kept.get("dataset") != (path, cache):
        _kept["identifier"] = h5d.open(file.id, path, access)
        _kept["dataset"] = path, cache
    identifier: h5d.DatasetID = _kept["identifier"]
    return identifier


def _close() -> None:
    for name in ("identifier", "dataset"):
        _kept.pop(name, None)
    file = _kept.pop("file", None)
    if file is not None:
        with contextlib.suppress(Exception):
            file.close()
    _kept.clear()
    _may_open(True)


def _may_open(allowed: bool) -> None:
    """Whether this process may open files (POSIX only): with a limit of 0 nothing can be opened."""
    try:
        import resource  # noqa: PLC0415 - not on every platform
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = (1024 if hard == resource.RLIM_INFINITY else min(1024, hard)) if allowed else 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _open(path: str, identity: list[int]) -> h5py.File:
    if _kept.get("key") != (path, identity):
        _close()
        access = h5p.create(h5p.FILE_ACCESS)
        access.set_fclose_degree(h5f.CLOSE_STRONG)
        _kept["file"] = h5py.File(h5f.open(path.encode("utf-8", "surrogateescape"), h5f.ACC_RDONLY, access))
        found = os.stat(path)
        if [found.st_ino, found.st_dev, found.st_size, found.st_mtime_ns] != identity:
            _close()
            raise ValueError("changed")
        _kept["key"] = path, identity
        _may_open(False)
    file: h5py.File = _kept["file"]
    return file


def work(_content: bytes, options: Json) -> tuple[NDArray[Any], str]:
    """Answer one request; see the module."""
    if options["operation"] == "close":
        _close()
        return np.empty(0, np.uint8), ""
    file = _open(options["path"], options["identity"])
    if options["operation"] == "describe":
        text = json.dumps(describe(file, options["limits"])).encode()
        return np.frombuffer(text, np.uint8), ""
    return frame(file, options), ""


def warm_up() -> None:
    """Do everything once with a file in memory: later no module and no codec can be loaded any more."""
    with h5py.File("warm-up", "w", driver="core", backing_store=False) as file:
        file.attrs.update(text="text", ascii=np.bytes_(b"text"), number=1.5)
        file["header"], file["bytes"] = "text", np.full((2, 2), b"text")
        file["compound"] = np.zeros((2, 2), [("a", "u1")])
        file["complex"], file["flags"] = np.zeros((2, 2), np.complex64), np.zeros((2, 2), np.bool_)
        file.create_dataset("lists", (2, 2), h5py.vlen_dtype(np.int32))
        file.create_dataset("references", (2, 2), h5py.ref_dtype)
        file.create_dataset("names", (2, 2), h5py.enum_dtype({"a": 0}))
        file.create_dataset("packed", (2, 2), "f4", chunks=(1, 2), compression="gzip", fletcher32=True)
        limits = dict.fromkeys(("frame_pixels", "frame_bytes", "frames", "bytes", "images"), 1 << 20)
        for image in describe(file, limits)["images"]:
            frame(file, image | {"index": [0] * len(image["shape"])})
        _close()


if __name__ == "__main__":
    warm_up()
    decoder_process.main(work)
