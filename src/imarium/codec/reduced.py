"""A level of a codestream as a codestream of its own, for decoders that cannot leave resolutions out.

Source: ISO/IEC 15444-1 Annex A (markers), B.5 (resolutions).
"""

from __future__ import annotations

import struct

from imarium.codec.htj2k import EOC
from imarium.errors import IntegrityError

_SOC, _SIZ, _COD, _QCD, _TLM, _PLT, _SOT = 0xFF4F, 0xFF51, 0xFF52, 0xFF5C, 0xFF55, 0xFF58, 0xFF90
_REVERSIBLE = 0
_CUSTOM_PRECINCTS = 1


def reduced(prefix: bytes, level: int) -> bytes:
    """The codestream whose full resolution is a level of another one, of which `prefix` holds the header and
    the tile-parts of that level. The data are the same; the header says fewer halvings.

    For codestreams as the htj2k lane has them: one tile at the origin, reversible, a tile-part a resolution.
    Raises IntegrityError for others.
    """
    if not level:
        return prefix
    head, position = [prefix[:2]], 2
    try:
        while (marker := _number(prefix, position)) != _SOT:
            size = 2 + _number(prefix, position + 2)
            segment = bytearray(prefix[position : position + size])
            position += size
            if marker == _SIZ:
                _shrink(segment, level)
            elif marker == _COD:
                segment = _with_fewer_halvings(segment, level)
            elif marker == _QCD:
                segment = _with_fewer_bands(segment, level)
            if marker != _TLM:  # lengths of tile-parts: there are fewer
                head.append(bytes(segment))
        tail = bytearray(prefix[position:])
        _renumber(tail)
    except (struct.error, IndexError) as error:
        raise IntegrityError("a stored codestream ends within its header") from error
    if tail.endswith(EOC):
        return b"".join([*head, tail])
    return b"".join([*head, tail, EOC])


def _number(data: bytes | bytearray, position: int) -> int:
    value: int = struct.unpack_from(">H", data, position)[0]
    return value


def _shrink(segment: bytearray, level: int) -> None:
    """SIZ (A.5.1): the image, and the tile that it is."""
    width, height, left, top, tile_width, tile_height, tile_left, tile_top = struct.unpack_from(
        ">8I", segment, 6
    )
    if any((left, top, tile_left, tile_top)) or tile_width < width or tile_height < height:
        raise IntegrityError("a stored codestream has several tiles, or does not begin at the origin")
    width, height = (-(-side >> level) for side in (width, height))
    struct.pack_into(">2I", segment, 6, width, height)
    struct.pack_into(">2I", segment, 22, width, height)


def _with_fewer_halvings(segment: bytearray, level: int) -> bytearray:
    """COD (A.6.1)."""
    halvings = segment[9] - level
    if halvings < 0:
        raise IntegrityError("a stored codestream has fewer resolutions than its series")
    segment[9] = halvings
    if segment[4] & _CUSTOM_PRECINCTS:
        segment = segment[: 14 + halvings + 1]
    return _measured(segment)


def _with_fewer_bands(segment: bytearray, level: int) -> bytearray:
    """QCD (A.6.4) of the reversible transform: a byte a band, three bands a halving, smallest first."""
    if segment[4] & 0x1F != _REVERSIBLE or len(segment) < 5 + 1 + 3 * level:
        raise IntegrityError("a stored codestream is not reversible")
    return _measured(segment[: len(segment) - 3 * level])


def _measured(segment: bytearray) -> bytearray:
    struct.pack_into(">H", segment, 2, len(segment) - 2)
    return segment


def _renumber(tail: bytearray) -> None:
    """SOT (A.4.2): how many tile-parts there are now."""
    starts, position = [], 0
    while position + 12 <= len(tail) and _number(tail, position) == _SOT:
        starts.append(position)
        length: int = struct.unpack_from(">I", tail, position + 6)[0]
        if length < 14:
            raise IntegrityError("a stored codestream has a tile-part without a length")
        position += length
    for start in starts:
        if tail[start + 11]:
            tail[start + 11] = len(starts)
