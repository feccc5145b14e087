"""Routes that deliver what is stored: packs, indexes, and the values of levels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse

from imarium.archive import Archive
from imarium.audit import ObjectKind
from imarium.faces.http.auditing import NotedDep
from imarium.faces.http.callers import ArchiveDep, CallerDep
from imarium.faces.http.context import (
    BINARY,
    CALLER,
    LARGEST,
    OCTETS,
    ImagesDep,
    found_in_store,
    hidden,
)
from imarium.faces.http.ranges import Multipart, parse_ranges
from imarium.faces.http.read_ahead import answer_of
from imarium.faces.http.zero_copy import FileAnswer, takes_files
from imarium.pack import Span

router = APIRouter(tags=["pixels"])

_ZERO_COPY_BYTES = 256 << 10
"""From so many bytes on, a thread that hands a file over costs less than reading it."""
_IMMUTABLE = "max-age=31536000, immutable"


@router.head("/packs/{prefix}/{name}", response_class=Response, include_in_schema=False)
@router.get(
    "/packs/{prefix}/{name}",
    response_class=Response,
    responses={206: {"content": {OCTETS: {}, "multipart/byteranges": {}}}, 416: {}, **BINARY},
)
def pack(
    archive: ArchiveDep,
    actor: CallerDep,
    request: Request,
    told: NotedDep,
    prefix: str,
    name: str,
    range_header: Annotated[str | None, Header(alias="Range")] = None,
    if_none_match: Annotated[str | None, Header()] = None,
    if_range: Annotated[str | None, Header()] = None,
) -> Response:
    """Bytes of a pack: whole, one range, or at most 256 ranges as multipart/byteranges (RFC 9110, 14).

    Packs never change. Whoever may read one series of a pack may read all: they are of one collection.
    """
    with hidden(actor, "no such pack"):
        record = archive.streaming.pack(f"packs/{prefix}/{name}")
        is_open = archive.permissions.check_pack(actor, record.collection)
    etag = f'"{record.digest}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": f"{'public' if is_open else 'private'}, {_IMMUTABLE}",
        "Vary": CALLER,
    }
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
    if spans is not None and len(spans) > 1:
        parts = Multipart(spans, record.size, record.digest, OCTETS)
        return _answer(
            archive, request, record.key, parts.pieces(), parts.length, status, headers, parts.content_type
        )
    start, stop = spans[0] if spans else (0, record.size)
    if spans:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{record.size}"
    return _answer(archive, request, record.key, [(start, stop)], stop - start, status, headers, OCTETS)


def _answer(
    archive: Archive,
    request: Request,
    key: str,
    pieces: Sequence[bytes | Span],
    length: int,
    status: int,
    headers: dict[str, str],
    media_type: str,
) -> Response:
    """Pieces of a pack. A single large one is sent by the system itself, where it can."""
    headers["Content-Length"] = str(length)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    match pieces:
        case [(int(start), int(stop))] if stop - start >= _ZERO_COPY_BYTES and takes_files(request.scope):
            with found_in_store():
                file = archive.streaming.open_pack(key)
            if file is not None:
                return FileAnswer(file, start, stop - start, status, headers, media_type)
    return answer_of(partial(archive.streaming.read_pack, key), pieces, status, headers, media_type)


@router.get("/series/{uid}/index", response_class=Response, responses=BINARY)
def index(archive: ArchiveDep, record: ImagesDep) -> Response:
    """The index of a series as it lies in its pack (docs/design/pack-format.md)."""
    return Response(archive.streaming.index_bytes(record), media_type=OCTETS)


@router.get("/series/{uid}/pixels", response_class=Response, responses=BINARY)
def pixels(
    archive: ArchiveDep,
    record: ImagesDep,
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
