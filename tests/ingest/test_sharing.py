"""Small series share packs: what is acknowledged when, and what one of them does to the others."""

import gc
import os
import subprocess
import sys
import textwrap
import weakref
from collections import Counter
from dataclasses import replace

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from imarium.archive import Archive
from imarium.errors import ConcurrentWriteError, IntegrityError, StorageError
from imarium.formats.raster import PngReader
from imarium.ingest import Status, storing
from imarium.ingest.open_pack import OpenPack
from imarium.pack import read_directory
from imarium.settings import Settings, Sharing


def picture(seed: int, side: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side + 3)).astype(np.uint8)


@pytest.fixture
def pictures(tmp_path):
    """Twelve PNGs, in the order of their names."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:02d}.png").write_bytes(imagecodecs.png_encode(picture(number)))
    return folder


def sharing(tmp_path, **settings) -> Archive:
    return Archive(Settings(home=tmp_path / "home", threads=2, sharing=Sharing(**settings)))


def take(archive, *paths):
    return list(archive.ingest.run(list(paths), collection="c"))


def statuses(outcomes):
    return Counter(str(outcome.status) for outcome in outcomes)


def assert_stored(archive, outcomes):
    """Every picture that is said to be taken comes back; the store holds the packs in use and no more."""
    for outcome in outcomes:
        if outcome.status is Status.TAKEN and outcome.path.suffix == ".png":
            expected = imagecodecs.png_decode(outcome.path.read_bytes())
            np.testing.assert_array_equal(archive.streaming.volume(outcome.series)[0], expected)
    assert [outcome.error for outcome in archive.streaming.verify() if outcome.error] == []
    assert [path for path in archive.settings.scratch.iterdir() if path.name != "uploads"] == []


def objects(archive):
    return sorted(path.name for path in archive.settings.objects.rglob("*.imp"))


def test_many_pictures_make_one_object(archive, pictures):
    outcomes = take(archive, pictures)
    assert statuses(outcomes) == {"taken": 12}
    assert [outcome.path.name for outcome in outcomes] == [f"{number:02d}.png" for number in range(12)]
    assert len(objects(archive)) == len(archive.catalog.packs()) == 1
    (pack,) = archive.catalog.packs()
    stored = sum(outcome.stored_bytes for outcome in outcomes)
    assert pack.size * 0.8 < stored < pack.size
    assert sum(record.stored_bytes for record in archive.catalog.series()[0]) == stored
    assert_stored(archive, outcomes)
    assert statuses(take(archive, pictures)) == {"known": 12}


@pytest.mark.parametrize(
    ("settings", "packs"),
    [({"pack_series": 5}, 3), ({"pack_bytes": 1}, 12), ({"seconds": 0}, 12), ({"series_bytes": 0}, 12)],
)
def test_when_a_pack_is_stored(tmp_path, pictures, settings, packs):
    archive = sharing(tmp_path, **settings)
    outcomes = take(archive, pictures)
    assert statuses(outcomes) == {"taken": 12}
    assert len(objects(archive)) == packs
    assert_stored(archive, outcomes)
    archive.close()


def test_a_series_that_is_large_when_stored_has_a_pack_of_its_own(tmp_path):
    archive = sharing(tmp_path, series_bytes=8000)
    noise, flat = tmp_path / "noise.png", tmp_path / "flat.png"
    noise.write_bytes(imagecodecs.png_encode(picture(0, 100)))  # about 10 kB, random
    flat.write_bytes(imagecodecs.png_encode(picture(0, 100) // 64))
    outcomes = take(archive, noise, flat)
    assert statuses(outcomes) == {"taken": 2}
    assert outcomes[0].path == noise  # known at once, while the other waits
    with (archive.settings.objects / archive.catalog.get_series(outcomes[0].series).pack.key).open(
        "rb"
    ) as file:
        content = file.read()
    assert len(read_directory(lambda start, stop: content[start:stop], len(content))) == 1
    assert_stored(archive, outcomes)
    archive.close()


def test_nothing_is_acknowledged_before_the_commit(archive, pictures):
    for outcome in archive.ingest.run([pictures], collection="c"):
        assert archive.catalog.get_series(outcome.series)
        assert archive.catalog.series()[1] == 12


def test_a_run_that_is_given_up_leaves_nothing_unacknowledged(tmp_path, pictures):
    archive = sharing(tmp_path, pack_series=5)
    run = archive.ingest.run([pictures], collection="c")
    first = next(run)
    run.close()
    assert first.status is Status.TAKEN
    assert archive.catalog.series()[1] == 5
    assert list(archive.settings.scratch.iterdir()) == []
    assert statuses(take(archive, pictures)) == {"known": 5, "taken": 7}
    archive.close()


@pytest.mark.parametrize("moment", ["put", "size", "add_together", "finish"])
def test_a_process_killed_in_the_commit_loses_nothing_acknowledged(tmp_path, pictures, moment):
    """Killed in the second commit of three: the first is there, the rest is taken again."""
    script = """
        import os, sys
        from pathlib import Path
        from imarium.archive import Archive
        from imarium.ingest.open_pack import OpenPack
        from imarium.settings import Settings, Sharing

        home, pictures, moment = sys.argv[1:]
        archive = Archive(Settings(home=Path(home), threads=1, sharing=Sharing(pack_series=4)))
        store = archive.ingest._storing._store
        owner = {"add_together": archive.catalog, "finish": OpenPack}.get(moment, store)
        real, calls = getattr(owner, moment), []

        def fatal(*arguments):
            calls.append(1)
            if len(calls) == 2:
                os._exit(9)
            return real(*arguments)

        setattr(owner, moment, fatal)
        for outcome in archive.ingest.run([Path(pictures)], collection="c"):
            print(outcome.path.name, flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), tmp_path / "home", pictures, moment]
    killed = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ)
    assert killed.returncode == 9, killed.stderr
    assert killed.stdout.split() == [f"{number:02d}.png" for number in range(4)]
    archive = Archive(Settings(home=tmp_path / "home", threads=1))
    assert archive.catalog.series()[1] == 4
    outcomes = take(archive, pictures)
    assert statuses(outcomes) == {"known": 4, "taken": 8}
    assert [outcome.error for outcome in archive.streaming.verify()] == [None] * 12
    archive.close()


def test_duplicates_within_a_run_are_found(archive, pictures):
    for name in ("03", "05"):
        (pictures / f"{name}.z.png").write_bytes((pictures / f"{name}.png").read_bytes())
    outcomes = {outcome.path.name: outcome for outcome in take(archive, pictures)}
    assert statuses(outcomes.values()) == {"taken": 12, "known": 2}
    for name in ("03", "05"):
        assert outcomes[f"{name}.z.png"].status is Status.KNOWN
        assert outcomes[f"{name}.z.png"].series == outcomes[f"{name}.png"].series
    assert archive.catalog.series()[1] == 12
    assert_stored(archive, outcomes.values())


def test_slices_of_a_series_in_the_open_pack_find_it(archive, phantom, tmp_path):
    """One SOP Instance UID with other pixels, in two files of one run: both are kept, with a note."""
    original = sorted((phantom / "dicom").iterdir())[3]
    dataset = pydicom.dcmread(original)
    pixels = dataset.pixel_array.copy()
    pixels[0, 0] += 1
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(tmp_path / "changed.dcm")
    outcomes = take(archive, original, tmp_path / "changed.dcm")
    assert statuses(outcomes) == {"taken": 2}
    assert len({outcome.series for outcome in outcomes}) == 2
    notes = [note for record in archive.catalog.series()[0] for note in record.series.notes]
    assert sum("Other pixels" in note for note in notes) == 1
    assert_stored(archive, outcomes)


def test_a_bad_file_harms_no_other(archive, pictures, monkeypatch):
    """It breaks while it is encoded, when others wait in the open pack already."""
    bad = pictures / "05.png"
    bad.write_bytes(bad.read_bytes()[:-700])
    encode = storing.encode_frames
    failures = iter([None, MemoryError(), None, IntegrityError("does not decode")])

    def some_fail(frames, *arguments, **options):
        if error := next(failures, None):
            raise error
        return encode(frames, *arguments, **options)

    monkeypatch.setattr(storing, "encode_frames", some_fail)
    outcomes = {outcome.path.name: outcome for outcome in take(archive, pictures)}
    refused = {name for name, outcome in outcomes.items() if outcome.status is Status.REFUSED}
    assert refused == {"01.png", "03.png", "05.png"}
    assert len(objects(archive)) == 1
    assert_stored(archive, outcomes.values())


def test_a_pack_that_cannot_be_written_costs_one_series(archive, pictures, monkeypatch):
    """The disk is full for the fifth; what waits is stored, and the others go on."""
    write, calls = OpenPack.write, []

    def fifth_fails(self, *arguments):
        calls.append(1)
        if len(calls) == 5:
            raise StorageError("the pack could not be written: make room and try again")
        return write(self, *arguments)

    monkeypatch.setattr(OpenPack, "write", fifth_fails)
    outcomes = take(archive, pictures)
    assert statuses(outcomes) == {"taken": 12}  # there was room for it alone
    assert len(objects(archive)) == 3
    assert_stored(archive, outcomes)


def test_a_commit_that_fails_refuses_what_was_in_it_and_no_more(tmp_path, pictures, monkeypatch):
    archive = sharing(tmp_path, pack_series=5)
    add, calls = archive.catalog.add_together, []

    def second_fails(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise StorageError("the catalog went away")
        add(*arguments)

    monkeypatch.setattr(archive.catalog, "add_together", second_fails)
    outcomes = take(archive, pictures)
    assert statuses(outcomes) == {"taken": 7, "refused": 5}
    assert {outcome.reason for outcome in outcomes if outcome.reason} == {"the catalog went away"}
    assert archive.catalog.series()[1] == 7
    assert_stored(archive, outcomes)
    monkeypatch.undo()
    assert statuses(take(archive, pictures)) == {"known": 7, "taken": 5}
    archive.close()


def test_a_lost_race_costs_nothing(tmp_path, pictures, monkeypatch):
    """Another process stores two of the series between our look and our commit."""
    archive, other = sharing(tmp_path), Archive(Settings(home=tmp_path / "home", threads=1))
    add = archive.catalog.add_together
    theirs = [pictures / "04.png", pictures / "09.png"]

    def late(*arguments):
        monkeypatch.undo()
        assert statuses(take(other, *theirs)) == {"taken": 2}
        add(*arguments)

    monkeypatch.setattr(archive.catalog, "add_together", late)
    outcomes = take(archive, pictures)
    assert statuses(outcomes) == {"taken": 10, "known": 2}
    assert {outcome.path for outcome in outcomes if outcome.status is Status.KNOWN} == set(theirs)
    assert archive.catalog.series()[1] == 12
    assert len(archive.catalog.packs()) == 2
    assert_stored(archive, outcomes)
    other.close()
    archive.close()


def test_slices_that_lose_a_race_join_the_series_that_won(tmp_path, phantom, monkeypatch):
    files = sorted((phantom / "dicom").iterdir())
    archive, other = sharing(tmp_path), Archive(Settings(home=tmp_path / "home", threads=1))
    add = archive.catalog.add_together

    def late(*arguments):
        monkeypatch.undo()
        assert statuses(take(other, *files[:5])) == {"taken": 5}
        add(*arguments)

    monkeypatch.setattr(archive.catalog, "add_together", late)
    assert statuses(take(archive, *files[5:])) == {"taken": 7}
    (record,) = archive.catalog.series()[0]
    assert record.series.frames == 12
    assert [outcome.error for outcome in archive.streaming.verify()] == [None]
    other.close()
    archive.close()


def test_races_that_never_end_are_told(archive, pictures, monkeypatch):
    def always(*_):
        raise ConcurrentWriteError("another process stored the same content at the same time")

    monkeypatch.setattr(archive.catalog, "add_together", always)
    outcomes = take(archive, pictures / "00.png", pictures / "01.png")
    assert statuses(outcomes) == {"refused": 2}


def test_a_series_in_a_shared_pack_grows(archive, phantom, tmp_path):
    """Then its pack still serves the others; it goes when the last has left."""
    files = sorted((phantom / "dicom").iterdir())
    second = tmp_path / "second"
    second.mkdir()
    uid = generate_uid()
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.SeriesInstanceUID = uid
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.save_as(second / file.name)
    others = sorted(second.iterdir())
    take(archive, *files[:4], *others[:4])
    (shared,) = archive.catalog.packs()
    assert statuses(take(archive, *files[4:])) == {"taken": 8}
    assert shared in archive.catalog.packs()
    assert sorted(record.series.frames for record in archive.catalog.series()[0]) == [4, 12]
    assert [outcome.error for outcome in archive.streaming.verify()] == [None, None]
    assert statuses(take(archive, *others[4:])) == {"taken": 8}
    assert shared not in archive.catalog.packs()
    assert [record.series.frames for record in archive.catalog.series()[0]] == [12, 12]
    assert [outcome.error for outcome in archive.streaming.verify()] == [None, None]


def test_sources_are_not_kept_while_their_series_wait(archive, pictures, monkeypatch):
    read, alive = PngReader.read, []

    def watched(self, paths, context):
        for found in read(self, paths, context):
            reference = weakref.ref(found.read_frames)
            alive.append(reference)
            yield found

    monkeypatch.setattr(PngReader, "read", watched)
    counts = []
    commit = archive.ingest._storing.commit

    def counted(run):
        gc.collect()
        counts.append(sum(reference() is not None for reference in alive))
        commit(run)

    monkeypatch.setattr(archive.ingest._storing, "commit", counted)
    assert statuses(take(archive, pictures)) == {"taken": 12}
    assert len(alive) == 12
    assert max(counts) <= 1


def test_collections_of_one_home_share_no_pack(archive, pictures):
    """A pack belongs to one run, and a run to one collection."""
    names = sorted(pictures.iterdir())
    list(archive.ingest.run(names[:6], collection="a"))
    list(archive.ingest.run(names[6:], collection="b"))
    assert len(archive.catalog.packs()) == 2
    assert {record.name: record.series for record in archive.catalog.collections()} == {"a": 6, "b": 6}


def test_threads_that_share_an_archive_share_no_open_pack(tmp_path, pictures):
    archive = Archive(replace(Settings(home=tmp_path / "home", threads=1), sharing=Sharing(pack_series=3)))
    names = sorted(pictures.iterdir())
    runs = [archive.ingest.run(names[first::2], collection="c") for first in range(2)]
    outcomes = [outcome for pair in zip(*runs, strict=True) for outcome in pair]
    assert statuses(outcomes) == {"taken": 12}
    assert len(objects(archive)) == 4
    assert_stored(archive, outcomes)
    archive.close()
