"""Puts the routes, the page and the guards together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from imarium.archive import Archive
from imarium.audit import Action
from imarium.errors import NotFoundError
from imarium.faces.http import (
    accounts,
    audits,
    browse,
    erasures,
    errors,
    exports,
    labels,
    manifests,
    oidc,
    packs,
    people,
    pictures,
    saved,
    sayings,
    search,
    sessions,
    uploads,
)
from imarium.faces.http.auditing import Auditing
from imarium.faces.http.callers import PREFIX, gate
from imarium.faces.http.guard import Guard
from imarium.faces.http.schemas import ErrorAnswer
from imarium.version import VERSION

WEB = Path(__file__).parent / "web"
"""The built page; made by `npm run build` in web/."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")

_EXPORTS_AT_ONCE = 2
_PICTURES_AT_ONCE = 4


def create_app(
    archive: Archive | None, names: tuple[str, ...] = LOOPBACK, *, open_reading: bool = True
) -> FastAPI:
    """The server's app over an open archive (None for the OpenAPI document alone).

    `names` are the hosts under which it answers. With `open_reading`, whoever asks without a login counts as
    somebody at this machine; else only what is public can be read so.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if archive is not None:
            archive.audit.record(Action.SERVER_STARTED, details={"version": VERSION})
        yield
        if archive is not None:
            archive.audit.record(Action.SERVER_STOPPED)
            archive.close()

    app = FastAPI(
        title="Imarium",
        version=VERSION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.archive = archive
    app.state.exports = asyncio.Semaphore(_EXPORTS_AT_ONCE)
    app.state.pictures = asyncio.Semaphore(_PICTURES_AT_ONCE)
    errors.install(app)
    app.state.open_reading = open_reading
    # Every route is closed unless `callers` names it.
    api = APIRouter(prefix=PREFIX, responses={"4XX": {"model": ErrorAnswer}}, dependencies=[Depends(gate)])
    for module in (
        browse,
        search,
        sayings,
        labels,
        saved,
        manifests,
        packs,
        pictures,
        exports,
        sessions,
        oidc,
        accounts,
        people,
        uploads,
        audits,
        erasures,
    ):
        api.include_router(module.router)

    @api.get("/openapi.json", include_in_schema=False)
    def description() -> JSONResponse:
        return JSONResponse(app.openapi())

    app.include_router(api)
    _serve_page(app)

    app.add_middleware(Auditing, archive=archive)
    app.add_middleware(Guard, names=names)
    return app


def _serve_page(app: FastAPI) -> None:
    if (WEB / "assets").is_dir():
        app.mount("/assets", StaticFiles(directory=WEB / "assets"), name="assets")

    @app.get("/{path:path}", include_in_schema=False)
    def page(path: str) -> FileResponse:
        if path.startswith("api/"):
            raise NotFoundError("no such address")
        try:
            target = (WEB / path).resolve()
            found = path and target.is_file() and target.is_relative_to(WEB)
        except (OSError, ValueError) as error:  # a name that no file can have
            raise NotFoundError("no such address") from error
        if found:
            return FileResponse(target)
        if not (WEB / "index.html").is_file():
            raise NotFoundError("the page is not built; run scripts/serve, or `npm run build` in web/")
        return FileResponse(WEB / "index.html", headers={"Cache-Control": "no-cache"})
