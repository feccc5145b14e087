"""Routes that deliver pixels: packs, indexes, decoded levels, thumbnails and exports."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from starlette.background import BackgroundTask

from imarium.archive import Archive
from imarium.catalog import PackRecord
from imarium.errors import InvalidRequestError
from imarium.faces.http.context import LARGEST, ArchiveDep, PackDep, SeriesDep
from imarium.faces.http.ranges import Multipart, parse_ranges
from imarium.formats.delivery import download_name, gather
from imarium.streaming import parse_window

router = APIRouter(tags=["pixels"])

_CHUNK_BYTES = 1 << 20
_IMMUTABLE = "public, max-age=31536000, immutable"
OCTETS = "application/octet-stream"
BINARY: dict[int | str, dict[str, object]] = {200: {"content": {OCTETS: {}}}}


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


@router.get(
    "/series/{uid}/thumbnail", response_class=Response, responses={200: {"content": {"image/png": {}}}}
)
def thumbnail(
    archive: ArchiveDep, record: SeriesDep, size: Annotated[int, Query(ge=1, le=1024)] = 128
) -> Response:
    """PNG of the middle frame with the default window."""
    content = archive.streaming.thumbnail(record.series.uid, size)
    return Response(content, media_type="image/png", headers={"Cache-Control": "max-age=3600"})


async def export_turn(request: Request) -> AsyncIterator[None]:
    """A few exports at a time, until they are sent: what waits takes no thread, disk or processor."""
    async with request.app.state.exports:
        yield


@router.get(
    "/series/{uid}/export",
    response_class=FileResponse,
    responses=BINARY,
    dependencies=[Depends(export_turn)],
)
def export(
    archive: ArchiveDep,
    record: SeriesDep,
    format_name: Annotated[Literal["dicom", "nifti", "png", "npy", "ome-zarr"], Query(alias="format")],
    level: Annotated[int | None, Query(ge=0, le=LARGEST)] = None,
    size: str | None = None,
    window: Annotated[str | None, Query(description="CENTER,WIDTH in rescaled values")] = None,
    full_range: Annotated[bool, Query(description="PNG: 16-bit stored values, no window")] = False,
    compress: Annotated[bool, Query(description="NIfTI: .nii.gz rather than .nii")] = True,
    transfer_syntax: Annotated[
        Literal["explicit", "htj2k"] | None, Query(description="DICOM: explicit unless said")
    ] = None,
    even: Annotated[
        bool, Query(description="NIfTI, NPY, OME-Zarr: resample tilted or uneven slices to an even grid")
    ] = False,
) -> FileResponse:
    """A series in a format; several files, and a folder, come as one zip.

    What must be known of them is in the header Imarium-Notes, a JSON array of sentences.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="export-", dir=archive.settings.scratch))
    except OSError as error:
        raise InvalidRequestError("the server has no room for the export") from error
    notes: list[str] = []
    try:
        name = download_name(format_name, compress=compress)
        files = archive.streaming.export(
            record.series.uid,
            format_name,
            folder / name,
            level=level,
            size=size,
            window=None if window is None else parse_window(window),
            full_range=full_range,
            transfer_syntax=transfer_syntax,
            even=even,
            report=notes.append,
        )
        target = gather(files, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return FileResponse(
        target,
        filename=target.name,
        media_type=OCTETS,
        headers={"Imarium-Notes": json.dumps(notes)} if notes else None,
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )
