"""The fuzzer finds what it is made to find, and finds nothing in a short run over all readers."""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imarium.errors import CorruptFileError
from imarium.formats import readers
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.npy import NumpyReader
from imarium.formats.raster import PngReader
from imarium.model import SourceSeries
from imarium.settings import Limits
from imarium.testing.fuzzing import Campaign, Sample
from imarium.testing.mutations import mutate
from imarium.testing.samples import samples_of

_kept: list[np.ndarray] = []
SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz_readers.py"


class Faulty(PngReader):
    """Reads PNG, and does something that no reader may do."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def read(self, paths: Iterable[Path], context: ReadContext) -> Iterator[SourceSeries | Refusal]:
        for path in paths:
            match self.fault:
                case "exception":
                    raise ValueError("not allowed")
                case "crash":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "hang":
                    time.sleep(60)
                case "memory":
                    np.ones(400 << 20, np.uint8)
                    yield Refusal(path, CorruptFileError("it took much to find out"))
                case "leak":
                    _kept.append(np.zeros(400 << 20, np.uint8))
                    yield Refusal(path, CorruptFileError("not of a kind that is read"))
                case "message":
                    yield Refusal(path, CorruptFileError(f"{path} is damaged"))
                case "forgotten":
                    pass
                case _:
                    yield self._lie(path)

    def _lie(self, path: Path) -> SourceSeries:
        whole = samples_of(self)
        folder = path.parent / "whole"
        folder.mkdir()
        (first, *_) = whole.small(folder)
        (found,) = PngReader().read([first], ReadContext(Limits(), path.parent))
        assert isinstance(found, SourceSeries)
        facts = {
            "shape": {"rows": found.series.rows + 1},
            "type": {"dtype": "int64"},
            "count": {"frames": 2, "dimensions": (2,)},
            "nan": {"rescale_slope": float("nan")},
        }[self.fault]
        return replace(
            found, series=replace(found.series, **facts), files=(replace(found.files[0], path=path),)
        )


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("exception", "exception"),
        ("crash", "crash"),
        ("hang", "hang"),
        ("memory", "memory"),
        ("message", "message"),
        ("forgotten", "lie"),
        ("shape", "lie"),
        ("type", "lie"),
        ("count", "lie"),
        ("nan", "lie"),
    ],
)
def test_faults_are_found(fault: str, kind: str, tmp_path: Path) -> None:
    (path, *_) = samples_of(PngReader()).small(tmp_path)
    seconds = 2 if fault == "hang" else 60
    campaign = Campaign(Faulty(fault), [Sample(path, (path,))], 0, tmp_path / "case", seconds)
    try:
        (failure,) = campaign.run(0)
        assert (failure.reader, failure.case, failure.kind) == ("png", 0, kind)
        assert [again.kind for again in campaign.run(1)] == [kind]  # a new worker where the first one died
    finally:
        campaign.close()


def test_memory_that_is_kept_from_case_to_case_is_found(tmp_path: Path) -> None:
    (path, *_) = samples_of(PngReader()).small(tmp_path)
    campaign = Campaign(Faulty("leak"), [Sample(path, (path,))], 0, tmp_path / "case")
    try:
        found = [[failure.kind for failure in campaign.run(case)] for case in range(4)]
        assert found == [[], ["leak"], [], ["leak"]]
    finally:
        campaign.close()


def test_a_sound_reader_has_no_failures(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    corpus = [Sample(path, (path,)) for path in samples_of(PngReader()).small(made)]
    campaign = Campaign(PngReader(), corpus, 0, tmp_path / "case")
    try:
        assert [failure for case in range(60) for failure in campaign.run(case)] == []
        assert campaign.tally.cases == 60
        assert {"read", "corrupt"} <= set(campaign.tally.outcomes)
    finally:
        campaign.close()


def test_cases_can_be_repeated(tmp_path: Path) -> None:
    (path, *_) = samples_of(PngReader()).small(tmp_path)
    campaigns = [
        Campaign(PngReader(), [Sample(path, (path,))], seed, tmp_path / str(number))
        for number, seed in enumerate((3, 3, 4))
    ]
    contents = [[campaign.prepare(case)[0].read_bytes() for case in range(20)] for campaign in campaigns]
    assert contents[0] == contents[1] != contents[2]
    assert len(set(contents[0])) > 15


@pytest.mark.parametrize("reader", readers(), ids=lambda reader: reader.name)
def test_damage_gets_behind_the_first_checks(reader, tmp_path: Path) -> None:
    """Of 100 damaged files most are damaged indeed, and stay a file of their format by their first bytes."""
    content = next(iter(samples_of(reader).small(tmp_path))).read_bytes()
    rng = random.Random(1)
    damaged = [mutate(content, [content], rng) for _ in range(100)]
    assert sum(each != content for each in damaged) > 80
    assert sum(reader.recognises(tmp_path, each[:4096]) for each in damaged) > 30


def test_zips_are_damaged_inside(tmp_path: Path) -> None:
    """With the right checksums, half of the time: what reads the members gets to see it."""
    content = next(path for path in samples_of(NumpyReader()).small(tmp_path) if path.suffix == ".npz")
    whole = content.read_bytes()
    rng = random.Random(2)
    sound = 0
    for _ in range(60):
        damaged = mutate(whole, [whole], rng)
        with contextlib.suppress(Exception), zipfile.ZipFile(io.BytesIO(damaged)) as archive:
            sound += archive.testzip() is None and damaged != whole
    assert sound > 20


def test_a_reader_without_samples_fails_loudly(tmp_path: Path) -> None:
    class Unheard(PngReader):
        name = "unheard-of"

    with pytest.raises(LookupError, match=r"no sample files for the reader 'unheard-of'.*SAMPLES"):
        samples_of(Unheard())
    with pytest.raises(LookupError, match="no file to damage"):
        Campaign(Unheard(), [], 0, tmp_path)


def test_a_short_run_over_every_reader_finds_nothing() -> None:
    command = [sys.executable, str(SCRIPT), "--cases", "150", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    for reader in readers():
        assert f"{reader.name}: 150 cases" in done.stdout
