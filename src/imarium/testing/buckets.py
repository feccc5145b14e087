"""A bucket for tests: moto's S3 server in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import httpx
import pytest

_BUCKET = "imarium-test"
_SECONDS = 60.0


@dataclass(frozen=True)
class Bucket:
    """A bucket, and how it is reached."""

    address: str
    """For `IMARIUM_OBJECTS`."""
    environment: Mapping[str, str]
    """Variables that say who asks, and where."""
    endpoint: str

    def empty(self) -> None:
        """Forget all objects."""
        httpx.post(f"{self.endpoint}/moto-api/reset").raise_for_status()
        httpx.put(f"{self.endpoint}/{_BUCKET}").raise_for_status()


@contextmanager
def bucket_served() -> Iterator[Bucket]:
    """A server with one empty bucket; skips the test loudly where moto is not installed."""
    if find_spec("moto") is None:
        pytest.skip("NO S3 SERVER: pip install 'moto[s3,server]'")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    environment = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT": endpoint,
        "AWS_ALLOW_HTTP": "true",
    }
    bucket = Bucket(f"s3://{_BUCKET}/archive", environment, endpoint)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(endpoint)
            bucket.empty()
            yield bucket
        finally:
            server.terminate()


def _wait_for(endpoint: str) -> None:
    until = time.monotonic() + _SECONDS
    while True:
        try:
            httpx.get(endpoint)
            return
        except httpx.TransportError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
