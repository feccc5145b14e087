"""De-identifies files over several processes; every copy appears whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from blake3 import blake3

from imarium.deid.cleaned import Cleaned
from imarium.deid.dicom import DicomCleaner
from imarium.deid.files import OtherFiles
from imarium.deid.keys import Substitutes, subkeys
from imarium.deid.pixel_source import PixelCleaner
from imarium.deid.policy import Policy
from imarium.errors import (
    CorruptFileError,
    ImariumError,
    QuarantineError,
    RefusedFileError,
    StorageError,
)
from imarium.formats.base import file_digest
from imarium.formats.dicom.header import recognises as recognises_dicom
from imarium.settings import Limits

_BATCH = 16
_WAITING = 4
"""Batches a process that may wait, so that a long list of files takes no memory."""
_WORTH_A_PROCESS = 250
"""Files that take about as long as a process needs to start."""
_HEAD = 4096
_T = TypeVar("_T")


class Status(StrEnum):
    """How a file ended."""

    RELEASED = "released"
    KNOWN = "known"
    """The same copy was there already."""
    REVIEW = "review"
    """Written to the folder `review` of the output; somebody has to look at it."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Work:
    """Everything that a process needs to de-identify files."""

    policy: Policy
    key: bytes = field(repr=False)
    output: Path
    collection: str = ""
    limits: Limits = field(default_factory=Limits)
    pixels: PixelCleaner | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one file ended."""

    number: int
    """From 1, in the order of the source."""
    path: Path
    status: Status
    name: str = ""
    """The copy's path below the output folder, with slashes."""
    format: str = ""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    subject: str = ""
    original: str = field(default="", repr=False)
    uids: dict[str, str] = field(default_factory=dict, repr=False)
    review: tuple[str, ...] = ()
    code: str = ""
    reason: str = ""


class Deidentifier:
    """De-identifies single files; what `run` does in every process, and what ingest calls."""

    def __init__(self, work: Work) -> None:
        rules = work.policy.dates
        substitutes = Substitutes(
            subkeys(work.key, work.collection), work.policy.prefix, rules.earliest, rules.latest
        )
        self._work = work
        self._dicom = DicomCleaner(work.policy, substitutes, work.limits, work.pixels)
        self._others = OtherFiles(work.policy, substitutes, work.limits)

    def look(self, path: Path) -> tuple[str, str]:
        """(study UID, what tells its patient from others) of a DICOM file; empty for others."""
        try:
            with path.open("rb") as file:
                if not recognises_dicom(file.read(_HEAD)):
                    return "", ""
            return self._dicom.look(path)
        except (OSError, ImariumError):
            return "", ""  # refused when its turn comes

    def clean(self, path: Path) -> Cleaned:
        """De-identify one file in memory. Raises RefusedFileError and its children."""
        try:
            if path.stat().st_size == 0:
                raise CorruptFileError("the file is empty")
            with path.open("rb") as file:
                head = file.read(_HEAD)
            if recognises_dicom(head):
                return self._dicom.clean(path)
            return self._others.clean(path, head)
        except OSError as error:
            raise RefusedFileError(
                f"the file cannot be read: {error.strerror or type(error).__name__}"
            ) from error

    def release(self, number: int, path: Path) -> Outcome:
        """De-identify one file and write the copy; a refusal becomes an outcome. Raises StorageError."""
        try:
            cleaned = self.clean(path)
            status = Status.REVIEW if cleaned.review else Status.RELEASED
            parts = ("review", *cleaned.name) if cleaned.review else cleaned.name
            if not write_copy(self._work.output.joinpath(*parts), cleaned.pieces(), self._work.limits):
                status = Status.KNOWN
        except RefusedFileError as error:
            return Outcome(number, path, Status.REFUSED, code=error.code, reason=str(error))
        except StorageError:
            raise
        except ImariumError as error:
            return Outcome(number, path, Status.REFUSED, code=error.code, reason=str(error))
        return Outcome(
            number,
            path,
            status,
            "/".join(parts),
            cleaned.format,
            cleaned.counts,
            cleaned.subject,
            cleaned.original,
            cleaned.uids,
            cleaned.review,
        )


def write_copy(destination: Path, pieces: Iterable[bytes], limits: Limits) -> bool:
    """Write a copy that appears whole or not at all; False if the same is there already.

    Raises QuarantineError if something else is there, StorageError if it cannot be written.
    """
    partial = destination.with_name(f".{secrets.token_hex(8)}.part")
    digest = blake3()
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            for piece in pieces:
                digest.update(piece)
                file.write(piece)
        try:
            os.link(partial, destination)  # atomic, and never over what is there
        except FileExistsError:
            if file_digest(destination, limits) != digest.hexdigest():
                raise QuarantineError(
                    "another copy of this name is there already: two objects with one UID, or a copy made "
                    "with another policy or key"
                ) from None
            return False
        return True
    except OSError as error:
        raise StorageError(f"a copy cannot be written: {error.strerror or type(error).__name__}") from error
    finally:
        with suppress(OSError):
            partial.unlink()


_worker: Deidentifier | None = None


def _start(work: Work) -> None:
    global _worker
    _worker = Deidentifier(work)


def _ready() -> Deidentifier:
    if _worker is None:
        raise RuntimeError("the process was not set up")
    return _worker


def _look(batch: Sequence[tuple[int, Path]]) -> list[tuple[str, str]]:
    return [_ready().look(path) for _, path in batch]


def _release(batch: Sequence[tuple[int, Path]]) -> list[Outcome]:
    return [_ready().release(number, path) for number, path in batch]


def run(work: Work, paths: Iterable[Path], processes: int | None = None) -> Iterator[Outcome]:
    """De-identify files, and tell of each as it is done; not in the order of `paths`.

    All headers are looked at first: a study that mixes two patients is refused as a whole. Raises
    StorageError if copies cannot be written.
    """
    numbered = list(enumerate(paths, start=1))
    count = processes or min(os.cpu_count() or 1, -(-len(numbered) // _WORTH_A_PROCESS))
    count = max(1, min(count, len(numbered)))
    if count == 1:
        deidentifier = Deidentifier(work)
        mixed = _mixed(numbered, (deidentifier.look(path) for _, path in numbered))
        yield from _refused(numbered, mixed)
        for number, path in numbered:
            if number not in mixed:
                yield deidentifier.release(number, path)
        return
    # Processes start afresh: a fork of a process with threads can hang.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(count, context, _start, (work,)) as pool:
            looks = (found for found in _spread(pool, _look, numbered, count))
            mixed = _mixed(numbered, looks)
            yield from _refused(numbered, mixed)
            left = [item for item in numbered if item[0] not in mixed]
            yield from _spread(pool, _release, left, count)
    except BrokenProcessPool as error:
        raise StorageError("a process was ended from outside; run again, finished files are kept") from error


def _spread(
    pool: ProcessPoolExecutor,
    task: Callable[[Sequence[tuple[int, Path]]], list[_T]],
    numbered: Sequence[tuple[int, Path]],
    processes: int,
) -> Iterator[_T]:
    """Results of a task over batches, in order, with a bounded number of batches on their way."""
    waiting: deque[Future[list[_T]]] = deque()
    size = max(1, min(_BATCH, len(numbered) // (2 * processes)))
    for start in range(0, len(numbered), size):
        waiting.append(pool.submit(task, numbered[start : start + size]))
        if len(waiting) >= _WAITING * processes:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


def _mixed(numbered: Sequence[tuple[int, Path]], looks: Iterable[tuple[str, str]]) -> set[int]:
    """Numbers of the files whose study holds more than one patient."""
    patients: dict[str, set[bytes]] = {}
    studies: list[str] = []
    for study, patient in looks:
        studies.append(study)
        if study:
            patients.setdefault(study, set()).add(blake3(patient.encode()).digest(length=8))
    mixed = {study for study, found in patients.items() if len(found) > 1}
    return {number for (number, _), study in zip(numbered, studies, strict=True) if study in mixed}


def _refused(numbered: Sequence[tuple[int, Path]], mixed: set[int]) -> Iterator[Outcome]:
    for number, path in numbered:
        if number in mixed:
            yield Outcome(
                number,
                path,
                Status.REFUSED,
                code=QuarantineError.code,
                reason="its study mixes two patients; none of it is released",
            )
