"""Binds the address and runs uvicorn on it."""

from __future__ import annotations

import gc
import ipaddress
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from imarium.archive import Archive
from imarium.errors import StorageError
from imarium.faces.http.app import LOOPBACK, create_app
from imarium.faces.http.zero_copy import ZeroCopyProtocol


@dataclass(frozen=True, slots=True)
class BoundServer:
    """A server whose address is taken; requests wait until it runs."""

    url: str
    open_reading: bool
    """Whether reading what is not restricted needs no login: nobody but this machine can ask."""
    _server: uvicorn.Server
    _socket: socket.socket

    def run(self) -> None:
        """Answer requests until SIGINT or SIGTERM."""
        gc.collect()
        gc.freeze()  # what is loaded stays: looking through it again takes longer than most requests
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Have `run`, in another thread, finish what it answers and return."""
        self._server.should_exit = True


@contextmanager
def listening(
    archive: Archive,
    host: str,
    port: int,
    names: tuple[str, ...] = (),
    open_reading: bool | None = None,
) -> Iterator[BoundServer]:
    """Bind host and port (0 picks a free one). Raises StorageError where the port is taken.

    Answers to this machine's loopback names, the address it is bound to, and `names`. Reading what is not
    restricted needs no login (`open_reading`) where only this machine can ask, unless said otherwise: on a
    loopback address and without `names`, which tell of a proxy before it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        listener.close()
        raise StorageError(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another with --port"
        ) from error
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    address, bound_port = listener.getsockname()[:2]
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if open_reading is None:
        open_reading = ipaddress.ip_address(address).is_loopback and not names
    app = create_app(archive, (*LOOPBACK, host, address, *names), open_reading=open_reading)
    config = uvicorn.Config(
        app,
        http=ZeroCopyProtocol,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        proxy_headers=bool(archive.settings.trusted_proxies),
        forwarded_allow_ips=list(archive.settings.trusted_proxies),
    )
    shown = f"[{address}]" if family == socket.AF_INET6 else address
    with listener:
        yield BoundServer(f"http://{shown}:{bound_port}", open_reading, uvicorn.Server(config), listener)
