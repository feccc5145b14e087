"""Taking files in: what is taken, known and refused, and what the archive looks like afterwards."""

import gzip
import os
import shutil
import stat
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import nibabel
import numpy as np
import pydicom
import pytest
from blake3 import blake3
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from imarium.archive import Archive
from imarium.errors import StorageError
from imarium.formats.dicom import reader as dicom_reader
from imarium.ingest import Status, Summary, storing
from imarium.pack import PackWriter
from imarium.settings import Settings, Sharing
from imarium.store import ObjectStore


def take(archive, *paths, collection="c"):
    return list(archive.ingest.run(list(paths), collection=collection))


def statuses(outcomes):
    return Counter(str(outcome.status) for outcome in outcomes)


def assert_clean(archive):
    """Everything stored verifies, and nothing half-written lies about."""
    assert [outcome for outcome in archive.streaming.verify() if outcome.error] == []
    assert [item for item in archive.settings.scratch.iterdir() if item.name != "uploads"] == []
    objects = {
        str(path.relative_to(archive.settings.objects)) for path in archive.settings.objects.rglob("*.imp*")
    }
    assert objects >= {pack.key for pack in archive.catalog.packs()}
    assert all(name.endswith(".imp") for name in objects)


def test_a_mixed_folder_under_any_names(archive, phantom, nifti, tmp_path):
    source = tmp_path / "in"
    (source / "deep" / "deeper").mkdir(parents=True)
    for number, file in enumerate(sorted((phantom / "dicom").iterdir())):
        shutil.copy(file, source / "deep" / f"{number}.jpg")
    shutil.copy(phantom / "phantom.nii.gz", source / "deep" / "deeper" / "text.txt")
    shutil.copy(nifti, source / "noname")
    (source / "readme.dcm").write_text("not DICOM at all, only text\n" * 50)
    outcomes = take(archive, source)
    assert statuses(outcomes) == {"taken": 14, "refused": 1}
    (refused,) = [outcome for outcome in outcomes if outcome.status is Status.REFUSED]
    assert refused.path.name == "readme.dcm"
    assert "DICOM" in refused.reason
    assert archive.catalog.series()[1] == 3
    summary = Summary.of(outcomes)
    assert summary.source_bytes == sum(
        p.stat().st_size for p in source.rglob("*") if p.is_file() and p.suffix != ".dcm"
    )
    assert 0 < summary.stored_bytes < summary.source_bytes * 1.2
    assert_clean(archive)


def test_a_second_time_everything_is_known(archive, phantom):
    first = take(archive, phantom)
    again = take(archive, phantom)
    assert statuses(first) == {"taken": 13}
    assert statuses(again) == {"known": 13}
    assert {outcome.series for outcome in again} == {outcome.series for outcome in first}
    assert len(archive.catalog.packs()) == 1  # shared by both series


def test_the_same_volume_compressed_or_not_is_one_series(archive, nifti, tmp_path):
    plain = tmp_path / "plain.nii"
    plain.write_bytes(gzip.decompress(nifti.read_bytes()))
    first, second = take(archive, nifti, plain)
    assert (first.status, second.status) == (Status.TAKEN, Status.KNOWN)
    assert first.series == second.series


def test_slices_that_come_later_join_their_series(archive, phantom):
    files = sorted((phantom / "dicom").iterdir())
    order = files[::2] + files[1::2]
    first = take(archive, *order[:4])
    second = take(archive, *order[4:9])
    third = take(archive, *order)
    assert statuses(first + second) == {"taken": 9}
    assert statuses(third) == {"known": 9, "taken": 3}
    records, total = archive.catalog.series()
    assert total == 1
    assert records[0].series.shape == (12, 96, 96)
    assert records[0].source_bytes == sum(file.stat().st_size for file in files)
    datasets = sorted((pydicom.dcmread(f) for f in files), key=lambda ds: ds.ImagePositionPatient[2])
    expected = np.stack([ds.pixel_array for ds in datasets])
    volume = np.asarray(archive.streaming.volume(records[0].series.uid))
    assert (volume == expected).all() or (volume == expected[::-1]).all()
    assert_clean(archive)


def test_other_pixels_under_a_known_instance_are_kept_apart(archive, phantom, tmp_path):
    original = sorted((phantom / "dicom").iterdir())[3]
    dataset = pydicom.dcmread(original)
    pixels = dataset.pixel_array.copy()
    pixels[0, 0] += 1
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(tmp_path / "changed.dcm")
    (first,) = take(archive, original)
    (second,) = take(archive, tmp_path / "changed.dcm")
    assert first.status is second.status is Status.TAKEN
    assert first.series != second.series
    assert np.asarray(archive.streaming.volume(first.series))[0, 0, 0] + 1 == pixels[0, 0]
    assert np.asarray(archive.streaming.volume(second.series))[0, 0, 0] == pixels[0, 0]
    assert any("Other pixels" in note for note in archive.catalog.get_series(second.series).series.notes)
    (third,) = take(archive, tmp_path / "changed.dcm")
    assert (third.status, third.series) == (Status.KNOWN, second.series)


def test_the_same_pixels_under_a_known_instance_are_known(archive, phantom, tmp_path):
    original = sorted((phantom / "dicom").iterdir())[3]
    dataset = pydicom.dcmread(original)
    dataset.InstitutionName = "Elsewhere"
    dataset.save_as(tmp_path / "copy.dcm")
    outcomes = take(archive, original) + take(archive, tmp_path / "copy.dcm")
    assert [outcome.status for outcome in outcomes] == [Status.TAKEN, Status.KNOWN]
    assert outcomes[0].series == outcomes[1].series


def test_one_broken_slice_does_not_take_its_series_along(archive, phantom, tmp_path):
    source = tmp_path / "in"
    shutil.copytree(phantom / "dicom", source)
    broken = sorted(source.iterdir())[5]
    broken.write_bytes(broken.read_bytes()[:-500])
    outcomes = take(archive, source)
    assert statuses(outcomes) == {"taken": 11, "refused": 1}
    assert [outcome.path for outcome in outcomes if outcome.status is Status.REFUSED] == [broken]
    assert_clean(archive)


def test_bad_files_get_their_reasons(archive, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    (source / "empty.dcm").write_bytes(b"")
    (source / "text.dcm").write_text("hello")
    (source / "magic.dcm").write_bytes(bytes(128) + b"DICM" + os.urandom(300))
    (source / "loop").symlink_to(source)
    (source / "dangling").symlink_to(source / "nowhere")
    os.mkfifo(source / "pipe")
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    nibabel.save(image, source / "short.nii")
    (source / "short.nii").write_bytes((source / "short.nii").read_bytes()[:-20])
    outcomes = {outcome.path.name: outcome for outcome in take(archive, source, tmp_path / "missing")}
    assert all(outcome.status is Status.REFUSED for outcome in outcomes.values())
    assert len(outcomes) == 8
    for name, words in {
        "empty.dcm": "empty",
        "loop": "loop",
        "dangling": "does not exist",
        "missing": "does not exist",
        "pipe": "neither a file nor a folder",
    }.items():
        assert words in outcomes[name].reason
    assert archive.catalog.series()[1] == 0
    assert_clean(archive)


def test_a_file_that_disappears_while_it_is_read(archive, phantom, tmp_path, monkeypatch):
    source = tmp_path / "in"
    shutil.copytree(phantom / "dicom", source)
    victim = sorted(source.iterdir())[2]
    encoded = storing.encode_frames

    def vanish(*arguments, **options):
        victim.unlink(missing_ok=True)  # after all headers were read, before any frame
        return encoded(*arguments, **options)

    monkeypatch.setattr(storing, "encode_frames", vanish)
    outcomes = take(archive, source)
    assert statuses(outcomes) == {"taken": 11, "refused": 1}
    assert_clean(archive)


def test_a_crash_before_the_commit_leaves_nothing_visible(archive, phantom, monkeypatch):
    def crash(*_):
        raise StorageError("the catalog went away")

    monkeypatch.setattr(archive.catalog, "add_together", crash)
    outcomes = take(archive, phantom / "phantom.nii.gz")
    assert statuses(outcomes) == {"refused": 1}
    assert archive.catalog.series()[1] == 0
    monkeypatch.undo()
    assert statuses(take(archive, phantom / "phantom.nii.gz")) == {"taken": 1}
    assert_clean(archive)


def test_a_full_disk_while_packing(archive, phantom, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PackWriter, "_add", full)
    outcomes = take(archive, phantom / "phantom.nii.gz")
    assert statuses(outcomes) == {"refused": 1}
    assert "make room" in outcomes[0].reason
    monkeypatch.undo()
    assert_clean(archive)


def test_two_processes_store_the_same(archive, nifti, monkeypatch):
    """The other process commits between our look and our commit."""
    stacks = archive.catalog.stacks
    calls = []

    def late(uid):
        calls.append(uid)
        if len(calls) == 1:
            monkeypatch.undo()
            assert statuses(take(archive, nifti)) == {"taken": 1}
            return []
        return stacks(uid)

    monkeypatch.setattr(archive.catalog, "stacks", late)
    assert statuses(take(archive, nifti)) == {"known": 1}
    assert archive.catalog.series()[1] == 1


def test_unwritable_home_is_said_clearly(tmp_path, nifti):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="choose another with --home"):
        Archive(Settings(home=tmp_path / "file" / "home"))


def test_nothing_that_names_a_person_reaches_lists(archive, tmp_path, phantom):
    dataset = pydicom.dcmread(sorted((phantom / "dicom").iterdir())[0])
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Roe^Jane", "MRN-4711", "19501231"
    dataset.SeriesInstanceUID = generate_uid()
    dataset.save_as(tmp_path / "roe.dcm")
    (outcome,) = take(archive, tmp_path / "roe.dcm")
    record = archive.catalog.get_series(outcome.series)
    assert record.subject.startswith("S-")
    for secret in ("Roe", "Jane", "MRN-4711", "19501231"):  # 4711 alone may occur in a digest
        assert secret not in repr(record)
        assert secret not in repr(archive.catalog.studies(None, 0, 10))
        assert secret.encode() not in (archive.settings.home / "catalog.sqlite").read_bytes()


def test_a_slice_that_breaks_after_its_header_was_read_does_not_take_its_series_along(
    archive, phantom, tmp_path, monkeypatch
):
    """The pixels of one file are overwritten between the look at it and the reading of its frame."""
    source = tmp_path / "in"
    shutil.copytree(phantom / "dicom", source)
    victim = sorted(source.iterdir())[4]
    read = dicom_reader.DicomReader.read

    def change_then_read(self, paths, context):
        paths = list(paths)
        for found in read(self, paths, context):
            if victim in paths and victim.stat().st_size > 1000:
                victim.write_bytes(victim.read_bytes()[:1000])
            yield found

    monkeypatch.setattr(dicom_reader.DicomReader, "read", change_then_read)
    outcomes = take(archive, source)
    assert statuses(outcomes) == {"taken": 11, "refused": 1}
    assert [outcome.path for outcome in outcomes if outcome.status is Status.REFUSED] == [victim]
    assert_clean(archive)


def test_parts_of_one_series_at_the_same_time_all_arrive(phantom, tmp_path):
    """Three archives over one home, as processes would have, each with a third of the slices."""
    files = sorted((phantom / "dicom").iterdir())
    archives = [Archive(Settings(home=tmp_path / "home", threads=1)) for _ in range(3)]
    take(archives[0], files[0])
    together = threading.Barrier(3)

    def ingest(number):
        together.wait()
        return take(archives[number], *files[1 + number :: 3])

    with ThreadPoolExecutor(3) as pool:
        outcomes = [outcome for part in pool.map(ingest, range(3)) for outcome in part]
    assert {outcome.status for outcome in outcomes} == {Status.TAKEN}
    (record,) = archives[0].catalog.series()[0]
    assert record.series.frames == 12
    assert [outcome.error for outcome in archives[0].streaming.verify()] == [None]
    for archive in archives:
        archive.close()


def test_threads_that_make_one_collection_encode_their_series_once(tmp_path, monkeypatch):
    """Both packs are in the store before either is made known; none has to be made again."""
    archive = Archive(Settings(home=tmp_path / "home", threads=1, sharing=Sharing(series_bytes=0)))
    for name, offset in (("one", 0), ("other", 100)):
        volume = np.arange(64 * 64 * 2, dtype=np.int16).reshape(2, 64, 64).T + np.int16(offset)
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / f"{name}.nii")
    together, encoded, put, encode = threading.Barrier(2), [], ObjectStore.put, storing.encode_frames

    def put_together(store, key, source):
        put(store, key, source)
        together.wait(30)

    def counted(*arguments, **options):
        encoded.append(arguments)
        return encode(*arguments, **options)

    monkeypatch.setattr(ObjectStore, "put", put_together)
    monkeypatch.setattr(storing, "encode_frames", counted)
    with ThreadPoolExecutor(2) as pool:
        parts = pool.map(lambda name: take(archive, tmp_path / f"{name}.nii"), ("one", "other"))
        assert [statuses(part) for part in parts] == [{"taken": 1}] * 2
    assert len(encoded) == 2
    archive.close()


def test_collections_do_not_mix(archive, phantom):
    """Known content says where it is; further slices for another collection stay there."""
    files = sorted((phantom / "dicom").iterdir())
    take(archive, *files[:6], collection="a")
    known = take(archive, *files[:6], collection="b")
    assert {outcome.reason for outcome in known} == {
        "the same content was taken in before, in collection 'a'"
    }
    assert [record.name for record in archive.catalog.collections()] == ["a"]
    take(archive, *files[6:], collection="b")
    counts = {record.name: record.series for record in archive.catalog.collections()}
    assert counts == {"a": 1, "b": 1}
    assert [record.series.frames for record in archive.catalog.series()[0]] == [6, 6]


def test_many_links_and_deep_folders_end_soon(archive, nifti, tmp_path):
    web = tmp_path / "web"
    for number in range(8):
        (web / str(number)).mkdir(parents=True)
    for number in range(8):
        for other in range(8):
            (web / str(number) / f"to-{other}").symlink_to(web / str(other))
    deep = tmp_path / "deep"
    deep.mkdir()
    descriptor = os.open(deep, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=descriptor)
        descriptor, old = os.open("d", os.O_RDONLY, dir_fd=descriptor), descriptor
        os.close(old)
    os.close(descriptor)
    try:
        outcomes = take(archive, web, deep, nifti)
    finally:
        subprocess.run(["rm", "-rf", deep], check=True)  # too deep for pytest's own clean-up
    assert outcomes[-1].status is Status.TAKEN
    assert sum("loop" in outcome.reason for outcome in outcomes[:-1]) >= 8
    assert len(outcomes) < 100


def test_an_image_beyond_memory_is_refused_and_the_next_is_taken(archive, nifti, phantom, monkeypatch):
    encode = storing.encode_frames
    calls = []

    def first_fails(*arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError
        return encode(*arguments, **options)

    monkeypatch.setattr(storing, "encode_frames", first_fails)
    outcomes = take(archive, nifti, phantom / "phantom.nii.gz")
    assert [outcome.status for outcome in outcomes] == [Status.REFUSED, Status.TAKEN]
    assert "memory" in outcomes[0].reason


def test_the_home_folder_is_private(archive):
    assert stat.S_IMODE(archive.settings.home.stat().st_mode) == 0o700


def test_work_that_a_killed_process_left_is_cleaned_up(archive):
    scratch = archive.settings.scratch
    (scratch / "pack-old").mkdir(parents=True)
    (scratch / "pack-old" / "pack").write_bytes(b"half")
    (scratch / "file-old").write_bytes(b"half")
    (scratch / "pack-new").mkdir()
    for name in ("pack-old", "file-old"):
        os.utime(scratch / name, (0, 0))
    Archive(archive.settings).close()
    assert [path.name for path in scratch.iterdir()] == ["pack-new"]


def test_a_frame_of_more_bytes_than_the_limit_is_refused(archive, phantom, monkeypatch):
    limits = replace(archive.settings.limits, frame_bytes=96 * 96 * 2 - 1)
    small = Archive(replace(archive.settings, limits=limits))
    outcomes = take(small, phantom / "phantom.nii.gz")
    small.close()
    assert outcomes[0].status is Status.REFUSED
    assert "beyond the limit" in outcomes[0].reason


def test_files_are_remembered_by_the_digest_of_their_bytes(archive, phantom, tmp_path):
    """Uncompressed files of one frame are hashed while their frame is read; others on their own."""
    source = tmp_path / "in"
    shutil.copytree(phantom / "dicom", source)
    shutil.copy(get_testdata_file("rtdose.dcm"), source)  # several frames
    shutil.copy(get_testdata_file("MR_small_RLE.dcm"), source)  # compressed
    assert statuses(take(archive, source)) == {"taken": 14}
    for path in source.iterdir():
        digest = blake3(path.read_bytes()).hexdigest()
        assert list(archive.catalog.known_sources([digest])) == [digest], path.name


def test_a_file_of_the_same_instance_and_size_with_other_content_is_no_known_file(archive, phantom, tmp_path):
    first = sorted((phantom / "dicom").iterdir())[0]
    assert statuses(take(archive, first)) == {"taken": 1}
    changed = bytearray(first.read_bytes())
    changed[-1] ^= 1
    other = tmp_path / "other.dcm"
    other.write_bytes(changed)
    outcomes = take(archive, first, other)
    assert [outcome.status for outcome in sorted(outcomes, key=lambda one: one.path != first)] == [
        "known",
        "taken",
    ]
    assert archive.catalog.series()[1] == 2


def test_a_series_is_known_only_after_its_pack_is_stored(archive, phantom, monkeypatch):
    """The catalog prepares its rows meanwhile, but nothing is committed if the store fails."""
    put = ObjectStore.put

    def fails_late(self, key, source):
        time.sleep(0.2)
        raise StorageError("no space left on the device")

    settings = replace(archive.settings, sharing=Sharing(series_bytes=0))
    alone = Archive(settings)
    monkeypatch.setattr(ObjectStore, "put", fails_late)
    assert statuses(take(alone, phantom / "phantom.nii.gz")) == {"refused": 1}
    assert alone.catalog.series()[1] == 0
    monkeypatch.setattr(ObjectStore, "put", put)
    assert statuses(take(alone, phantom / "phantom.nii.gz")) == {"taken": 1}
    assert_clean(alone)
    alone.close()
