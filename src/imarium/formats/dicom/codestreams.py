"""Stored codestreams as DICOM wants them: of the header's precision and sign, without coding pixels anew.

PS3.5 8.2.4 demands that Bits Stored and Pixel Representation agree with the codestream, but packs hold every
frame as signed 16-bit samples. Two facts of the reversible 5/3 wavelet (ISO/IEC 15444-1 Annexes E, F and G)
make them agree:

- The precision in the SIZ marker only says how the last step clamps and by how much it shifts. How many bit
  planes a subband has stands in QCD. So signed samples of fewer bits need another byte in SIZ.
- Unsigned samples of P bits are decoded as signed ones plus 2**(P - 1). Adding a constant to an image adds
  it to its smallest resolution (with the reversible colour transform, to luminance) and changes nothing
  else. So signed becomes unsigned by coding the smallest resolution anew, which is one pixel in 4**D; the
  other tile-parts stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from imarium.codec import htj2k
from imarium.codec.frames import decompositions_for
from imarium.errors import IntegrityError
from imarium.model import Codestream
from imarium.model.geometry import level_shape
from imarium.model.series import Frame

MOST_BITS = 16
"""Beyond it codestreams have more bit planes than decoders in use take (OpenJPEG: 31)."""
LARGEST_BASE = 64
"""The smaller side of the smallest resolution that HTJ2K Lossless RPCL allows (PS3.5 10.18)."""

_SIZ, _CAP, _COD, _QCD, _QCC, _TLM, _SOT = (
    b"\xff\x51", b"\xff\x50", b"\xff\x52", b"\xff\x5c", b"\xff\x5d", b"\xff\x55", b"\xff\x90",
)  # fmt: skip
_SOD = b"\xff\x93"
_RPCL = 2
_REVERSIBLE = 1
_STORED_PRECISION = 0x80 | 15
_SOT_BYTES = 12


@dataclass(frozen=True, slots=True)
class _Head:
    """Where things stand in the main header; see `_read_head`."""

    precisions: int
    """First of the components' Ssiz, which are 3 bytes apart."""
    components: int
    capability: int
    """Ccap15, whose last five bits bound the magnitudes (ISO/IEC 15444-15 A.3)."""
    transform: int
    """Multiple component transformation of COD."""
    decompositions: int
    quantization: int
    """Sqcd; the exponent of the smallest resolution follows."""
    first_length: int
    """Ptlm of the first tile-part."""
    tiles: int
    """First tile-part."""


def is_rpcl(rows: int, columns: int) -> bool:
    """Whether images of this size, coded with as many decompositions as packs have, may call themselves
    HTJ2K Lossless RPCL."""
    decompositions = max(1, decompositions_for(rows, columns))
    return min(level_shape(rows, columns, decompositions)) <= LARGEST_BASE


def rewrapped(stream: Codestream, bits: int, *, signed: bool) -> bytes | None:
    """The codestream with samples of `bits` bits, which decode to the same values.

    None if it has to be coded anew: it holds more than 16 bits, or values that do not fit.
    Raises IntegrityError if it does not decode.
    """
    head = _read_head(stream.data)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if head is None or not (low <= stream.low and stream.high <= high) or bits > MOST_BITS:
        return None
    start = bytearray(stream.data[: head.tiles])
    if signed:
        _put_precision(start, head, bits, signed=True)
        return b"".join([start, memoryview(stream.data)[head.tiles :]])
    if start[head.transform] and stream.high - stream.low > htj2k.INT16_BOUND:
        return None  # colour differences could overflow
    return _unsigned(stream.data, start, head, bits)


def encoded(frame: Frame, bits: int, *, signed: bool, rgb: bool) -> bytes:
    """A frame of at most 16-bit integers as a codestream of `bits` bits: RPCL, reversible, with TLM.

    Raises IntegrityError if other values come back.
    """
    shift = 0 if signed else 1 << bits - 1
    coded = np.subtract(frame, shift, dtype=np.int32).astype(np.int16)
    stream = _encode(coded, max(1, decompositions_for(*frame.shape[:2])), rgb=rgb)
    head = _read_head(stream)
    if head is None or not np.array_equal(htj2k.decode(stream, 0), coded):
        raise IntegrityError("a frame does not decode to the values it was made from")
    start = bytearray(stream[: head.tiles])
    _put_precision(start, head, bits, signed=signed)
    return bytes(start) + stream[head.tiles :]


def _unsigned(data: bytes, start: bytearray, head: _Head, bits: int) -> bytes | None:
    """Code the smallest resolution anew, 2**(bits - 1) lower."""
    length = int.from_bytes(data[head.tiles + 6 : head.tiles + 10], "big")
    first = data[head.tiles : head.tiles + length]
    if first[_SOT_BYTES : _SOT_BYTES + 2] != _SOD:
        return None
    coloured = start[head.transform]
    start[head.transform] = 0  # the components as they are, luminance first
    base = htj2k.decode(bytes(start) + first, head.decompositions).astype(np.int32)
    lowered = base[..., 0] if coloured else base
    lowered -= 1 << bits - 1
    if base.min() < np.iinfo(np.int16).min:
        return None
    made = _encode(_without_detail(base.astype(np.int16)), 1, rgb=False)
    other = _read_head(made)
    if other is None:
        return None
    made_length = int.from_bytes(made[other.tiles + 6 : other.tiles + 10], "big")
    packets = made[other.tiles + _SOT_BYTES : other.tiles + made_length]
    # Bit planes are guard bits plus exponent minus 1; the guard bits are those of all subbands.
    exponent = (made[other.quantization + 1] >> 3) + (made[other.quantization] >> 5)
    exponent -= start[head.quantization] >> 5
    if not 0 <= exponent <= 31:
        return None
    start[head.quantization + 1] = exponent << 3 | start[head.quantization + 1] & 7
    start[head.capability + 1] = max(start[head.capability + 1], made[other.capability + 1])
    size = (_SOT_BYTES + len(packets)).to_bytes(4, "big")
    start[head.first_length : head.first_length + 4] = size
    part = first[:6] + size + first[10:_SOT_BYTES] + packets
    if not np.array_equal(htj2k.decode(bytes(start) + part, head.decompositions), base):
        return None
    start[head.transform] = coloured
    _put_precision(start, head, bits, signed=False)
    return b"".join([start, part, memoryview(data)[head.tiles + length :]])


def _without_detail(base: NDArray[np.int16]) -> NDArray[np.int16]:
    """The image of (2 * rows - 1, 2 * columns - 1) whose 5/3 transform is `base` and zeros."""
    for axis in (1, 0):
        halves = base.swapaxes(0, axis)
        whole = np.empty((2 * len(halves) - 1, *halves.shape[1:]), np.int16)
        whole[::2] = halves
        whole[1::2] = (halves[1:].astype(np.int32) + halves[:-1]) >> 1
        base = whole.swapaxes(0, axis)
    return np.ascontiguousarray(base)


def _encode(coded: NDArray[np.int16], decompositions: int, *, rgb: bool) -> bytes:
    made = imagecodecs.htj2k_encode(
        coded,
        rgb=rgb if coded.ndim == 3 else None,
        resolutions=decompositions,
        reversible=True,
        tlm=True,
        tilepart=1,
    )
    return bytes(made)


def _put_precision(start: bytearray, head: _Head, bits: int, *, signed: bool) -> None:
    for component in range(head.components):
        start[head.precisions + 3 * component] = (0x80 if signed else 0) | bits - 1


def _read_head(data: bytes) -> _Head | None:
    """Find what can change; None if this is not how packs hold 16-bit samples (pack-format.md)."""
    found: dict[bytes, int] = {}
    tiles = 2
    for marker, position in _segments(data):
        tiles = position
        if marker == _QCC:
            return None
        found.setdefault(marker, position + 4)
    try:
        siz, cod, qcd, tlm = found[_SIZ], found[_COD], found[_QCD], found[_TLM]
        capability = found[_CAP] + 4
    except KeyError:
        return None
    components = int.from_bytes(data[siz + 34 : siz + 36], "big")
    precisions = {data[siz + 36 + 3 * component] for component in range(components)}
    sound = (
        precisions == {_STORED_PRECISION}
        and data[cod + 1] == _RPCL
        and data[cod + 9] == _REVERSIBLE
        and data[qcd] & 31 == 0
        and data[tlm + 1] == 0x60
    )
    if not sound:
        return None
    return _Head(siz + 36, components, capability, cod + 4, data[cod + 5], qcd, tlm + 4, tiles)


def _segments(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Markers of the main header and where they stand, the first SOT last."""
    position = 2
    while position + 4 <= len(data):
        marker = data[position : position + 2]
        yield marker, position
        if marker == _SOT:
            return
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")


def samples_of(stream: Codestream) -> NDArray[Any]:
    """The values of a codestream, (rows, columns[, samples]), signed."""
    return htj2k.decode(stream.data, 0)
