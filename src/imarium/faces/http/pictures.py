"""Routes that deliver pictures: thumbnails and films."""

from __future__ import annotations

import json
from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from imarium.archive import Archive
from imarium.catalog import SeriesRecord
from imarium.faces.http.callers import ArchiveDep
from imarium.faces.http.context import CALLER, LARGEST, ImagesDep
from imarium.streaming import Cine, PictureFormat, Still, draw, plan_cine, plan_still, tag

router = APIRouter(tags=["pixels"])

_CACHED = "private, max-age=3600"
"""A series can grow, and its pictures change: not for ever. Nobody else's cache may keep them."""
_FORMATS: tuple[PictureFormat, ...] = ("webp", "png", "jpeg")
"""In the order of preference of those that a client says it likes as much."""

Size: TypeAlias = Annotated[
    int | None, Query(ge=1, le=LARGEST, description="Longer side in pixels; square pixels on the screen")
]
Window: TypeAlias = Annotated[
    str | None, Query(description="CENTER,WIDTH in rescaled values, or auto: by the values themselves")
]
Upsample: TypeAlias = Annotated[bool, Query(description="Allow sizes beyond the full resolution")]
Quality: TypeAlias = Annotated[
    int | None, Query(ge=1, le=100, description="Of JPEG and WebP; 85 and 80 unless said")
]
Number: TypeAlias = Annotated[int | None, Query(ge=0, le=LARGEST)]
Count: TypeAlias = Annotated[int | None, Query(ge=1, le=LARGEST)]


@router.head("/series/{uid}/thumbnail", response_class=Response, include_in_schema=False)
@router.get(
    "/series/{uid}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/png": {}, "image/jpeg": {}, "image/webp": {}}}, 304: {}},
)
async def thumbnail(
    request: Request,
    archive: ArchiveDep,
    record: ImagesDep,
    size: Size = None,
    frame: Annotated[int | None, Query(ge=0, le=LARGEST, description="The middle one unless said")] = None,
    window: Window = None,
    upsample: Upsample = False,
    format_name: Annotated[
        Literal["png", "jpeg", "webp"] | None, Query(alias="format", description="Else what Accept names")
    ] = None,
    quality: Quality = None,
    accept: Annotated[str | None, Header()] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """One frame as PNG, JPEG or WebP, with the series' own window unless another is given."""
    wanted = format_name or preferred(accept)

    plan = plan_still(
        record.series,
        archive.settings.limits,
        size=size,
        frame=frame,
        window=window,
        upsample=upsample,
        format=wanted,
        quality=quality if wanted != "png" or format_name else None,
    )

    headers = {"Vary": f"Accept, {CALLER}" if format_name is None else CALLER}
    return await _drawn(request, archive, record, plan, f"image/{wanted}", headers, if_none_match)


@router.get(
    "/series/{uid}/cine",
    response_class=Response,
    responses={200: {"content": {"image/webp": {}}}, 304: {}},
)
async def cine(
    request: Request,
    archive: ArchiveDep,
    record: ImagesDep,
    size: Size = None,
    start: Number = None,
    stop: Count = None,
    step: Count = None,
    frames: Annotated[int | None, Query(ge=1, le=LARGEST, description="So many, evenly chosen")] = None,
    fps: Annotated[
        float | None, Query(ge=0.1, le=100, allow_inf_nan=False, description="By the time step, or 15")
    ] = None,
    window: Window = None,
    upsample: Upsample = False,
    quality: Quality = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Frames of a series as an animated WebP: start to stop - 1, every step-th, or some evenly chosen.

    Where neither is said, a long series is thinned, and the header Imarium-Notes (a JSON array of sentences)
    tells so.
    """
    plan = plan_cine(
        record.series,
        archive.settings.limits,
        size=size,
        start=start,
        stop=stop,
        step=step,
        frames=frames,
        fps=fps,
        window=window,
        upsample=upsample,
        quality=quality,
    )

    return await _drawn(request, archive, record, plan, "image/webp", {"Vary": CALLER}, if_none_match)


async def _drawn(
    request: Request,
    archive: Archive,
    record: SeriesRecord,
    plan: Still | Cine,
    media_type: str,
    headers: dict[str, str],
    if_none_match: str | None,
) -> Response:
    """The picture, a few being drawn at a time: what waits takes no thread."""
    etag = f'"{tag(record, plan)}"'
    headers |= {"ETag": etag, "Cache-Control": _CACHED}
    if isinstance(plan, Cine) and plan.notes:
        headers["Imarium-Notes"] = json.dumps(plan.notes)
    if if_none_match is not None and (etag in if_none_match or if_none_match.strip() == "*"):
        return Response(status_code=304, headers=headers)
    async with request.app.state.pictures:
        content = await run_in_threadpool(draw, archive.streaming, record, plan)
    if request.method == "HEAD":
        return Response(headers=headers | {"Content-Length": str(len(content))}, media_type=media_type)
    return Response(content, headers=headers, media_type=media_type)


def preferred(accept: str | None) -> PictureFormat:
    """The format that an Accept header likes best of those it names (RFC 9110, 12.5.1), else PNG."""
    liked: dict[str, float] = {}
    for item in (accept or "").split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        liked[name] = weight
    named = [name for name in _FORMATS if liked.get(f"image/{name}", 0) > 0]
    return max(named, key=lambda name: liked[f"image/{name}"], default="png")
