"""Routes that change data; all of them need a login.

An upload is a folder of numbered files: the names stay with the sender, since names of files often hold
names of patients.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from imarium.archive import Archive
from imarium.errors import LimitExceededError, NotFoundError, StorageError
from imarium.faces.http.context import ArchiveDep, UserDep
from imarium.faces.http.schemas import NewUpload, OutcomeLine, UploadAnswer, VerifyLine
from imarium.model import checked_labels

router = APIRouter(tags=["ingest"])

NDJSON = "application/x-ndjson"
_LINES: dict[int | str, dict[str, object]] = {200: {"content": {NDJSON: {}}}}
_ID = re.compile(r"[0-9a-f]{32}")
_FACTS = "upload.json"
_BUFFER_BYTES = 1 << 20
Number = Annotated[int, PathParameter(ge=0, lt=10_000_000)]


@router.post("/uploads", status_code=201)
def open_upload(archive: ArchiveDep, user: UserDep, request: NewUpload) -> UploadAnswer:
    """Open an upload; send its files, then ingest it."""
    checked_labels(request.labels)
    identifier = secrets.token_hex(16)
    folder = _root(archive) / identifier
    try:
        (folder / "files").mkdir(parents=True)
        (folder / _FACTS).write_text(json.dumps({"user": user, **request.model_dump(mode="json")}))
    except OSError as error:
        raise StorageError(f"the upload could not be opened: {error.strerror}") from error
    return UploadAnswer(id=identifier)


@router.put("/uploads/{identifier}/files/{number}", status_code=204, response_class=Response)
async def send_file(
    archive: ArchiveDep, user: UserDep, identifier: str, number: Number, request: Request
) -> Response:
    """One file's bytes as the body of the request."""
    folder, _ = await run_in_threadpool(_open, archive, user, identifier)
    partial = folder / f"{number:08d}.part"  # beside the files: what breaks off is never ingested
    size = 0
    try:
        with partial.open("wb", buffering=_BUFFER_BYTES) as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > archive.settings.limits.file_bytes:
                    raise LimitExceededError("the file is larger than the server takes")
                await run_in_threadpool(file.write, chunk)
        partial.replace(folder / "files" / f"{number:08d}")
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(f"the file could not be kept: {error.strerror}") from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return Response(status_code=204)


@router.post("/uploads/{identifier}/ingest", response_class=StreamingResponse, responses=_LINES)
def ingest(archive: ArchiveDep, user: UserDep, identifier: str) -> StreamingResponse:
    """Take the uploaded files in; answers one JSON object a line and file, then forgets the upload."""
    folder, request = _open(archive, user, identifier)

    def lines() -> Iterator[str]:
        try:
            for outcome in archive.ingest.run(
                [folder / "files"],
                collection=request.collection,
                tier=request.tier,
                labels=request.labels,
            ):
                yield (
                    OutcomeLine(
                        number=int(outcome.path.name) if outcome.path.name.isdigit() else -1,
                        status=outcome.status,
                        series=outcome.series,
                        reason=outcome.reason,
                        source_bytes=outcome.source_bytes,
                        stored_bytes=outcome.stored_bytes,
                    ).model_dump_json()
                    + "\n"
                )
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return StreamingResponse(lines(), media_type=NDJSON)


@router.delete("/uploads/{identifier}", status_code=204, response_class=Response)
def forget_upload(archive: ArchiveDep, user: UserDep, identifier: str) -> Response:
    """Drop an upload that will not be ingested."""
    folder, _ = _open(archive, user, identifier)
    shutil.rmtree(folder, ignore_errors=True)
    return Response(status_code=204)


@router.post("/verify", response_class=StreamingResponse, responses=_LINES)
def verify(archive: ArchiveDep, user: UserDep) -> StreamingResponse:  # noqa: ARG001
    """Re-read every pack and check every digest; one JSON object a line and series."""

    def lines() -> Iterator[str]:
        for outcome in archive.streaming.verify():
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


def _root(archive: Archive) -> Path:
    return archive.settings.scratch / "uploads"


def _open(archive: Archive, user: str, identifier: str) -> tuple[Path, NewUpload]:
    """Folder and wishes of an upload of this user; raises NotFoundError."""
    folder = _root(archive) / identifier
    if not _ID.fullmatch(identifier) or not (folder / _FACTS).is_file():
        raise NotFoundError("no such upload")
    facts = json.loads((folder / _FACTS).read_text())
    if facts["user"] != user:
        raise NotFoundError("no such upload")
    return folder, NewUpload.model_validate(facts)
