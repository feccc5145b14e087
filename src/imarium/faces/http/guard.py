"""Wraps every request: which names are answered to, the log's line, headers of safety, stray errors."""

from __future__ import annotations

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imarium.faces.http import errors

log = logging.getLogger("imarium.access")

_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' blob: data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HTTPS = {"Strict-Transport-Security": "max-age=31536000"}
_PRIVATE = {"Cache-Control": "no-store"}
"""Of what the API answers unless the route says otherwise: most of it is for one person."""


class Guard:
    """ASGI middleware. `names` are the hosts that are answered to; others are refused (DNS rebinding)."""

    def __init__(self, app: ASGIApp, names: tuple[str, ...]) -> None:
        self._app, self._names = app, frozenset(bare(name) for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        always = dict(_HEADERS)
        if scope["scheme"] == "https":
            always |= _HTTPS
        if scope["path"].startswith("/api/"):
            always |= _PRIVATE

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in always.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            if bare(Headers(scope=scope).get("host", "")) in self._names:
                await self._app(scope, receive, guarded)
            else:
                await errors.wrong_name()(scope, receive, guarded)
        except Exception as error:
            response = errors.unexpected(error)
            # An answer that has begun stays short; uvicorn closes the connection, so that it shows.
            if not status:
                await response(scope, receive, guarded)
        # The template, not the path: UIDs identify.
        template = getattr(scope.get("route"), "path", "(page)")
        elapsed = (time.perf_counter() - began) * 1000
        log.info("%s %s %d %.1f ms", scope["method"], template, status, elapsed)


def bare(host: str) -> str:
    """The name or address of a Host header: without port and brackets, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host
