"""Puts the routes, the page and the guards together."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware

from imarium.archive import Archive
from imarium.errors import NotFoundError
from imarium.faces.http import browse, errors, pixels, sessions, uploads
from imarium.faces.http.schemas import ErrorAnswer
from imarium.version import VERSION

WEB = Path(__file__).parent / "web"
"""The built page; made by `npm run build` in web/."""

access_log = logging.getLogger("imarium.access")

_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' blob: data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

Next = Callable[[Request], Awaitable[Response]]


def create_app(archive: Archive | None, hosts: tuple[str, ...] = ("127.0.0.1", "localhost")) -> FastAPI:
    """The server's app over an open archive (None for the OpenAPI document alone).

    `hosts` are the names under which it answers; others are refused (DNS rebinding).
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        if archive is not None:
            archive.close()

    app = FastAPI(
        title="Imarium",
        version=VERSION,
        lifespan=lifespan,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.archive = archive
    errors.install(app)
    api = APIRouter(prefix="/api/v1", responses={"4XX": {"model": ErrorAnswer}})
    for module in (browse, pixels, sessions, uploads):
        api.include_router(module.router)
    app.include_router(api)
    _serve_page(app)

    @app.middleware("http")
    async def _guard(request: Request, proceed: Next) -> Response:
        began = time.perf_counter()
        try:
            response = await proceed(request)
        except Exception as error:
            response = errors.unexpected(error)
        route = request.scope.get("route")
        # The template, not the path: UIDs identify.
        template = getattr(route, "path", "(page)")
        elapsed = (time.perf_counter() - began) * 1000
        access_log.info("%s %s %d %.1f ms", request.method, template, response.status_code, elapsed)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    return app


def _serve_page(app: FastAPI) -> None:
    if (WEB / "assets").is_dir():
        app.mount("/assets", StaticFiles(directory=WEB / "assets"), name="assets")

    @app.get("/{path:path}", include_in_schema=False)
    def page(path: str) -> FileResponse:
        if path.startswith("api/"):
            raise NotFoundError("no such address")
        target = (WEB / path).resolve()
        if path and target.is_file() and target.is_relative_to(WEB):
            return FileResponse(target)
        if not (WEB / "index.html").is_file():
            raise NotFoundError("the page is not built; run scripts/serve, or `npm run build` in web/")
        return FileResponse(WEB / "index.html", headers={"Cache-Control": "no-cache"})
