"""Routes that deliver what is stored: packs, indexes, and the values of levels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse

from imarium.archive import Archive
from imarium.catalog import PackRecord
from imarium.faces.http.context import BINARY, LARGEST, OCTETS, ArchiveDep, PackDep, SeriesDep
from imarium.faces.http.ranges import Multipart, parse_ranges

router = APIRouter(tags=["pixels"])

_CHUNK_BYTES = 1 << 20
_IMMUTABLE = "public, max-age=31536000, immutable"


@router.head("/packs/{prefix}/{name}", response_class=Response, include_in_schema=False)
@router.get(
    "/packs/{prefix}/{name}",
    response_class=Response,
    responses={206: {"content": {OCTETS: {}, "multipart/byteranges": {}}}, 416: {}, **BINARY},
)
def pack(
    archive: ArchiveDep,
    record: PackDep,
    request: Request,
    range_header: Annotated[str | None, Header(alias="Range")] = None,
    if_none_match: Annotated[str | None, Header()] = None,
    if_range: Annotated[str | None, Header()] = None,
) -> Response:
    """Bytes of a pack: whole, one range, or at most 256 ranges as multipart/byteranges (RFC 9110, 14).

    Packs never change.
    """
    etag = f'"{record.digest}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": _IMMUTABLE}
    if if_none_match is not None and etag in if_none_match:
        return Response(status_code=304, headers=headers)
    spans = None
    if range_header is not None and (if_range is None or if_range == etag):
        spans = parse_ranges(range_header, record.size)
        if spans == []:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{record.size}"})
    status = 200 if spans is None else 206
    media_type = OCTETS
    if spans is not None and len(spans) > 1:
        answer = Multipart(spans, record.size, record.digest, OCTETS)
        media_type, length = answer.content_type, answer.length
        content = _several(archive, record, answer)
    else:
        start, stop = spans[0] if spans else (0, record.size)
        if spans:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{record.size}"
        length = stop - start
        content = _chunks(archive, record, start, stop)
    headers["Content-Length"] = str(length)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    if length <= _CHUNK_BYTES:
        return Response(b"".join(content), status, headers, media_type)
    return StreamingResponse(content, status, headers, media_type)


def _chunks(archive: Archive, record: PackRecord, start: int, stop: int) -> Iterator[bytes]:
    for first in range(start, stop, _CHUNK_BYTES):
        yield archive.streaming.read_pack(record.key, first, min(stop, first + _CHUNK_BYTES))


def _several(archive: Archive, record: PackRecord, answer: Multipart) -> Iterator[bytes]:
    """The answer in few pieces: each costs a turn of a thread."""
    waiting: list[bytes] = []
    size = 0
    for number, (start, stop) in enumerate(answer.spans):
        waiting.append(answer.head(number))
        for chunk in _chunks(archive, record, start, stop):
            waiting.append(chunk)
            size += len(chunk)
            if size >= _CHUNK_BYTES:
                yield b"".join(waiting)
                waiting, size = [], 0
    yield b"".join([*waiting, answer.tail])


@router.get("/series/{uid}/index", response_class=Response, responses=BINARY)
def index(archive: ArchiveDep, record: SeriesDep) -> Response:
    """The index of a series as it lies in its pack (docs/design/pack-format.md)."""
    return Response(archive.streaming.index_bytes(record), media_type=OCTETS)


@router.get("/series/{uid}/pixels", response_class=Response, responses=BINARY)
def pixels(
    archive: ArchiveDep,
    record: SeriesDep,
    level: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
    start: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
    stop: Annotated[int | None, Query(ge=1, le=LARGEST)] = None,
) -> Response:
    """Decoded stored values of frames start to stop - 1 of a level: C order, little-endian."""
    reader = archive.streaming.reader(record, level)
    end = reader.series.frames if stop is None else stop
    reader.check_frames(start, end)

    frames = (
        np.ascontiguousarray(frame, frame.dtype.newbyteorder("<")).tobytes()
        for frame in reader.frames(start, end)
    )
    first = next(frames)  # damage is found here, while an error can still be answered
    size = reader.series.pixel_bytes // reader.series.frames * (end - start)
    return StreamingResponse(chain([first], frames), media_type=OCTETS, headers={"Content-Length": str(size)})
