"""Routes that deliver manifests of selections."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response, StreamingResponse

from imarium.access import Action, Actor
from imarium.archive import Archive
from imarium.audit import ObjectKind
from imarium.errors import StorageError
from imarium.faces.http.auditing import Noted, NotedDep
from imarium.faces.http.callers import ArchiveDep, CallerDep
from imarium.faces.http.context import CALLER, LARGEST, export_turn
from imarium.faces.http.schemas import SelectionBody
from imarium.model import Selection

router = APIRouter(tags=["manifests"])

_CHUNK_BYTES = 1 << 20
_TYPES = {
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
_ANSWERS: dict[int | str, dict[str, object]] = {
    200: {"content": {media_type: {} for media_type in _TYPES.values()}},
    304: {"description": "The manifest is the one that If-None-Match names."},
}
Kind = Annotated[Literal["parquet", "arrow"], Query(alias="format")]
Presign = Annotated[
    int | None,
    Query(ge=1, le=LARGEST, description="Seconds for which signed addresses of packs are to be valid."),
]
IfNoneMatch = Annotated[str | None, Header()]
_OWN = ("format", "presign")
"""Keys of the query that are no part of the selection."""


@router.get("/manifest", response_class=Response, responses=_ANSWERS, dependencies=[Depends(export_turn)])
def get_manifest(
    archive: ArchiveDep,
    actor: CallerDep,
    told: NotedDep,
    request: Request,
    kind: Kind = "parquet",
    presign: Presign = None,
    collection: str | None = None,  # noqa: ARG001 - for the description; see `of_pairs`
    series: Annotated[list[str] | None, Query()] = None,  # noqa: ARG001
    study: Annotated[list[str] | None, Query()] = None,  # noqa: ARG001
    modality: str | None = None,  # noqa: ARG001
    body_part: str | None = None,  # noqa: ARG001
    query: str | None = None,  # noqa: ARG001
    if_none_match: IfNoneMatch = None,
) -> Response:
    """All series of a selection with geometry, labels and the byte ranges of every level, as a table.

    With `presign` it also has addresses at which packs can be read in the bucket itself.

    Labels are asked for as `label.KEY=VALUE`; no key: all series. The ETag holds the digest of the content.
    """
    pairs = [(key, value) for key, value in request.query_params.multi_items() if key not in _OWN]
    return _answer(archive, actor, told, Selection.of_pairs(pairs), kind, presign, if_none_match)


@router.post("/manifest", response_class=Response, responses=_ANSWERS, dependencies=[Depends(export_turn)])
def post_manifest(
    archive: ArchiveDep,
    actor: CallerDep,
    told: NotedDep,
    body: SelectionBody,
    kind: Kind = "parquet",
    presign: Presign = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The same for a selection in the body, which may name many series."""
    return _answer(archive, actor, told, body.selection(), kind, presign, if_none_match)


def _answer(
    archive: Archive,
    actor: Actor,
    told: Noted,
    selection: Selection,
    kind: str,
    presign: int | None,
    if_none_match: str | None,
) -> Response:
    from imarium.manifest import Format  # noqa: PLC0415 - pyarrow takes long to load, few requests need it

    # Whoever has a signed address reads images, and is asked no more.
    within = archive.permissions.within(actor, Action.FIND if presign is None else Action.READ)
    try:
        with (
            archive.manifests.draft(selection, presign, within=within) as draft,
            tempfile.TemporaryDirectory(prefix="manifest-", dir=archive.settings.scratch) as folder,
        ):
            told.details["series"] = draft.series
            if selection.collection is not None:
                told.about(ObjectKind.COLLECTION, selection.collection)
            # A weak one: the same rows come with the time at which they were asked for.
            headers = {"ETag": f'W/"{draft.digest}"', "Cache-Control": "private, no-cache", "Vary": CALLER}
            if presign is None and if_none_match is not None and draft.digest in if_none_match:
                return Response(status_code=304, headers=headers)
            target = Path(folder) / f"manifest.{kind}"
            draft.write(target, Format(kind))
            size = target.stat().st_size
            file = target.open("rb")
    except OSError as error:
        raise StorageError("the server has no room for the manifest") from error
    headers["Content-Length"] = str(size)
    headers["Content-Disposition"] = f'attachment; filename="{target.name}"'
    # Not FileResponse, which answers ranges: those of two answers would not fit together.
    return StreamingResponse(_chunks(file), headers=headers, media_type=_TYPES[kind])


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
