"""Damaged files for readers, in a process that is watched: what leaves it must be an ImariumError.

A case is a number. With the seed of the campaign, the reader and the corpus it says which file is damaged and
how, so each can be run again by itself.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from imarium.codec.source import keep
from imarium.errors import ImariumError
from imarium.formats import HEAD_BYTES
from imarium.formats.base import ReadContext, Reader, Refusal
from imarium.model import SourceSeries
from imarium.model.series import Frame
from imarium.settings import Limits
from imarium.testing.mutations import mutate

LIMITS = Limits(
    frame_pixels=1 << 22,
    frame_bytes=1 << 24,
    frames=1 << 12,
    file_bytes=1 << 26,
    header_bytes=1 << 22,
    decoder_memory_bytes=1 << 30,
    decoder_seconds=5.0,
)
"""Tight, so that taking more than allowed shows at once."""
EXCESS_BYTES = 256 << 20
"""Resident memory that no case may add; a frame at its limit takes 16 MB."""
ADDRESS_BYTES = 2 << 30
"""Address space on top of what the process has when it begins."""
LEAK_BYTES = 512 << 20
"""Address space that a process may keep from all its cases together."""
SECONDS = 90.0
"""For one case, the start of a decoder process (up to 60 s) included."""
LARGEST_SEED = 1 << 20
"""Bytes of the largest file of a corpus that is damaged."""
_KEPT_FRAMES = 16
"""Most frames of a series whose compressed frames are asked for."""
_SECRET = "Zebulon-Quartz"  # noqa: S105 - a name that no message may quote


@dataclass(frozen=True, slots=True)
class Sample:
    """A whole file, with what lies beside it where that belongs to it."""

    path: Path
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """What should not have happened."""

    reader: str
    case: int
    kind: str
    """exception, crash, hang, memory, leak, lie (frames that differ from the facts) or message."""
    detail: str

    @property
    def signature(self) -> tuple[str, str, str]:
        """The same for failures that look alike."""
        return self.reader, self.kind, self.detail


@dataclass
class Tally:
    """What became of the cases of one reader."""

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    """`read`, or the code of the error."""


class Campaign:
    """Cases for one reader, run in a worker process that is started again when it dies."""

    def __init__(
        self, reader: Reader, corpus: Sequence[Sample], seed: int, folder: Path, seconds: float = SECONDS
    ) -> None:
        """`folder`: an empty one for the files of the case at hand."""
        if not corpus:
            raise LookupError(f"there is no file to damage for the reader {reader.name!r}")
        self.reader, self.corpus, self.seed = reader, tuple(corpus), seed
        self.folder = folder
        self.tally = Tally()
        self._seconds = seconds
        self._worker: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def run(self, case: int) -> list[Failure]:
        """Run one case; usually there is nothing to tell."""
        if self._worker is None or not self._worker.is_alive():
            self._start()
        assert self._pipe is not None
        assert self._worker is not None
        self.tally.cases += 1
        self._pipe.send(case)
        try:
            if not self._pipe.poll(self._seconds):
                self.close()
                return [self._failure(case, "hang", f"no answer within {self._seconds:g} s")]
            outcomes, failures = self._pipe.recv()
        except EOFError:
            self._worker.join(10)
            code = self._worker.exitcode
            self.close()
            return [self._failure(case, "crash", f"the process ended with {code}")]
        self.tally.outcomes.update(outcomes)
        return [self._failure(case, kind, detail) for kind, detail in failures]

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.join()
        if self._pipe is not None:
            self._pipe.close()
        self._worker = self._pipe = None

    def _failure(self, case: int, kind: str, detail: str) -> Failure:
        return Failure(self.reader.name, case, kind, detail)

    def _start(self) -> None:
        self.close()
        # A fork starts in no time and knows the reader, whichever module it comes from.
        method = multiprocessing.get_context("fork")
        self._pipe, theirs = method.Pipe()
        self._worker = method.Process(target=self._work, args=(theirs, self._pipe), daemon=False)
        self._worker.start()
        theirs.close()

    def _work(self, pipe: Connection, other_end: Connection) -> None:
        other_end.close()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        size = 0
        while True:
            try:
                case = pipe.recv()
            except EOFError:
                os._exit(0)
            if not size:
                size = _status("VmSize")
                resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESS_BYTES, hard))
            outcomes, failures = self.examine(case)
            if _status("VmSize") > size + LEAK_BYTES:
                # No single case is to blame, so the cases before this one are needed to see it again.
                failures.append(("leak", f"the process kept {LEAK_BYTES >> 20} MiB of its cases"))
                size = 0
            pipe.send((outcomes, failures))

    # --- in the worker ------------------------------------------------------------------------------

    def examine(self, case: int) -> tuple[list[str], list[tuple[str, str]]]:
        """Make the files of a case, read them, and judge: outcomes, and (kind, detail) of failures."""
        paths = self.prepare(case)
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        context = ReadContext(LIMITS, scratch)
        _reset_peak()
        before = _status("VmRSS")
        try:
            outcomes, failures = _read(self.reader, paths, context)
        except BaseException as error:
            outcomes, failures = [], [("exception", _where(error))]
        taken = _status("VmHWM") - before
        if taken > EXCESS_BYTES:
            failures.append(("memory", f"more than {EXCESS_BYTES >> 20} MiB"))
        return outcomes, failures

    def prepare(self, case: int) -> list[Path]:
        """Write the files of a case; the damaged one first, then, now and then, others read along with it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        rng = random.Random(f"{self.seed}/{self.reader.name}/{case}")  # noqa: S311 - to be repeated
        sample = rng.choice(self.corpus)
        paths = [self._damaged(sample, rng, self.folder / _SECRET)]
        if self.reader.batch and rng.random() < 0.3:
            for number in range(rng.randint(1, 3)):
                near = sample if rng.random() < 0.5 else rng.choice(self.corpus)
                paths.append(self._damaged(near, rng, self.folder / f"{_SECRET}{number}"))
        return paths

    def _damaged(self, sample: Sample, rng: random.Random, folder: Path) -> Path:
        folder.mkdir(parents=True)
        victim = rng.choice(sample.files)
        others = [rng.choice(self.corpus).path.read_bytes() for _ in range(2)]
        for file in sample.files:
            content = file.read_bytes()
            (folder / file.name).write_bytes(mutate(content, others, rng) if file == victim else content)
        return folder / sample.path.name


def _read(
    reader: Reader, paths: Sequence[Path], context: ReadContext
) -> tuple[list[str], list[tuple[str, str]]]:
    outcomes: list[str] = []
    failures: list[tuple[str, str]] = []
    for path in paths:
        with path.open("rb") as stream:
            reader.recognises(path, stream.read(HEAD_BYTES))
    accounted: set[Path] = set()
    for found in reader.read(paths, context):
        try:
            if isinstance(found, Refusal):
                accounted.add(found.path)
                raise found.error
            accounted.update(file.path for file in found.files)
            failures += [("lie", text) for text in _lies(found)]
            outcomes.append("read")
        except ImariumError as error:
            outcomes.append(error.code)
            if _SECRET in str(error) or not str(error):
                failures.append(("message", f"{type(error).__name__} quotes a path, or says nothing"))
    if not accounted >= set(paths):
        failures.append(("lie", "a file became neither part of a series nor a refusal"))
    return outcomes, failures


def _keep(source: SourceSeries, number: int, frame: Frame) -> None:
    """What ingest does with the compressed frame of a source."""
    kept = None if source.codestream is None else source.codestream(number)
    if kept is not None and frame.dtype.kind in "iu":
        keep(frame, kept, source.series.bits_stored)
    if source.packed_bytes is not None:
        source.packed_bytes(number)


def _lies(source: SourceSeries) -> list[str]:
    """What frames and facts disagree about."""
    series, lies, count = source.series, list[str](), 0
    try:
        json.dumps([series.to_json(), series.spacing, series.at_level(5).spacing], allow_nan=False)
    except ValueError:
        lies.append("a fact of the series is NaN or infinite, which JSON does not have")
    for count, frame in enumerate(source.read_frames(), start=1):
        if frame.shape != series.frame_shape or frame.dtype != np.dtype(series.dtype):
            lies.append("a frame has another shape or type than the series says")
            break
        if count <= _KEPT_FRAMES:
            _keep(source, count - 1, frame)
    else:
        if count != series.frames:
            lies.append("other than the series says, in the number of frames")
    if int(np.prod(series.dimensions)) != series.frames:
        lies.append("dimensions and number of frames disagree")
    for file in source.files:
        if len(file.digest) != 64:
            lies.append("a digest is not 32 bytes")
    return lies


def _where(error: BaseException) -> str:
    """Type and place, which are the same for errors of one cause."""
    places = traceback.extract_tb(error.__traceback__)
    ours = [place for place in places if "/imarium/formats/" in place.filename] or list(places)
    last = ours[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno} in {last.name}"


def _status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    return 0


def _reset_peak() -> None:
    """Have VmHWM begin anew (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")
