"""Slices that come later: stored frames stay as they are, and damage does not spread."""

import shutil
from collections import Counter

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from imarium.codec import Tier, frames
from imarium.codec.frames import Lane
from imarium.formats.dicom import reader as dicom_reader
from imarium.ingest import Status, stacks, storing
from imarium.pack import LevelReader, SeriesIndex
from imarium.testing import smooth_frames
from imarium.testing.dicom_files import make_dataset, write_file


def take(archive, *paths, **options):
    return list(archive.ingest.run(list(paths), collection="c", **options))


def statuses(outcomes):
    return Counter(str(outcome.status) for outcome in outcomes)


def stored(archive):
    """The one series: its record, its index and its frames as they are stored."""
    (record,) = archive.catalog.series()[0]
    pack = (archive.settings.objects / record.pack.key).read_bytes()
    index = SeriesIndex.from_bytes(pack[slice(*record.index_span)])
    reader = LevelReader(index, lambda start, stop: pack[start:stop], 0)
    return record, index, list(reader.encoded(range(record.series.frames)))


def assert_same_pixels(archive, files):
    """The one series is sound, and has the pixels of the files in the order of their places."""
    assert [outcome.error for outcome in archive.streaming.verify()] == [None]
    datasets = sorted((pydicom.dcmread(file) for file in files), key=lambda one: one.ImagePositionPatient[2])
    (record,) = archive.catalog.series()[0]
    volume = np.asarray(archive.streaming.volume(record.series.uid))
    np.testing.assert_array_equal(volume, np.stack([dataset.pixel_array for dataset in datasets]))


@pytest.fixture
def slices(phantom):
    return sorted((phantom / "dicom").iterdir())


@pytest.fixture
def jpegs(tmp_path):
    """Eight slices, compressed with losses, and their codestreams."""
    codestreams = [imagecodecs.jpeg8_encode(one, level=85) for one in smooth_frames(8, 64, 96, "uint8")]
    codestreams = [bytes(one) + bytes(len(one) % 2) for one in codestreams]  # as DICOM has them
    files = []
    for number, codestream in enumerate(codestreams, start=1):
        dataset = make_dataset(np.zeros((64, 96), np.uint8), number)
        dataset.PixelData = encapsulate([codestream])
        dataset["PixelData"].VR = "OB"
        files.append(write_file(tmp_path / "jpeg" / str(number), dataset, JPEGBaseline8Bit))
    return files, codestreams


def test_only_new_frames_are_encoded_and_none_decoded(archive, slices, monkeypatch):
    take(archive, *slices[::2])
    _, _, before = stored(archive)
    made, encode = [], frames.encode_frame
    monkeypatch.setattr(frames, "encode_frame", lambda *given: made.append(1) or encode(*given))
    monkeypatch.setattr(LevelReader, "_decode", None)  # would fail
    assert statuses(take(archive, *slices[1::2])) == {"taken": 6}
    monkeypatch.undo()
    assert len(made) == 6
    _, _, after = stored(archive)
    assert after[::2] == before  # lane, params, digest and bytes
    assert_same_pixels(archive, slices)


def test_codestreams_of_the_source_stay_in_any_order(archive, jpegs):
    files, codestreams = jpegs
    for number in (4, 1, 7, 0, 2, 6, 3, 5):
        assert statuses(take(archive, files[number])) == {"taken": 1}
    record, index, kept = stored(archive)
    assert record.lane.startswith("source:")
    assert index.lanes.tolist() == [Lane.SOURCE] * 8
    assert [frame.parts[0] for frame in kept] == codestreams
    assert record.source_bytes == sum(file.stat().st_size for file in files)
    assert [outcome.error for outcome in archive.streaming.verify()] == [None]


def test_frames_are_encoded_anew_where_they_would_mean_something_else(archive, slices, monkeypatch):
    """An earlier version may have stored fewer levels."""
    for module in (stacks, storing):
        monkeypatch.setattr(module, "decompositions_for", lambda *_: 1)
    take(archive, *slices[:5])
    assert stored(archive)[0].levels == 2
    monkeypatch.undo()
    take(archive, *slices[5:])
    record, index, after = stored(archive)
    assert record.levels == index.levels == 3
    assert {len(frame.parts) for frame in after} == {3}
    assert_same_pixels(archive, slices)


def test_frames_keep_the_tier_in_which_they_came(archive, slices):
    take(archive, *slices[:6])
    _, _, before = stored(archive)
    take(archive, *slices[6:], tier=Tier.ARCHIVE)
    _, index, after = stored(archive)
    assert after[:6] == before
    assert index.lanes.tolist() == [Lane.HTJ2K] * 6 + [Lane.SOURCE] * 6
    assert_same_pixels(archive, slices)


@pytest.mark.parametrize("piece", ["body", "attachments", "index"])
def test_damage_is_not_copied(archive, slices, piece):
    """The series stays what it is, and what came can be taken in once it was repaired."""
    take(archive, *slices[:6])
    record, index, _ = stored(archive)
    path = archive.settings.objects / record.pack.key
    sound = path.read_bytes()
    start, stop = record.index_span if piece == "index" else getattr(index, piece)
    broken = bytearray(sound)
    broken[(start + stop) // 2] ^= 1
    path.write_bytes(broken)
    (refused,) = take(archive, slices[8])
    assert refused.status is Status.REFUSED
    assert "stored, but damaged" in refused.reason
    assert archive.catalog.series()[0] == [record]
    assert [found.name for found in archive.settings.objects.rglob("*.imp")] == [path.name]
    assert [item for item in archive.settings.scratch.iterdir() if item.name != "uploads"] == []
    path.write_bytes(sound)
    assert statuses(take(archive, *slices[6:])) == {"taken": 6}
    assert_same_pixels(archive, slices)


def test_a_pack_that_is_gone(archive, slices):
    take(archive, *slices[:6])
    record = stored(archive)[0]
    (archive.settings.objects / record.pack.key).unlink()
    (refused,) = take(archive, slices[8])
    assert "no such object" in refused.reason
    assert archive.catalog.series()[0] == [record]


def test_a_slice_that_breaks_while_its_series_grows_is_refused_alone(archive, slices, tmp_path, monkeypatch):
    later = tmp_path / "later"
    later.mkdir()
    for file in slices[6:]:
        shutil.copy(file, later)
    victim = later / slices[8].name
    take(archive, *slices[:6])
    read = dicom_reader.DicomReader.read

    def change_then_read(self, paths, context):
        for found in read(self, paths, context):
            victim.write_bytes(victim.read_bytes()[:1000])
            yield found

    monkeypatch.setattr(dicom_reader.DicomReader, "read", change_then_read)
    outcomes = take(archive, later)
    assert statuses(outcomes) == {"taken": 5, "refused": 1}
    assert [outcome.path for outcome in outcomes if outcome.status is Status.REFUSED] == [victim]
    assert_same_pixels(archive, [file for file in slices if file.name != victim.name])
