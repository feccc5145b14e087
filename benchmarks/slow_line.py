"""The first low-resolution volume: ours, slice by slice as the peer's layout has it, and the whole series.

Once on loopback and once through a line of 20 ms and 100 Mbit/s (`shaped.py`), client and server each in a
process of its own. Every measurement begins with no connection and nothing known but addresses: ours includes
finding the series and its index.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import imagecodecs
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

import imarium
import shaped
from common import Row, administrator_token, options, report, scratch, serving
from imarium.archive import Archive
from imarium.codec.htj2k import split
from imarium.ingest import Summary
from imarium.phantoms import ct_chest
from imarium.settings import Settings

_CONNECTIONS = 8


# --- beyond the line -------------------------------------------------------------------------------------


def ours(url: str, uid: str, level: int, token: str) -> tuple[int, ...]:
    began = time.perf_counter()
    with imarium.connect(url, token, cache=False) as db:
        volume = db.series(uid).volume(level=level)
    print(json.dumps(time.perf_counter() - began))
    return volume.shape


def slices(url: str, prefixes: str, level: int, connections: int) -> tuple[int, ...]:
    """One range request a slice, for the prefix of its codestream that the level needs."""
    lengths = [int(length) for length in Path(prefixes).read_text().split()]
    began = time.perf_counter()
    with httpx.Client(base_url=url, limits=httpx.Limits(max_connections=connections)) as http:

        def one(number: int) -> np.ndarray:
            asked = {"Range": f"bytes=0-{lengths[number] - 1}"}
            answer = http.get(f"/{number:04d}.j2c", headers=asked)
            assert answer.status_code == 206, answer.status_code
            decoded: np.ndarray = imagecodecs.htj2k_decode(answer.content + b"\xff\xd9", skipres=level)
            return decoded

        with ThreadPoolExecutor(connections) as pool:
            volume = np.stack(list(pool.map(one, range(len(lengths)))))
    print(json.dumps(time.perf_counter() - began))
    return volume.shape


def whole(url: str, uid: str, token: str) -> None:
    """All instances, uncompressed, as WADO-RS sends a series; nothing is even parsed."""
    began = time.perf_counter()
    with httpx.Client(base_url=url, timeout=120, headers={"Authorization": f"Bearer {token}"}) as http:
        http.get(f"/api/v1/series/{uid}/export", params={"format": "dicom"}).raise_for_status()
    print(json.dumps(time.perf_counter() - began))


def beyond(arguments: Sequence[str]) -> None:
    kind, url, name, level, how = arguments
    if kind == "ours":
        ours(url, name, int(level), token=how)
    elif kind == "slices":
        slices(url, name, int(level), connections=int(how))
    else:
        whole(url, name, token=how)


# --- this side ---------------------------------------------------------------------------------------------


def write_slices(volume: np.ndarray, folder: Path, depth: int, level: int) -> Path:
    """Each slice as a codestream of its own, and a file with the bytes of each that the level needs."""
    folder.mkdir()
    lengths = []
    for number, frame in enumerate(volume):
        codestream = imagecodecs.htj2k_encode(frame, resolutions=depth, reversible=True, tlm=True, tilepart=1)
        (folder / f"{number:04d}.j2c").write_bytes(codestream)
        parts = split(bytes(codestream), depth + 1)
        lengths.append(sum(len(part) for part in parts[: depth + 1 - level]))
    target = folder.parent / "prefixes.txt"
    target.write_text(" ".join(map(str, lengths)))
    return target


@contextmanager
def files_served(folder: Path, host: str) -> Iterator[str]:
    """A plain file server with ranges, in a process of its own."""
    command = [sys.executable, __file__, "--files", str(folder), host]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def serve_files(folder: str, host: str) -> None:
    app = Starlette(routes=[Mount("/", StaticFiles(directory=folder))])
    config = uvicorn.Config(app, host=host, port=0, log_config=None)
    listener = config.bind_socket()
    print(f"http://{host}:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


def measured(run: Callable[[list[str]], list[str]], arguments: Sequence[str], rounds: int) -> float:
    command = run([sys.executable, __file__, "--beyond", *arguments])
    times = []
    for _ in range(rounds):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        times.append(float(json.loads(done.stdout)))
    return statistics.median(times)


def rows_of(
    where: str,
    host: str,
    run: Callable[[list[str]], list[str]],
    home: Path,
    uid: str,
    token: str,
    files: tuple[Path, Path],
    level: int,
    *,
    rounds: int,
    targets: bool,
) -> list[Row]:
    with serving(home, host) as url, files_served(files[0], host) as plain:
        first = measured(run, ["ours", url, uid, str(level), token], rounds)
        alone = measured(run, ["slices", plain, str(files[1]), str(level), "1"], rounds)
        several = measured(run, ["slices", plain, str(files[1]), str(level), str(_CONNECTIONS)], rounds)
        series = measured(run, ["whole", url, uid, "0", token], max(1, rounds // 2))
    return [
        Row(f"{where}: low-resolution volume, from nothing", first * 1e3, "ms"),
        Row(f"{where}: times faster than a request a slice", alone / first, "x", 10 if targets else None),
        Row(f"{where}: the same over {_CONNECTIONS} connections", several / first, "x"),
        Row(
            f"{where}: times faster than all instances of the series",
            series / first,
            "x",
            20 if targets else None,
        ),
    ]


def main() -> None:
    if sys.argv[1:2] == ["--beyond"]:
        return beyond(sys.argv[2:])
    if sys.argv[1:2] == ["--files"]:
        return serve_files(*sys.argv[2:])
    arguments = options(__doc__ or "")
    frames, side, rounds = (16, 128, 1) if arguments.smoke else (128, 512, 5)
    depth, level = (3, 1) if arguments.smoke else (5, 3)
    rows: list[Row] = []
    with scratch() as folder:
        phantom = ct_chest(frames, side, side)
        phantom.write_dicom(folder / "dicom")
        archive = Archive(Settings(home=folder / "home"))
        (uid,) = Summary.of(archive.ingest.run([folder / "dicom"], collection="bench")).series
        token = administrator_token(archive)
        archive.close()
        files = (
            folder / "slices",
            write_slices(np.stack(list(phantom.hounsfield())), folder / "slices", depth, level),
        )
        given = {"home": folder / "home", "uid": uid, "token": token, "files": files, "level": level}
        rows += rows_of("loopback", "127.0.0.1", list, rounds=rounds, targets=False, **given)  # type: ignore[arg-type]
        missing = shaped.available()
        if missing:
            print(f"SKIPPED the slow line: {missing}", file=sys.stderr)
        else:
            with shaped.link() as line:
                print(f"the slow line: {line.way}")
                where = "20 ms, 100 Mbit/s"
                rows += rows_of(where, line.here, line.command, rounds=rounds, targets=True, **given)  # type: ignore[arg-type]
    report("slow-line", rows, smoke=arguments.smoke)
    return None


if __name__ == "__main__":
    main()
