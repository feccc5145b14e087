"""What every reader promises."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from imarium.errors import ImariumError
from imarium.formats import HEAD_BYTES, readers, recognise
from imarium.formats.base import ReadContext, Reader, Refusal
from imarium.model import SourceSeries
from imarium.model.series import Frame
from imarium.settings import Limits
from imarium.testing.samples import Samples, samples_of

PERSON = "Zebulon^Quartz 19010203"
"""Name of the folder that samples lie in: no message may quote it."""
_SECRETS = ("Zebulon", "Quartz", "19010203", "Nobody^Known", "ID-0815", "x-file-x")
_LIAR_BYTES = 32 << 20
"""Most memory that refusing a small file that lies may take."""


def read_all(
    reader: Reader, path: Path, context: ReadContext
) -> list[tuple[SourceSeries, list[Frame]]] | str:
    """The series of a file, each with its frames; or the message of why one was refused, or failed.

    Checks that nothing else than the protocol of `Reader` allows has happened.
    """
    found = list(reader.read([path], context))
    assert found, "a file became neither a series nor a refusal"
    assert len(found) == 1 or reader.several, "the reader's files hold one series each"
    for item in found:
        if isinstance(item, Refusal):
            assert item.path == path
            assert isinstance(item.error, ImariumError)
            return str(item.error)
    try:
        return [(item, list(item.read_frames())) for item in found if isinstance(item, SourceSeries)]
    except ImariumError as error:
        return str(error)


def check_frames(source: SourceSeries, frames: Sequence[Frame]) -> None:
    """Frames are as many, and of the shape and type, that the series says."""
    series = source.series
    assert len(frames) == series.frames
    assert int(np.prod(series.dimensions)) == series.frames
    for frame in frames:
        assert frame.shape == series.frame_shape
        assert frame.dtype == np.dtype(series.dtype)
        assert frame.dtype.isnative
        assert frame.flags.c_contiguous


def check_files(sources: Sequence[SourceSeries], files: Sequence[Path]) -> None:
    """The series of a sample come from all of its files, and no byte counts twice.

    The last series carries the files' own digests: with these in the catalog everything else is there too.
    """
    own = {file.name: (blake3(content := file.read_bytes()).hexdigest(), len(content)) for file in files}
    *others, last = sources
    assert {file.path.name: (file.digest, file.size) for file in last.files} == own
    parts = [file for source in others for file in source.files]
    assert {file.path.name for file in parts} <= set(own)
    assert sum(file.size for file in parts) == 0
    digests = [file.digest for source in sources for file in source.files]
    assert len(set(digests)) == len(digests)
    assert len({source.series.uid for source in sources}) == len(sources)


def check_message(message: str, *paths: Path) -> None:
    """A reason that says something, and neither a path nor whose file it is."""
    assert message
    for secret in (*_SECRETS, *(path.name for path in paths), *(str(path.parent) for path in paths)):
        assert secret not in message, message


def _whole_sample(path: Path, target: Path) -> Path:
    """A copy of a sample, and of what lies in its folder if that is all its own."""
    target.mkdir(parents=True, exist_ok=True)
    for file in _files_of(path):
        shutil.copyfile(file, target / file.name)
    return target / path.name


def _files_of(path: Path) -> list[Path]:
    """The sample's files: its folder's, unless that is the one that holds all samples."""
    return [path] if path.parent.name == PERSON else sorted(path.parent.iterdir())


class ReaderConformance:
    """Subclass with a fixture `reader`; its sample files come from `imarium.testing.samples`."""

    @pytest.fixture
    def samples(self, reader: Reader) -> Samples:
        """Makers of the reader's files."""
        return samples_of(reader)

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """An empty folder for samples."""
        folder = tmp_path / PERSON
        folder.mkdir()
        return folder

    @pytest.fixture
    def context(self, tmp_path: Path) -> ReadContext:
        """Default limits."""
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        return ReadContext(Limits(), scratch)

    def test_recognises_its_own_files_and_nobody_elses(
        self, reader: Reader, samples: Samples, folder: Path
    ) -> None:
        """Each sample by exactly one reader, by its first bytes alone."""
        paths = [*samples.small(folder), samples.large(folder)]
        assert len(paths) > 1
        for path in paths:
            nameless = _whole_sample(path, folder.parent / "nameless" / path.stem)
            head = nameless.read_bytes()[:HEAD_BYTES]
            assert [each.name for each in readers() if each.recognises(nameless, head)] == [reader.name]
            assert recognise(path).name == reader.name
        for head in (b"", b"\0", bytes(HEAD_BYTES), b"hello world\n" * 300):
            assert not reader.recognises(folder / "other", head)

    def test_frames_agree_with_the_facts_and_come_twice(
        self, samples: Samples, reader: Reader, folder: Path, context: ReadContext
    ) -> None:
        """Shape, type and number; the same again; the digest is BLAKE3 of the file."""
        for path in samples.small(folder):
            read = read_all(reader, path, context)
            assert not isinstance(read, str), (path.name, read)
            other = read_all(reader, path, context)
            assert not isinstance(other, str)
            for (source, frames), (same, third) in zip(read, other, strict=True):
                check_frames(source, frames)
                again = list(source.read_frames())
                check_frames(source, again)
                assert same.series == source.series
                for copies in zip(frames, again, third, strict=True):
                    assert len({frame.tobytes() for frame in copies}) == 1
                assert source.series.format in {each.name for each in readers()}
            check_files([source for source, _ in read], _files_of(path))
            assert {path, *reader.companions(path)} == set(_files_of(path))

    def test_truncated_files_are_refused(
        self, samples: Samples, reader: Reader, folder: Path, context: ReadContext, tmp_path: Path
    ) -> None:
        """After every sixteenth of the file, and one byte."""
        for path in samples.small(folder):
            for file in _files_of(path):
                content = file.read_bytes()
                for cut in {len(content) * part // 16 for part in range(16)} | {1}:
                    copy = _whole_sample(path, tmp_path / "cut")
                    (copy.parent / file.name).write_bytes(content[:cut])
                    reason = read_all(reader, copy, context)
                    assert isinstance(reason, str), f"{file.name} cut to {cut} of {len(content)} was read"
                    check_message(reason, copy)

    def test_lying_sizes_are_refused_before_memory_is_taken(
        self, samples: Samples, reader: Reader, folder: Path, context: ReadContext
    ) -> None:
        """Headers that promise what the file does not hold."""
        paths = list(samples.liars(folder))
        assert paths
        for path in paths:
            tracemalloc.start()
            try:
                reason = read_all(reader, path, context)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert isinstance(reason, str), f"{path.name} was read"
            assert peak < _LIAR_BYTES, f"refusing {path.name} took {peak} bytes"
            check_message(reason, path)

    def test_empty_and_missing_files_and_folders_are_refused(
        self, reader: Reader, folder: Path, context: ReadContext
    ) -> None:
        """Each with a reason, and no exception."""
        empty, missing, inner = folder / "x-file-x", folder / "x-file-x2", folder / "x-file-x3"
        empty.write_bytes(b"")
        inner.mkdir()
        for path in (empty, missing, inner):
            reason = read_all(reader, path, context)
            assert isinstance(reason, str)
            check_message(reason, path)

    def test_one_bad_file_does_not_spoil_the_others(
        self, samples: Samples, reader: Reader, folder: Path, context: ReadContext
    ) -> None:
        """Good files before and after a bad one are read."""
        good = list(samples.small(folder))
        bad = folder / "x-file-x"
        bad.write_bytes(good[0].read_bytes()[:40])
        found = list(reader.read([good[0], bad, *good[1:]], context))
        refused = [item.path for item in found if isinstance(item, Refusal)]
        taken = {file.path for item in found if isinstance(item, SourceSeries) for file in item.files}
        assert refused == [bad]
        assert taken >= set(good)

    def test_reads_lazily(self, samples: Samples, reader: Reader, folder: Path, context: ReadContext) -> None:
        """No pixels are held before frames are asked for, and few of many frames afterwards."""
        path = samples.large(folder)
        tracemalloc.start()
        try:
            (source,) = reader.read([path], context)
            assert isinstance(source, SourceSeries), source
            _, before = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            count = 0
            for frame in source.read_frames():
                count += 1
                del frame
            _, during = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        size = source.series.pixel_bytes
        assert size >= 12_000_000
        assert count == source.series.frames
        assert before < size / 2, (
            f"{before} bytes were held before any of {size} bytes of frames was asked for"
        )
        if count >= 16:
            assert during < size / 2, f"{during} of {size} bytes of frames were held at once"

    def test_files_that_vanish_or_change_between_reading_and_frames(
        self, samples: Samples, reader: Reader, folder: Path, context: ReadContext, tmp_path: Path
    ) -> None:
        """Either exactly the frames that were there, or an ImariumError; never others."""
        for number, path in enumerate(samples.small(folder)):
            expected = read_all(reader, path, context)
            assert not isinstance(expected, str)
            for change in ("gone", "cut", "replaced"):
                copy = _whole_sample(path, tmp_path / f"{change}{number}")
                sources = list(reader.read([copy], context))
                assert all(isinstance(source, SourceSeries) for source in sources)
                for file in copy.parent.iterdir():
                    content = file.read_bytes()
                    file.unlink()
                    if change != "gone":
                        file.write_bytes(content[: len(content) // 2] if change == "cut" else content[::-1])
                for source, (_, frames) in zip(sources, expected, strict=True):
                    assert isinstance(source, SourceSeries)
                    try:
                        got = [frame.tobytes() for frame in source.read_frames()]
                    except ImariumError as error:
                        check_message(str(error), copy)
                        continue
                    assert got == [frame.tobytes() for frame in frames]
