"""The one table from errors to HTTP answers."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from imarium.errors import (
    AuthenticationError,
    GoneError,
    ImariumError,
    IntegrityError,
    InvalidRequestError,
    MissingProgramError,
    NotFoundError,
    PermissionDeniedError,
    QuerySyntaxError,
    RefusedFileError,
    StorageError,
    TooManyAttemptsError,
    TransportError,
)

log = logging.getLogger("imarium.http")

STATUS: tuple[tuple[type[ImariumError], int], ...] = (
    (AuthenticationError, 401),
    (PermissionDeniedError, 403),
    (TooManyAttemptsError, 429),
    (GoneError, 410),
    (NotFoundError, 404),
    (InvalidRequestError, 400),
    (RefusedFileError, 422),
    (StorageError, 507),
    (TransportError, 502),
    (MissingProgramError, 501),
    (IntegrityError, 500),
    (ImariumError, 500),
)


def answer(status: int, code: str, message: str, position: int | None = None) -> JSONResponse:
    """The one shape of an error; `position` is that of what is wrong in a query."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    error = {"code": code, "message": message} | ({} if position is None else {"position": position})
    return JSONResponse({"error": error}, status, headers)


def wrong_name() -> JSONResponse:
    """The answer to a Host header that names another machine."""
    return answer(
        400, "invalid-request", "the server does not go by that name; `imarium serve --name HOST` adds one"
    )


def install(app: FastAPI) -> None:
    """Answer every error in the same shape."""

    @app.exception_handler(ImariumError)
    def _known(_request: Request, error: ImariumError) -> JSONResponse:
        status = next(status for kind, status in STATUS if isinstance(error, kind))
        position = error.position if isinstance(error, QuerySyntaxError) else None
        response = answer(status, error.code, str(error), position)
        if isinstance(error, TooManyAttemptsError):
            response.headers["Retry-After"] = str(error.seconds)
        return response

    @app.exception_handler(RequestValidationError)
    def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(item) for item in first["loc"])
        return answer(400, "invalid-request", f"{place}: {first['msg']}")

    @app.exception_handler(HTTPException)
    def _http(_request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, "http", str(error.detail))


def unexpected(error: Exception) -> JSONResponse:
    """The answer to an error that is nobody's, or comes too late to be answered.

    Logs where it came from, never what it says: a message could quote what was in a file.
    """
    error = error.__cause__ if isinstance(error.__cause__, ImariumError) else error
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-8:]))
    log.error("unexpected %s at %s", type(error).__name__, places)
    return answer(500, "error", "an unexpected error; the server's log says where")
