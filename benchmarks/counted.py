"""A relay before a server that counts the bytes of both directions, as a client's network card would."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

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

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(address) as server:
                back = threading.Thread(target=_passed, args=(server, self.request, counter, False))
                back.start()
                _passed(self.request, server, counter, True)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as relay:
        counter.url = f"http://127.0.0.1:{relay.server_address[1]}"
        thread = threading.Thread(target=relay.serve_forever, daemon=True)
        thread.start()
        try:
            yield counter
        finally:
            relay.shutdown()
            thread.join(10)


def _passed(source: socket.socket, target: socket.socket, counter: Counter, sent: bool) -> None:
    with suppress(OSError):
        while chunk := source.recv(_CHUNK_BYTES):
            target.sendall(chunk)
            counter.add(len(chunk) if sent else 0, 0 if sent else len(chunk))
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
