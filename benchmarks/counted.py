"""A relay before a server that counts the bytes of both directions, as a client's network card would."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from imarium.testing.proxies import answering

_CHUNK_BYTES = 1 << 16


class Counter:
    """What went through a relay so far: heads of requests and answers too."""

    def __init__(self) -> None:
        self.url = ""
        self.sent = 0
        """Bytes of the client's."""
        self.received = 0
        """Bytes of the server's."""
        self._lock = threading.Lock()

    def add(self, sent: int, received: int) -> None:
        with self._lock:
            self.sent += sent
            self.received += received


@contextmanager
def counted(target: str) -> Iterator[Counter]:
    """A relay to the server at `target`, on a free port of this machine."""
    parts = urlsplit(target)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    counter = Counter()

    def relay(client: socket.socket) -> None:
        with socket.create_connection(address) as server:
            back = threading.Thread(target=_passed, args=(server, client, counter, False))
            back.start()
            _passed(client, server, counter, True)
            back.join()

    with answering(relay) as counter.url:
        yield counter


def _passed(source: socket.socket, target: socket.socket, counter: Counter, sent: bool) -> None:
    with suppress(OSError):
        while chunk := source.recv(_CHUNK_BYTES):
            target.sendall(chunk)
            counter.add(len(chunk) if sent else 0, 0 if sent else len(chunk))
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
