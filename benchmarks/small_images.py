"""A data set of single images at 128 pixels: streamed, file by file, and as shards of whole PNG files.

Images are of 512x512. Streamed: `StreamingDataset` at their level of 128x128. File by file: one HTTP request
an image for the bytes of just that level, by a plain client over one connection and over eight. Shards:
WebDataset (where it is installed) with the PNG files in tar, decoded and resized to 128 in the loader. On
loopback, and with a tenth of the images through a line of 20 ms and 100 Mbit/s; client and servers are
processes of their own, nothing is cached, and the time counts from the first line of the loader: what is
selected is asked for, the workers are started. A second epoch, over the wire again, needs neither; the other
ways know their files beforehand in any case.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import httpx
import imagecodecs
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

import shaped
from common import Row, administrator_token, report, scratch, serving
from imarium.archive import Archive
from imarium.codec.htj2k import split
from imarium.ingest import Summary
from imarium.ingest.outcome import Status
from imarium.settings import Settings
from imarium.torch import StreamingDataset
from slow_line import files_served, serve_files

BATCH, WORKERS, CONNECTIONS, SHARD = 32, 2, 8, 500


def write_images(folder: Path, count: int, side: int, level: int) -> None:
    """PNG files, the same in tar files of `SHARD`, and of each the codestream that its level needs."""
    for name in ("png", "shards", "prefixes"):
        (folder / name).mkdir()
    random = np.random.default_rng(0)
    y, x = np.ogrid[:side, :side]
    noise = random.normal(0, 3, (side, side))
    for first in range(0, count, SHARD):
        with tarfile.open(folder / "shards" / f"{first // SHARD:04d}.tar", "w") as shard:
            for number in range(first, min(count, first + SHARD)):
                waves = np.sin(x / random.uniform(5, 40)) + np.cos(y / random.uniform(5, 40))
                pixels = 128 + 50 * waves + np.roll(noise, int(random.integers(side)), 0)
                values = pixels.clip(0, 255).astype(np.uint8)
                content = bytes(imagecodecs.png_encode(values, level=1))
                (folder / "png" / f"{number:06d}.png").write_bytes(content)
                entry = tarfile.TarInfo(f"{number:06d}.png")
                entry.size = len(content)
                shard.addfile(entry, io.BytesIO(content))
                stream = imagecodecs.htj2k_encode(
                    values.astype(np.int16), resolutions=5, reversible=True, tlm=True, tilepart=1
                )
                prefix = b"".join(split(bytes(stream), 6)[: 6 - level])
                (folder / "prefixes" / f"{number:06d}.j2c").write_bytes(prefix)


# --- beyond the line -------------------------------------------------------------------------------------


def streamed(url: str, count: int, level: int, token: str) -> list[float]:
    """Images a second from nothing, and in a second epoch."""
    began = time.perf_counter()
    data = StreamingDataset(
        url, "bench" if count < 0 else "bench label.part=tenth", token=token, cache=False, level=level
    )
    loader = DataLoader(data.batches(BATCH), batch_size=None, num_workers=WORKERS, persistent_workers=True)
    speeds = []
    for _ in range(2):
        images = sum(len(batch) for batch in loader)
        ended = time.perf_counter()
        speeds.append(images / (ended - began))
        began = ended
    return speeds


def by_file(url: str, count: int, level: int, connections: int) -> int:
    with httpx.Client(base_url=url, limits=httpx.Limits(max_connections=connections)) as http:

        def one(number: int) -> torch.Tensor:
            content = http.get(f"/prefixes/{number:06d}.j2c").raise_for_status().content
            return torch.from_numpy(imagecodecs.htj2k_decode(content + b"\xff\xd9", skipres=level))

        with ThreadPoolExecutor(connections) as pool:
            return len(list(pool.map(one, range(count))))


def resized(sample: dict[str, bytes]) -> torch.Tensor:
    image = Image.open(io.BytesIO(sample["png"])).resize((128, 128), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(image))


def from_shards(url: str, shards: int) -> int:
    import webdataset  # noqa: PLC0415 - no dependency of the project

    addresses = [f"{url}/shards/{number:04d}.tar" for number in range(shards)]
    data = webdataset.WebDataset(addresses, shardshuffle=False, empty_check=False).map(resized)
    loader = DataLoader(data, batch_size=BATCH, num_workers=WORKERS)
    return sum(len(batch) for batch in loader)


def beyond(arguments: Sequence[str]) -> None:
    kind, url, count, level, how = arguments
    began = time.perf_counter()
    if kind == "streamed":
        print(json.dumps(streamed(url, int(count), int(level), how)))
        return
    if kind == "files":
        images = by_file(url, int(count), int(level), int(how))
    else:
        images = from_shards(url, int(count))
    print(json.dumps([images / (time.perf_counter() - began)]))


# --- this side ---------------------------------------------------------------------------------------------


def speeds(run: Callable[[list[str]], list[str]], arguments: Sequence[object], rounds: int) -> list[float]:
    """Images a second, the medians of what each round prints."""
    command = run([sys.executable, __file__, "--beyond", *map(str, arguments)])
    printed = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(rounds)
    ]
    return [statistics.median(column) for column in zip(*printed, strict=True)]


def rows_of(
    where: str,
    host: str,
    run: Callable[[list[str]], list[str]],
    folder: Path,
    count: int,
    level: int,
    token: str,
    *,
    tenth: bool,
    rounds: int,
) -> list[Row]:
    images = count // 10 if tenth else count
    with serving(folder / "home", host) as url, files_served(folder, host) as plain:
        ours, epoch = speeds(run, ["streamed", url, images if tenth else -1, level, token], rounds)
        (one,) = speeds(run, ["files", plain, images, level, 1], 1)
        (several,) = speeds(run, ["files", plain, images, level, CONNECTIONS], 1)
        rows = [
            Row(f"{where}: streamed", ours, "a second"),
            Row(f"{where}: of file by file", ours / one, "x", 10),
            Row(f"{where}: second epoch, of file by file", epoch / one, "x", 10),
            Row(f"{where}: of file by file, {CONNECTIONS} connections", ours / several, "x"),
        ]
        if find_spec("webdataset") is None:
            print("SKIPPED WebDataset: pip install webdataset", file=sys.stderr)
        else:
            (shards,) = speeds(run, ["shards", plain, max(1, images // SHARD), level, ""], 1)
            rows += [
                Row(f"{where}: of WebDataset with whole PNG", ours / shards, "x", 5),
                Row(f"{where}: second epoch, of WebDataset with whole PNG", epoch / shards, "x"),
            ]
    return rows


def main() -> None:
    if sys.argv[1:2] == ["--beyond"]:
        return beyond(sys.argv[2:])
    if sys.argv[1:2] == ["--files"]:
        return serve_files(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--smoke", action="store_true", help="small and short; targets are shown, not enforced"
    )
    parser.add_argument("--count", type=int, default=5000, help="images")
    arguments = parser.parse_args()
    count, side, level, rounds = (40, 128, 1, 1) if arguments.smoke else (arguments.count, 512, 2, 3)
    rows: list[Row] = []
    with scratch() as folder:
        write_images(folder, count, side, level)
        archive = Archive(Settings(home=folder / "home"))
        parts = sorted((folder / "png").iterdir())
        for name, files in (("tenth", parts[: count // 10]), ("rest", parts[count // 10 :])):
            summary = Summary.of(archive.ingest.run(files, collection="bench", labels={"part": name}))
            assert summary.files[Status.TAKEN] == len(files)
        token = administrator_token(archive)
        archive.close()
        rows += rows_of(
            "loopback", "127.0.0.1", list, folder, count, level, token, tenth=False, rounds=rounds
        )
        if missing := shaped.available():
            print(f"SKIPPED the slow line: {missing}", file=sys.stderr)
        else:
            with shaped.link() as line:
                where = "20 ms, 100 Mbit/s"
                rows += rows_of(
                    where, line.here, line.command, folder, count, level, token, tenth=True, rounds=rounds
                )
    report("small-images", rows, smoke=arguments.smoke)
    return None


if __name__ == "__main__":
    main()
