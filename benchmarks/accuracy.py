"""Does training on streamed levels cost accuracy? The same small network on the same pictures, come by in
four ways: whole files over HTTP made small by linear interpolation (with antialiasing, which is the
reference, and without), and streamed (`StreamingDataset(size=...)`, and the level nearest to the size).

The pictures are those of COVID-CT's lists for training and validation. Network, first weights, order, what is
drawn to augment, and epochs are the same for one seed in every arm; no epoch and no setting is chosen by what
it does to the validation list. `--smoke` trains on a few generated pictures and needs no data.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

import accuracy_statistics
import shaped
from accuracy_data import (
    Picture,
    Way,
    at_level_nearest,
    files,
    generated,
    in_order,
    ingest,
    listed,
    parts,
    streamed,
)
from accuracy_results import ARMS, ENOUGH, PLAIN, REFERENCE, Arm, Reading, Results
from accuracy_statistics import Values
from accuracy_training import Pictures, scores, trained
from common import administrator_token, report, scratch, serving
from counted import counted
from imarium.archive import Archive
from imarium.settings import Settings
from slow_line import files_served

_HERE = Path(__file__).parent
DATA = Path(os.environ.get("IMARIUM_TEST_DATA", _HERE.parent.parent / "shared" / "data")) / "covid-ct"
PROCESSES = 2
_FOUND_ALIKE = 0.8
"""Less correlation is a gross mistake, as a picture turned or cut elsewhere. Which picture is which is known
at full resolution."""
_JPEG_APART = 4.0
"""Grey levels between decoders."""
_ROUNDING = 1e-2
"""Grey levels that come of the order in which numbers are added."""

Key = tuple[int, str]
"""A size and an arm."""


# --- reading ---------------------------------------------------------------------------------------------


@dataclass
class Source:
    """A server of the archive, a server of the files, and what both hold."""

    pictures: Sequence[Picture]
    series: Sequence[str]
    """Of each picture."""
    url: str
    plain: str
    sides: list[int] = field(default_factory=list)
    """The shorter side of each picture."""

    def address(self, arm: str) -> str:
        return self.plain if _by_file(arm) else self.url

    def read(self, arm: str, url: str, size: int) -> Pictures:
        keys = [picture.path for picture in self.pictures] if _by_file(arm) else self.series
        return in_order(_way(arm, self.pictures)(url, None, size), keys, self.pictures)

    def check_pixels(self) -> int:
        """At full resolution both servers have the same pictures; how many hold the same numbers.

        Raises AssertionError."""
        theirs = files(self.pictures, antialias=True)(self.plain, None, 0)
        ours = at_level_nearest(self.url, None, 0)
        equal = 0
        for picture, uid in zip(self.pictures, self.series, strict=True):
            one, other = theirs[picture.path][0], ours[uid][0]
            assert one.shape == other.shape, picture.path
            self.sides.append(min(one.shape[-2:]))
            apart = float((one - other).abs().max())
            assert apart < _allowed(picture), (picture.path, apart)
            equal += apart < _ROUNDING
        return equal

    def check_resampled(self, held: Pictures, reference: Pictures, size: int) -> None:
        """Pictures whose next level is too small are read whole by `size=`, and so are what the reference
        is. Raises AssertionError."""
        apart = (held.images - reference.images).abs().flatten(1).amax(1).tolist()
        for picture, side, most in zip(self.pictures, self.sides, apart, strict=True):
            assert -(-side // 2) >= size or most < _allowed(picture), (picture.path, most)


def _allowed(picture: Picture) -> float:
    return _JPEG_APART if picture.path.endswith("jpg") else _ROUNDING


def _by_file(arm: str) -> bool:
    return arm in (REFERENCE, PLAIN)


def _way(arm: str, pictures: Sequence[Picture]) -> Way:
    if _by_file(arm):
        return files(pictures, antialias=arm == REFERENCE)
    return streamed if arm == ENOUGH else at_level_nearest


def read_all(source: Source, size: int, rounds: int) -> dict[str, tuple[Pictures, Reading]]:
    """Every arm's pictures, how many bytes they took, and how long: times without the relay that counts."""
    times: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for _ in range(rounds):
        for arm in ARMS:
            task = partial(_way(arm, source.pictures), source.address(arm), None, size)
            times[arm].append(_seconds(task))
    found = {}
    for arm in ARMS:
        with counted(source.address(arm)) as relay:
            held = source.read(arm, relay.url, size)
        found[arm] = held, Reading(relay.received, statistics.median(times[arm]))
    return found


def through_the_line(home: Path, data: Path, sizes: Sequence[int], token: str) -> dict[Key, float]:
    """Seconds until the tensors are there, through 20 ms and 100 Mbit/s."""
    found = {}
    with shaped.link() as line, serving(home, line.here) as url, files_served(data, line.here) as plain:
        for size in sizes:
            for arm in ARMS:
                address = plain if _by_file(arm) else url
                command = [sys.executable, __file__, "--beyond", arm, address, token, str(size), str(data)]
                done = subprocess.run(line.command(command), check=True, stdout=subprocess.PIPE, text=True)
                found[size, arm] = float(json.loads(done.stdout))
    return found


def beyond(arguments: Sequence[str]) -> None:
    """The part of that which runs beyond the line."""
    arm, url, token, size, data = arguments
    torch.set_num_threads(1)
    print(json.dumps(_seconds(partial(_way(arm, listed(Path(data))), url, token, int(size)))))


def _seconds(task: Callable[[], object]) -> float:
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


def likeness(held: Pictures, reference: Pictures) -> tuple[float, float]:
    """The least correlation of a picture with its reference, and the share of those that are the same."""
    one, other = (part.images.flatten(1).double() for part in (held, reference))
    same = ((one - other).abs().amax(1) < 1).double().mean()
    one, other = (part - part.mean(1, keepdim=True) for part in (one, other))
    alike = (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))
    return float(alike.min()), float(same)


# --- training --------------------------------------------------------------------------------------------


def train_one(pictures: Path, seed: int, epochs: int) -> tuple[list[float], float]:
    """Scores of the validation list, and seconds of processor time; in a process of its own."""
    torch.set_num_threads(1)
    train, val = (Pictures(*part) for part in torch.load(pictures))
    began = time.process_time()
    model = trained(train, seed, epochs)
    spent = time.process_time() - began
    return scores(model, val.images).tolist(), spent


def train_all(held: dict[Key, Path], seeds: Sequence[int], epochs: int) -> dict[Key, tuple[Values, float]]:
    """Scores (seeds, pictures) of every arm, and the median of the seconds."""
    context = multiprocessing.get_context("spawn")
    found: dict[Key, list[tuple[list[float], float]]] = {key: [] for key in held}
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        jobs = [
            (key, pool.submit(train_one, path, seed, epochs)) for seed in seeds for key, path in held.items()
        ]
        for number, (key, job) in enumerate(jobs, 1):
            found[key].append(job.result())
            print(f"{number} of {len(jobs)} networks", file=sys.stderr)
    return {
        key: (np.array([one for one, _ in runs]), statistics.median(spent for _, spent in runs))
        for key, runs in found.items()
    }


# --- all of it -------------------------------------------------------------------------------------------


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help="covid-ct's folder")
    parser.add_argument("--smoke", action="store_true", help="small, short, and with generated pictures")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 112, 56], metavar="N")
    parser.add_argument("--seeds", type=int, default=8, metavar="N", help="networks an arm (8)")
    parser.add_argument("--epochs", type=int, default=20, metavar="N", help="(20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything measured, seed by seed")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the tables, as Markdown")
    found = parser.parse_args()
    if found.smoke:
        found.sizes, found.seeds, found.epochs = [64], 2, 12
    elif not found.data.is_dir():
        parser.error(f"no folder {found.data}: give --data, set IMARIUM_TEST_DATA, or try --smoke")
    if found.seeds < 2:
        parser.error("an interval needs two seeds")
    return found


def token_of(home: Path) -> str:
    with Archive(Settings(home=home)) as archive:
        return administrator_token(archive)


def measured(data: Path, folder: Path, arguments: argparse.Namespace) -> Results:
    pictures = listed(data)
    series = ingest(data, pictures, folder / "home")
    token = token_of(folder / "home")
    readings: dict[Key, tuple[Reading, float, float]] = {}
    held: dict[Key, Path] = {}
    with serving(folder / "home") as url, files_served(data, "127.0.0.1") as plain:
        source = Source(pictures, [series[picture.path] for picture in pictures], url, plain)
        equal = source.check_pixels()
        print(f"at full resolution {equal} of {len(pictures)} pictures hold the same numbers")
        for size in arguments.sizes:
            reads = read_all(source, size, 1 if arguments.smoke else 3)
            reference = reads[REFERENCE][0]
            source.check_resampled(reads[ENOUGH][0], reference, size)
            for arm, (tensors, reading) in reads.items():
                alike, same = likeness(tensors, reference)
                assert alike > _FOUND_ALIKE, f"{arm} has another picture than the reference"
                readings[size, arm] = reading, alike, same
                held[size, arm] = folder / f"{size}-{ARMS.index(arm)}.pt"
                split = [(part.images, part.labels) for part in parts(pictures, tensors)]
                torch.save(split, held[size, arm])
    if missing := shaped.available():
        print(f"SKIPPED the slow line: {missing}", file=sys.stderr)
    else:
        for key, spent in through_the_line(folder / "home", data, arguments.sizes, token).items():
            readings[key][0].line = spent
    found = train_all(held, range(arguments.seeds), arguments.epochs)
    first = (arguments.sizes[-1], REFERENCE)
    again, _ = train_one(held[first], 0, arguments.epochs)
    assert np.array_equal(again, found[first][0][0]), "the same seed gave another network"
    val = [picture for picture in pictures if picture.split == "val"]
    return Results(
        [
            Arm(size, name, reading, alike, same, *found[size, name])
            for (size, name), (reading, alike, same) in readings.items()
        ],
        np.array([picture.label for picture in val], np.float64),
        [picture.patient for picture in val],
    )


def main() -> None:
    if sys.argv[1:2] == ["--beyond"]:
        return beyond(sys.argv[2:])
    arguments = options()
    accuracy_statistics.check()
    torch.set_num_threads(1)
    with scratch() as folder:
        data = arguments.data
        if arguments.smoke:
            print("GENERATED PICTURES: shows that this runs, and nothing about CT", file=sys.stderr)
            data = folder / "generated"
            generated(data, train=32, val=12)
        results = measured(data, folder, arguments)
    if arguments.smoke:
        for one in results.figures():
            assert one.measure == "accuracy" or one.ensemble.value > 0.8, f"{one.arm.name} learned nothing"
    if arguments.json:
        arguments.json.write_text(results.details())
    if arguments.markdown:
        arguments.markdown.write_text(results.markdown())
    report("accuracy", results.rows(), smoke=arguments.smoke)
    return None


if __name__ == "__main__":
    main()
