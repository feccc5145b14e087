"""The route that delivers series in other formats."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response, StreamingResponse

from imarium.faces.http.auditing import NotedDep
from imarium.faces.http.callers import ArchiveDep
from imarium.faces.http.context import BINARY, LARGEST, OCTETS, ImagesDep, export_turn
from imarium.streaming import parse_window

router = APIRouter(tags=["pixels"])


@router.get(
    "/series/{uid}/export",
    response_class=Response,
    responses=BINARY,
    dependencies=[Depends(export_turn)],
)
def export(
    archive: ArchiveDep,
    record: ImagesDep,
    told: NotedDep,
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
) -> Response:
    """A series in a format, made while it is sent; several files, and a folder, come as one zip.

    What must be known of them is in the header Imarium-Notes, a JSON array of sentences; what shows only
    while a zip is made is in the zip's comment, in the same form.
    """
    told.details |= {"format": format_name, "level": level or 0}
    download = archive.streaming.download(
        record.series.uid,
        format_name,
        compress=compress,
        level=level,
        size=size,
        window=None if window is None else parse_window(window),
        full_range=full_range,
        transfer_syntax=transfer_syntax,
        even=even,
    )
    headers = {"Content-Disposition": f'attachment; filename="{download.name}"'}
    if download.size is not None:
        headers["Content-Length"] = str(download.size)
    if download.notes:
        headers["Imarium-Notes"] = json.dumps(download.notes)
    return StreamingResponse(download.chunks, media_type=OCTETS, headers=headers)
