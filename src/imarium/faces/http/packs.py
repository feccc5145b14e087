"""Routes that deliver what is stored: packs, indexes, and the values of levels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse

from imarium.audit import ObjectKind
from imarium.faces.http.context import BINARY, LARGEST, OCTETS, ArchiveDep, NotedDep, SeriesDep
from imarium.faces.http.ranges import Multipart, parse_ranges
from imarium.faces.http.read_ahead import answer_of
from imarium.pack import Span

router = APIRouter(tags=["pixels"])

_IMMUTABLE = "public, max-age=31536000, immutable"


@router.head("/packs/{prefix}/{name}", response_class=Response, include_in_schema=False)
@router.get(
    "/packs/{prefix}/{name}",
    response_class=Response,
    responses={206: {"content": {OCTETS: {}, "multipart/byteranges": {}}}, 416: {}, **BINARY},
)
def pack(
    archive: ArchiveDep,
    request: Request,
    told: NotedDep,
    prefix: str,
    name: str,
    range_header: Annotated[str | None, Header(alias="Range")] = None,
    if_none_match: Annotated[str | None, Header()] = None,
    if_range: Annotated[str | None, Header()] = None,
) -> Response:
    """Bytes of a pack: whole, one range, or at most 256 ranges as multipart/byteranges (RFC 9110, 14).

    Packs never change.
    """
    record = archive.streaming.pack(f"packs/{prefix}/{name}")
    etag = f'"{record.digest}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": _IMMUTABLE}
    if if_none_match is not None and etag in if_none_match:
        return Response(status_code=304, headers=headers)
    spans = None
    if range_header is not None and (if_range is None or if_range == etag):
        spans = parse_ranges(range_header, record.size)
        if spans == []:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{record.size}"})
    for uid in archive.streaming.series_in(record, spans):
        told.about(ObjectKind.SERIES, uid)
    status = 200 if spans is None else 206
    media_type = OCTETS
    pieces: Sequence[bytes | Span]
    if spans is not None and len(spans) > 1:
        answer = Multipart(spans, record.size, record.digest, OCTETS)
        media_type, length, pieces = answer.content_type, answer.length, answer.pieces()
    else:
        start, stop = spans[0] if spans else (0, record.size)
        if spans:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{record.size}"
        length, pieces = stop - start, [(start, stop)]
    headers["Content-Length"] = str(length)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    return answer_of(partial(archive.streaming.read_pack, record.key), pieces, status, headers, media_type)


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
