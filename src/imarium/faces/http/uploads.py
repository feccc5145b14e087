"""Routes that take images in, for curators; and that check what is stored.

An upload is a folder of numbered files. The path that a file has at its sender's goes along in a header, and
never in an address or an answer: paths often hold names of patients (`incoming`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from imarium.access import Action, Actor
from imarium.archive import Archive
from imarium.audit import Action as Done
from imarium.audit import ObjectKind
from imarium.errors import LimitExceededError, PermissionDeniedError, StorageError
from imarium.faces.http.auditing import NotedDep
from imarium.faces.http.callers import ActorDep, ArchiveDep
from imarium.faces.http.incoming import DEEPEST, LONGEST_PATH, Incoming, safe_path
from imarium.faces.http.schemas import NewUpload, OutcomeLine, UploadAnswer, VerifyLine
from imarium.ingest import Status
from imarium.model import checked_labels

router = APIRouter(tags=["ingest"])

NDJSON = "application/x-ndjson"
_LINES: dict[int | str, dict[str, object]] = {200: {"content": {NDJSON: {}}}}
_BUFFER_BYTES = 1 << 20
Number = Annotated[int, PathParameter(ge=0, lt=10_000_000)]
SentPath = Annotated[
    str | None,
    Header(
        alias="Imarium-Path",
        description=(
            "The file's path within the upload, for files that find one another by their paths: names with "
            f"`/` between them, percent-encoded UTF-8, at most {LONGEST_PATH} bytes and {DEEPEST} names. A "
            "file without one, or with one that is not safe or is another file's, is taken in without it."
        ),
    ),
]


@router.post("/uploads", status_code=201)
def open_upload(archive: ArchiveDep, actor: ActorDep, request: NewUpload) -> UploadAnswer:
    """Open an upload; send its files, then ingest it.

    Whoever opens one for a collection that is not there makes it, and becomes its owner.
    """
    checked_labels(request.labels)
    archive.roles.open_for_writing(actor, request.collection)
    return UploadAnswer(id=Incoming.create(_root(archive), actor.name, request))


@router.put("/uploads/{identifier}/files/{number}", status_code=204, response_class=Response)
async def send_file(
    archive: ArchiveDep,
    actor: ActorDep,
    identifier: str,
    number: Number,
    request: Request,
    sent_path: SentPath = None,
) -> Response:
    """One file's bytes as the body of the request. Files that belong together go into one upload."""
    upload = await run_in_threadpool(_found, archive, actor, identifier)
    path = None if sent_path is None else safe_path(sent_path)
    partial = upload.part(number)
    size = 0
    try:
        with partial.open("wb", buffering=_BUFFER_BYTES) as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > archive.settings.limits.file_bytes:
                    raise LimitExceededError("the file is larger than the server takes")
                await run_in_threadpool(file.write, chunk)
        upload.keep(number, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(f"the file could not be kept: {error.strerror}") from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return Response(status_code=204)


@router.post("/uploads/{identifier}/ingest", response_class=StreamingResponse, responses=_LINES)
def ingest(archive: ArchiveDep, actor: ActorDep, told: NotedDep, identifier: str) -> StreamingResponse:
    """Take the uploaded files in; answers one JSON object a line and file, then forgets the upload."""
    upload = _found(archive, actor, identifier)
    within = archive.permissions.within(actor, Action.WRITE)
    places = upload.arrange()
    told.about(ObjectKind.COLLECTION, upload.wishes.collection)
    counts: Counter[str] = Counter()
    stored: dict[str, None] = {}

    def lines() -> Iterator[str]:
        try:
            for outcome in archive.ingest.run(
                places,
                collection=upload.wishes.collection,
                tier=upload.wishes.tier,
                labels=upload.wishes.labels,
                within=within,
            ):
                counts[outcome.status] += 1
                if outcome.status is Status.TAKEN and outcome.series is not None:
                    stored[outcome.series] = None
                number = places.get(outcome.path)
                if number is None:
                    continue  # a DICOMDIR's name for a file in another case: it has an answer of its own
                yield (
                    OutcomeLine(
                        number=number,
                        status=outcome.status,
                        series=outcome.series,
                        reason=outcome.reason,
                        source_bytes=outcome.source_bytes,
                        stored_bytes=outcome.stored_bytes,
                    ).model_dump_json()
                    + "\n"
                )
        finally:
            upload.forget()
            told.details |= {status.value: counts[status] for status in Status}
            told.further += [(Done.STORED, (ObjectKind.SERIES, uid)) for uid in stored]

    return StreamingResponse(lines(), media_type=NDJSON)


@router.delete("/uploads/{identifier}", status_code=204, response_class=Response)
def forget_upload(archive: ArchiveDep, actor: ActorDep, identifier: str) -> Response:
    """Drop an upload that will not be ingested."""
    Incoming.find(_root(archive), actor.name, identifier).forget()
    return Response(status_code=204)


@router.post("/verify", response_class=StreamingResponse, responses=_LINES)
def verify(archive: ArchiveDep, actor: ActorDep) -> StreamingResponse:
    """Re-read every pack and check every digest; one JSON object a line and series.

    Curators have their own collections checked, administrators all.
    """
    within = archive.permissions.within(actor, Action.WRITE)
    if within is not None and not within:
        raise PermissionDeniedError("only curators and administrators may have the archive checked")

    def lines() -> Iterator[str]:
        for outcome in archive.streaming.verify(within):
            yield (
                VerifyLine(
                    series=outcome.series,
                    frames=outcome.frames,
                    ok=outcome.error is None,
                    error=outcome.error,
                ).model_dump_json()
                + "\n"
            )

    return StreamingResponse(lines(), media_type=NDJSON)


def _found(archive: Archive, actor: Actor, identifier: str) -> Incoming:
    """An open upload of the actor, into whose collection they may write, still."""
    upload = Incoming.find(_root(archive), actor.name, identifier)
    archive.permissions.check(actor, Action.WRITE, upload.wishes.collection)
    return upload


def _root(archive: Archive) -> Path:
    return archive.settings.scratch / "uploads"
