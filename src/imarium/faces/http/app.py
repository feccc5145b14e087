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
    audits,
    browse,
    erasures,
    errors,
    exports,
    labels,
    manifests,
    packs,
    pictures,
    sessions,
    uploads,
)
from imarium.faces.http.auditing import Auditing
from imarium.faces.http.context import current_user
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

    `names` are the hosts under which it answers. Without `open_reading` all of the API needs a login but
    `POST /login` and `GET /status`.
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
    api = APIRouter(prefix="/api/v1", responses={"4XX": {"model": ErrorAnswer}})
    for module in (browse, sessions):
        api.include_router(module.public)
    login = [] if open_reading else [Depends(current_user)]
    for module in (browse, labels, manifests, packs, pictures, exports, sessions, uploads, audits, erasures):
        api.include_router(module.router, dependencies=login)

    @api.get("/openapi.json", include_in_schema=False, dependencies=login)
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
