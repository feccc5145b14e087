"""A proxy that does to answers what networks do: cut, delay, corrupt, drop, or answer something else."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO
from urllib.parse import urlsplit

_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that came by."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""

    @property
    def is_pack(self) -> bool:
        """Whether it is for bytes of a pack."""
        return "/packs/" in self.path

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Spans (start, stop) that it asks for."""
        _, _, text = self.headers.get("range", "").partition("=")
        pairs = (item.split("-") for item in text.split(",") if item)
        return [(int(first), int(last) + 1) for first, last in pairs]


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of an answer."""

    drop: bool = False
    """No answer; the connection ends."""
    status: int | None = None
    """This status and no answer of the server's."""
    headers: dict[str, str] = field(default_factory=dict)
    """With `status`: headers of that answer."""
    delay: float = 0.0
    """Seconds before the answer."""
    cut: int | None = None
    """Bytes of the body after which the connection ends."""
    reset: bool = False
    """It ends with a reset rather than a close."""
    flip: int | None = None
    """Number of a byte of the body whose bits are turned round, if the body is so long."""


Plan = Callable[[Asked], Fault | None]


class Proxy:
    """Between a client and a server. `plan` says what becomes of an answer; `asked` holds what came by."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.asked: list[Asked] = []
        self.plan: Plan = lambda _: None
        self.url = ""
        self._lock = threading.Lock()

    def faults(self, *faults: Fault, when: Callable[[Asked], bool] = lambda asked: asked.is_pack) -> None:
        """Do these to the next answers, one each, to requests of a kind; then none."""
        left = list(faults)

        def plan(asked: Asked) -> Fault | None:
            with self._lock:
                return left.pop(0) if left and when(asked) else None

        self.plan = plan

    @property
    def for_packs(self) -> list[Asked]:
        """The requests for bytes of packs."""
        return [asked for asked in self.asked if asked.is_pack]

    def serve(self, client: socket.socket) -> None:
        """Pass on what comes on one connection."""
        incoming = client.makefile("rb")
        while (asked := _request(incoming)) is not None:
            self.asked.append(asked[0])
            fault = self.plan(asked[0]) or Fault()
            time.sleep(fault.delay)
            if fault.drop:
                return
            if fault.status is not None:
                lines = "".join(f"{name}: {value}\r\n" for name, value in fault.headers.items())
                client.sendall(f"HTTP/1.1 {fault.status} -\r\nContent-Length: 0\r\n{lines}\r\n".encode())
                continue
            head, body = self._answer(asked[1])
            if fault.flip is not None and fault.flip < len(body):
                body[fault.flip] ^= 0xFF
            client.sendall(head + (body if fault.cut is None else body[: fault.cut]))
            if fault.cut is not None and fault.cut < len(body):
                if fault.reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return

    def _answer(self, request: bytes) -> tuple[bytes, bytearray]:
        """Head and body of the server's answer."""
        with socket.create_connection(self._target) as server:
            server.sendall(request)
            content = bytearray()
            while chunk := server.recv(_CHUNK_BYTES):
                content += chunk
        head, _, body = content.partition(b"\r\n\r\n")
        lines = [line for line in bytes(head).split(b"\r\n") if not line.lower().startswith(b"connection:")]
        if not any(line.lower().startswith(b"content-length:") for line in lines):
            lines.append(b"Connection: close")
        return b"\r\n".join(lines) + b"\r\n\r\n", body


def _request(stream: IO[bytes]) -> tuple[Asked, bytes] | None:
    """A request as it came, and as it goes on: the server is to close the connection behind it."""
    lines: list[str] = []
    while (line := stream.readline().strip()) or not lines:
        if not line:
            return None
        lines.append(line.decode("latin-1"))
    method, path, _ = lines[0].split(" ")
    pairs = (line.split(":", 1) for line in lines[1:])
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    kept = [line for line in lines if not line.lower().startswith("connection:")]
    body = stream.read(int(headers.get("content-length", 0))) or b""
    return Asked(method, path, headers), "\r\n".join([*kept, "Connection: close", "", ""]).encode() + body


@contextmanager
def proxied(target: str) -> Iterator[Proxy]:
    """A proxy before a server, on a free port of this machine. Its host must be a name of the server's."""
    proxy = Proxy(target)
    with answering(proxy.serve) as proxy.url:
        yield proxy


@contextmanager
def answering(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Hands each connection to `serve`, on a thread of its own; yields the address, a free port here."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                serve(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(10)
