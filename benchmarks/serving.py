"""Packs over HTTP against nginx with the same files, and the memory that many slow readers cost."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil

import shaped
from common import Row, administrator_token, options, report, scratch, serving
from imarium.archive import Archive
from imarium.ingest import Summary
from imarium.phantoms import ct_chest
from imarium.settings import Settings

_SLOW_READERS = 100
_NGINX = """
user root; worker_processes auto; pid {folder}/nginx.pid; error_log {folder}/nginx.log; daemon off;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen {host}:{port}; root {root}; }}
}}
"""


def fetch(address: str, token: str, times: int, connections: int) -> float:
    """Bytes a second over so many connections, each of which asks so many times for the whole."""
    url = urlsplit(address)
    received = [0] * connections

    def work(number: int) -> None:
        connection = http.client.HTTPConnection(url.hostname or "", url.port)
        buffer = bytearray(1 << 20)
        for _ in range(times):
            connection.request("GET", url.path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            assert answer.status == 200, answer.status
            while count := answer.readinto(buffer):
                received[number] += count
        connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(connections)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(received) / (time.perf_counter() - began)


@contextmanager
def nginx(root: Path, folder: Path, host: str) -> Iterator[str]:
    """nginx over a folder; yields its address."""
    with socket.socket() as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    folder.mkdir()
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, host=host, port=port, root=root))
    with subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex((host, port)) == 0:
                        break
                time.sleep(0.05)
            yield f"http://{host}:{port}"
        finally:
            server.terminate()


def throughput(
    name: str, run: Callable[[list[str]], list[str]], addresses: tuple[str, str], token: str, rounds: int
) -> list[Row]:
    """Ours and nginx's in turn."""
    rows = []
    for connections in (1, 8):
        speeds: list[list[float]] = [[], []]
        times = "1" if "ms" in name else "8"
        for _ in range(rounds):
            for address, found in zip(addresses, speeds, strict=True):
                command = [sys.executable, __file__, "--fetch", address, token, times, str(connections)]
                done = subprocess.run(run(command), check=True, capture_output=True, text=True)
                found.append(float(json.loads(done.stdout)))
        ratio = statistics.median(ours / theirs for ours, theirs in zip(*speeds, strict=True))
        rows += [
            Row(f"{name}, {connections} connections: of nginx's throughput", ratio, "", 0.8),
            Row(f"{name}, {connections} connections", statistics.median(speeds[0]) / 1e6, "MB/s"),
        ]
    return rows


def slow_readers(address: str, token: str, server: int) -> float:
    """Bytes by which the server grows while many read a pack, a little at a time."""
    url = urlsplit(address)
    process = psutil.Process(server)
    before = process.memory_info().rss
    most = before
    with ExitStack() as stack:
        readers = []
        for _ in range(_SLOW_READERS):
            reader = stack.enter_context(socket.create_connection((url.hostname, url.port)))
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
            request = (
                f"GET {url.path} HTTP/1.1\r\nHost: {url.hostname}\r\nAuthorization: Bearer {token}\r\n\r\n"
            )
            reader.sendall(request.encode())
            readers.append(reader)
        for _ in range(20):
            for reader in readers:
                assert reader.recv(4096)
            most = max(most, process.memory_info().rss)
            time.sleep(0.1)
    return float(most - before)


def main() -> None:
    if sys.argv[1:2] == ["--fetch"]:
        address, token, times, connections = sys.argv[2:]
        print(json.dumps(fetch(address, token, int(times), int(connections))))
        return
    arguments = options(__doc__ or "")
    frames, side, rounds = (16, 128, 1) if arguments.smoke else (128, 512, 5)
    rows: list[Row] = []
    with scratch() as folder, ExitStack() as stack:
        ct_chest(frames, side, side).write_dicom(folder / "dicom")
        archive = Archive(Settings(home=folder / "home"))
        (uid,) = Summary.of(archive.ingest.run([folder / "dicom"], collection="bench")).series
        token = administrator_token(archive)
        key = archive.catalog.get_series(uid).pack.key
        objects = archive.settings.objects
        archive.close()
        places: list[tuple[str, str, Callable[[list[str]], list[str]]]] = [("loopback", "127.0.0.1", list)]
        if missing := shaped.available():
            print(f"SKIPPED the slow line: {missing}", file=sys.stderr)
        else:
            line = stack.enter_context(shaped.link())
            places.append(("20 ms, 100 Mbit/s", line.here, line.command))
        for number, (name, host, run) in enumerate(places):
            url = stack.enter_context(serving(folder / "home", host))
            ours = f"{url}/api/v1/{key}"
            if shutil.which("nginx") is None:
                print("SKIPPED nginx: not installed (Debian: nginx-light)", file=sys.stderr)
            else:
                peer = stack.enter_context(nginx(objects, folder / f"nginx-{number}", host))
                rows += throughput(name, run, (ours, f"{peer}/{key}"), token, rounds)
            if number == 0:
                server = next(
                    one.pid
                    for one in psutil.Process().children()
                    if any("serve" in part for part in one.cmdline())
                )
                grown = slow_readers(ours, token, server)
                rows.append(Row(f"growth for {_SLOW_READERS} slow readers", grown / 1e6, "MB", 100, True))
    report("serving", rows, smoke=arguments.smoke)


if __name__ == "__main__":
    main()
