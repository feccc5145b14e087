"""Requests to one server: connections, patience with failures that pass, and the server's errors."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import httpx

from imarium import errors
from imarium.errors import ImariumError, TransportError

API = "/api/v1"
TIMEOUT = httpx.Timeout(30.0, read=300.0)
CONNECTIONS = 8
"""Requests for bytes that a client has under way at once."""
_PASSING = frozenset({429, 502, 503, 504})
_LONGEST_PAUSE = 30.0
_ATTEMPTS = 8


class PassingError(Exception):
    """A failure that may be over at the next try."""

    def __init__(self, error: ImariumError, wait: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait = wait
        """Seconds after which the server asks to come back."""


class AnswerError(TransportError):
    """An answer with a status that is no success, and no error of ours."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Patience:
    """Waits between tries, twice as long after each failure in a row and never all clients at once."""

    attempts: int
    first_pause: float
    failures: int = 0

    async def failed(self, failure: PassingError, *, progress: bool = False) -> None:
        """Wait for the next try; raises the error itself once there were enough. `progress` says that the
        try was not in vain, which starts the count again."""
        self.failures = 1 if progress else self.failures + 1
        if self.failures >= self.attempts:
            raise failure.error from failure.__cause__
        pause = self.first_pause * 2 ** (self.failures - 1) * random.uniform(0.5, 1.0)  # noqa: S311
        await asyncio.sleep(min(_LONGEST_PAUSE, max(pause, failure.wait or 0.0)))


@dataclass(slots=True)
class _Lane:
    """What belongs to one event loop."""

    http: httpx.AsyncClient
    turns: asyncio.Semaphore


class Wire:
    """A server's address with a token, and connections to it: those of the running event loop."""

    def __init__(
        self,
        url: str | None,
        token: str | None = None,
        *,
        attempts: int = _ATTEMPTS,
        first_pause: float = 0.2,
        connections: int = CONNECTIONS,
    ) -> None:
        """`url` is None where all addresses are those of an object store. `attempts` is how often in a row a
        request may fail in a way that passes; `first_pause` the seconds after the first failure.

        Raises TransportError for what is no address.
        """
        self.url = None if url is None else url.rstrip("/")
        self.token = token
        self._attempts, self._first_pause, self._connections = attempts, first_pause, connections
        self._lanes: WeakKeyDictionary[asyncio.AbstractEventLoop, _Lane] = WeakKeyDictionary()
        if self.url is not None:
            check_address(self.url)

    def __getstate__(self) -> dict[str, Any]:
        """Without connections: another process makes its own."""
        return self.__dict__ | {"_lanes": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"_lanes": WeakKeyDictionary()})

    def patience(self, attempts: int | None = None) -> Patience:
        """For one piece of work."""
        return Patience(attempts or self._attempts, self._first_pause)

    def _lane(self) -> _Lane:
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(loop)
        if lane is None:
            limits = httpx.Limits(max_connections=2 * self._connections)
            lane = _Lane(
                httpx.AsyncClient(timeout=TIMEOUT, limits=limits), asyncio.Semaphore(self._connections)
            )
            self._lanes[loop] = lane
        return lane

    @property
    def turns(self) -> asyncio.Semaphore:
        """Held while bytes of packs come: a few requests at a time."""
        return self._lane().turns

    async def json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The answer of the API as JSON; `options` as for `request`."""
        response = await self.request(method, path, **options)
        return parsed(self._name, response)

    @property
    def _name(self) -> str:
        return self.url or "the object store"

    def address(self, path: str) -> str:
        """Where something of the API lies."""
        return f"{self.url}{API}{path}"

    async def request(
        self, method: str, path: str, *, attempts: int | None = None, **options: Any
    ) -> httpx.Response:
        """The whole answer to a request that may be repeated; raises the server's error."""
        patience = self.patience(attempts)
        while True:
            try:
                async with self.stream(method, self.address(path), **options) as response:
                    await response.aread()
                    return response
            except PassingError as failure:
                await patience.failed(failure)

    @asynccontextmanager
    async def stream(
        self, method: str, address: str, *, own: bool = True, **options: Any
    ) -> AsyncIterator[httpx.Response]:
        """An answer as it comes, once. `own` addresses are the server's and get the token.

        Raises PassingError for what may pass, else the server's error.
        """
        headers = dict(options.pop("headers", {}))
        if own and self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            async with self._lane().http.stream(method, address, headers=headers, **options) as response:
                if response.is_error:
                    await response.aread()
                    error = error_of(response) if own else _foreign(response)
                    if response.status_code in _PASSING:
                        raise PassingError(error, _asked_pause(response))
                    raise error
                yield response
        except (httpx.TransportError, httpx.DecodingError) as error:
            if isinstance(error, httpx.UnsupportedProtocol):
                raise TransportError("a pack's address is none of http or https") from error
            raise PassingError(unreachable(self._name if own else "the object store", error)) from error
        except httpx.InvalidURL as error:
            raise TransportError("a pack's address makes no sense") from error
        except httpx.HTTPError as error:
            raise unreachable(self._name if own else "the object store", error) from error

    async def close(self) -> None:
        """Close the connections of the running loop."""
        lane = self._lanes.pop(asyncio.get_running_loop(), None)
        if lane is not None:
            await lane.http.aclose()


def check_address(url: str) -> None:
    """Raises TransportError for what is no address of a server."""
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise TransportError(f"{url!r} is no address of a server: {error}") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise TransportError(f"{url!r} is no address of a server: it begins with http:// or https://")


def parsed(url: str, response: httpx.Response) -> dict[str, Any]:
    """A JSON object, as every answer of the API is one."""
    try:
        answer = response.json()
    except ValueError as error:
        raise TransportError(f"{url} answers, but is no Imarium server") from error
    if not isinstance(answer, dict):
        raise TransportError(f"{url} answers, but is no Imarium server")
    return answer


def unreachable(url: str, error: httpx.HTTPError) -> TransportError:
    """For a server that does not answer, or stops in the middle."""
    kind = type(error).__name__
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        return TransportError(
            f"{url} broke off before all was sent ({kind}); its log may say why, or try again"
        )
    hint = "; is `imarium serve` running there?" if "://" in url else ""
    return TransportError(f"{url} cannot be reached ({kind}){hint}")


def error_of(response: httpx.Response) -> ImariumError:
    """The error of our tree that the server's answer stands for."""
    try:
        body = response.json()["error"]
        code, message = str(body["code"]), str(body["message"])
    except (ValueError, KeyError, TypeError):
        return AnswerError(
            f"the server answered {response.status_code}, and no Imarium error", response.status_code
        )
    for name in dir(errors):
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, ImariumError) and kind.__dict__.get("code") == code:
            error: ImariumError = kind(message)
            if isinstance(error, errors.QuerySyntaxError) and isinstance(body.get("position"), int):
                error.position = body["position"]
            return error
    return AnswerError(f"the server answered {response.status_code}: {message}", response.status_code)


def _foreign(response: httpx.Response) -> ImariumError:
    """For an answer of a store that knows nothing of us."""
    if response.status_code in (404, 410):
        return errors.NotFoundError("the pack is gone from the object store")
    return AnswerError(f"the object store answered {response.status_code}", response.status_code)


def _asked_pause(response: httpx.Response) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, 10.2.3)."""
    value = response.headers.get("retry-after", "").strip()
    if value.isdigit() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
