"""NIfTI-1, NIfTI-2 and Analyze 7.5 without free text and extensions; voxels as they are.

Only fields that say where and what voxels are stay. Compressed files are compressed anew, since the wrapper
of gzip can hold a file name.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from imarium.deid.files.base import Part, Rewritten
from imarium.errors import CorruptFileError, LimitExceededError
from imarium.settings import Limits

_CHUNK = 1 << 20
_ANALYZE, _SECOND = 348, 540
_FIELDS_1 = {
    "data_type": (4, 14),
    "db_name": (14, 32),
    "descrip": (148, 228),
    "aux_file": (228, 252),
    "intent_name": (328, 344),
}
_FIELDS_2 = {"descrip": (240, 320), "aux_file": (320, 344), "intent_name": (508, 524), "unused": (525, 540)}
_FIELDS_ANALYZE = {
    "data_type": (4, 14),
    "db_name": (14, 32),
    "descrip": (148, 228),
    "aux_file": (228, 252),
    "generated": (263, 273),
    "scannum": (273, 283),
    "patient_id": (283, 293),
    "exp_date": (293, 303),
    "exp_time": (303, 313),
    "hist_un0": (313, 316),
}
_MAGICS = {b"n+1\0": True, b"ni1\0": False, b"n+2\0": True, b"ni2\0": False}


def recognises(head: bytes) -> bool:
    """Whether a file starts like a NIfTI or Analyze header, plain or gzipped."""
    if head[:2] == b"\x1f\x8b":
        try:
            head = zlib.decompressobj(31).decompress(head, 600)
        except zlib.error:
            return False
    return _order(head) is not None


def is_data_of_pair(path: Path) -> bool:
    """Whether a file is the voxels of a header beside it: NAME.img with NAME.hdr."""
    name = path.name.lower()
    for suffix in (".img", ".img.gz"):
        if name.endswith(suffix):
            stem = path.name[: -len(suffix)]
            return any(path.with_name(stem + end).is_file() for end in (".hdr", ".hdr.gz", ".HDR"))
    return False


def _order(head: bytes) -> str | None:
    if len(head) < _ANALYZE:
        return None
    for order in "<>":
        (size,) = struct.unpack_from(f"{order}i", head)
        (dimensions,) = struct.unpack_from(f"{order}h", head, 40)
        if size == _ANALYZE and 1 <= dimensions <= 7:
            return order
        if size == _SECOND and head[4:8] in _MAGICS:
            return order
    return None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, bool]]:
    with path.open("rb") as raw:
        if raw.read(2) == b"\x1f\x8b":
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield cast(BinaryIO, unpacked), True
            return
        raw.seek(0)
        yield raw, False


def rewritten(path: Path, limits: Limits, name: str) -> Rewritten:
    """The file without what identifies; whatever follows the last voxel is left out."""
    del name
    try:
        with _opened(path) as (file, packed):
            head = file.read(_SECOND)
    except (OSError, EOFError, zlib.error) as error:
        raise CorruptFileError("the header cannot be unpacked") from error
    order = _order(head)
    if order is None:
        raise CorruptFileError("the header is cut off")
    second = struct.unpack_from(f"{order}i", head)[0] == _SECOND
    magic = head[4:8] if second else head[344:348]
    single = _MAGICS.get(magic)
    fields = _FIELDS_2 if second else _FIELDS_ANALYZE if single is None else _FIELDS_1
    length = _SECOND if second else _ANALYZE
    if len(head) < length:
        raise CorruptFileError("the header is cut off")
    out = bytearray(head[:length])
    removed: Counter[str] = Counter()
    for field, (start, end) in fields.items():
        if out[start:end].strip(b"\0 "):
            removed[field] += 1
        out[start:end] = bytes(end - start)
    if single is None and _texts(bytes(out[253:263])):
        removed["originator"] += 1
        out[253:263] = bytes(10)  # SPM keeps an origin there, others a name
    suffix = (".nii" if single else ".hdr") + (".gz" if packed else "")
    if not single:
        whole = bytes(out) + (bytes(4) if single is not None else b"")
        return _small(path, whole, packed, removed, suffix)
    voxels, start = _voxels(head, order, second)
    if start < length or voxels > limits.file_bytes:
        raise LimitExceededError("the header asks for more voxels than the limit allows")
    placed = length + 4
    if start > placed:
        removed["extensions"] += 1
    struct.pack_into(f"{order}q" if second else f"{order}f", out, 168 if second else 108, placed)
    lead = bytes(out) + bytes(4)
    if packed:
        return Rewritten(path, (), removed, suffix, lambda: _repacked(path, lead, start, voxels))
    if start + voxels > path.stat().st_size:
        raise CorruptFileError("the voxels are cut off")
    return Rewritten(path, (lead, Part(start, start + voxels)), removed, suffix)


def _texts(data: bytes) -> bool:
    plain = data.rstrip(b"\0 ")
    return len(plain) > 2 and all(32 <= byte < 127 for byte in plain)


def _voxels(head: bytes, order: str, second: bool) -> tuple[int, int]:
    """(bytes of all voxels, where they begin)."""
    if second:
        dimensions = struct.unpack_from(f"{order}8q", head, 16)
        (bits,) = struct.unpack_from(f"{order}h", head, 14)
        (start,) = struct.unpack_from(f"{order}q", head, 168)
    else:
        dimensions = struct.unpack_from(f"{order}8h", head, 40)
        (bits,) = struct.unpack_from(f"{order}h", head, 72)
        (offset,) = struct.unpack_from(f"{order}f", head, 108)
        start = int(offset) if 0 <= offset < 1 << 40 else -1
    count = 1
    if not 1 <= dimensions[0] <= 7:
        raise CorruptFileError("the header has no valid number of dimensions")
    for side in dimensions[1 : dimensions[0] + 1]:
        count *= max(int(side), 1)
    if bits < 1 or start < 0:
        raise CorruptFileError("the header does not say what its voxels are")
    return (count * bits + 7) // 8, start


def _small(path: Path, data: bytes, packed: bool, removed: Counter[str], suffix: str) -> Rewritten:
    return Rewritten(path, (gzip.compress(data, mtime=0) if packed else data,), removed, suffix)


def _repacked(path: Path, lead: bytes, start: int, voxels: int) -> Iterator[bytes]:
    """The copy of a gzipped file: a new header, and the voxels compressed anew."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    yield packer.compress(lead)
    try:
        with _opened(path) as (file, _):
            for _ in _pieces(file, start):
                pass
            for piece in _pieces(file, voxels):
                yield packer.compress(piece)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorruptFileError("the voxels cannot be unpacked") from error
    yield packer.flush()


def _pieces(file: BinaryIO, count: int) -> Iterator[bytes]:
    while count:
        piece = file.read(min(_CHUNK, count))
        if not piece:
            raise CorruptFileError("the voxels are cut off")
        count -= len(piece)
        yield piece
