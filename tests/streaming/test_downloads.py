"""Exports as a stream: the same bytes as files, in order, with little memory and nothing left behind."""

import io
import json
import tracemalloc
import zipfile

import imagecodecs
import nibabel
import numpy as np
import pydicom
import pytest
import zarr

from imarium.errors import ExportRefusedError, IntegrityError, InvalidRequestError, LevelError
from imarium.formats.outgoing import OutFile, Outgoing, batched, headed, zipped
from imarium.streaming.downloads import start_download
from imarium.testing.dicom_files import make_dataset, write_file


@pytest.fixture
def stored(archive, phantom):
    outcomes = list(archive.ingest.run([phantom], collection="c"))
    return {
        archive.catalog.get_series(uid).series.format: uid for uid in {outcome.series for outcome in outcomes}
    }


@pytest.fixture
def taken(archive, tmp_path):
    """Takes DICOM datasets in as one series; returns its UID."""

    def take(*datasets):
        for number, dataset in enumerate(datasets, start=1):
            write_file(tmp_path / "in" / f"{number}.dcm", dataset)
        (uid,) = {outcome.series for outcome in archive.ingest.run([tmp_path / "in"], collection="c")}
        return uid

    return take


def _noise(shape, top=1000, seed=0):
    return np.random.default_rng(seed).integers(0, top, shape).astype(np.int16)


def _whole(download):
    content = b"".join(download.chunks)
    assert download.size in (None, len(content))
    return content


def _unzipped(content):
    with zipfile.ZipFile(io.BytesIO(content)) as files:
        assert files.testzip() is None
        assert {item.compress_type for item in files.infolist()} == {zipfile.ZIP_STORED}
        return {name: files.read(name) for name in files.namelist()}


@pytest.mark.parametrize("source", ["dicom", "nifti"])
@pytest.mark.parametrize(
    ("format_name", "options", "name"),
    [
        ("nifti", {"compress": False}, "series.nii"),
        ("nifti", {}, "series.nii.gz"),
        ("npy", {}, "series.npy"),
        ("png", {}, "series.zip"),
        ("png", {"full_range": True}, "series.zip"),
        ("dicom", {}, "series.zip"),
        ("dicom", {"transfer_syntax": "htj2k"}, "series.zip"),
        ("ome-zarr", {}, "series.ome.zarr.zip"),
    ],
)
@pytest.mark.parametrize("resolution", [{}, {"level": 1}, {"size": "40"}])
def test_the_same_as_files(archive, stored, tmp_path, source, format_name, options, name, resolution):
    if (source, format_name) == ("nifti", "dicom"):
        with pytest.raises(ExportRefusedError):
            archive.streaming.download(stored[source], format_name)
        return
    download = archive.streaming.download(stored[source], format_name, **options, **resolution)
    assert download.name == name
    content = _whole(download)
    options = {key: value for key, value in options.items() if key != "compress"}
    target = tmp_path / "out" / name.removesuffix(".zip")
    files = archive.streaming.export(stored[source], format_name, target, **options, **resolution)
    if not name.endswith(".zip"):
        assert download.size == (None if name.endswith(".gz") else len(content))
        assert content == files[0].read_bytes()
        return
    inside = _unzipped(content)
    if format_name == "ome-zarr":
        folder = files[0]
        files = [path for path in folder.rglob("*") if path.is_file()]
        names = {str(path.relative_to(folder.parent)): path.read_bytes() for path in files}
        assert inside.keys() == names.keys()
        assert all(inside[key] == value for key, value in names.items() if "/c/" in key)
    else:
        assert inside == {path.name: path.read_bytes() for path in files}
        assert list(inside) == [path.name for path in files]


def test_what_comes_can_be_read(archive, stored, tmp_path):
    volume = np.asarray(archive.streaming.volume(stored["dicom"]))
    (tmp_path / "x.nii.gz").write_bytes(_whole(archive.streaming.download(stored["dicom"], "nifti")))
    image = nibabel.load(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(image.dataobj.get_unscaled()), volume[:, ::-1].T)
    npy = _whole(archive.streaming.download(stored["dicom"], "npy"))
    np.testing.assert_array_equal(np.load(io.BytesIO(npy)), volume)
    (tmp_path / "x.zip").write_bytes(_whole(archive.streaming.download(stored["dicom"], "ome-zarr")))
    with zipfile.ZipFile(tmp_path / "x.zip") as files:
        files.extractall(tmp_path)
    np.testing.assert_array_equal(zarr.open_group(tmp_path / "series.ome.zarr", mode="r")["0"][:], volume)


@pytest.mark.parametrize("syntax", ["explicit", "htj2k"])
@pytest.mark.parametrize("backwards", [False, True])
def test_one_file_of_many_frames_has_a_known_size(archive, taken, tmp_path, syntax, backwards):
    pixels = _noise((6, 33, 35))
    dataset = make_dataset(pixels, NumberOfFrames=6)
    if backwards:  # frames that come in another order than the file has them
        dataset.NumberOfFrames = 6
        dataset.SharedFunctionalGroupsSequence = [pydicom.Dataset()]
        dataset.PerFrameFunctionalGroupsSequence = [_placed(float(-number)) for number in range(6)]
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient"):
            dataset.pop(keyword, None)
    uid = taken(dataset)
    download = archive.streaming.download(uid, "dicom", transfer_syntax=syntax)
    assert download.name == "series.dcm"
    assert download.size is not None
    (tmp_path / "x.dcm").write_bytes(_whole(download))
    (file,) = archive.streaming.export(uid, "dicom", tmp_path / "y.dcm", transfer_syntax=syntax)
    assert (tmp_path / "x.dcm").read_bytes() == file.read_bytes()
    np.testing.assert_array_equal(pydicom.dcmread(file).pixel_array, pixels)
    stored = np.asarray(archive.streaming.volume(uid))
    np.testing.assert_array_equal(stored.reshape(pixels.shape), pixels[::-1] if backwards else pixels)


def _placed(height):
    frame, position, orientation = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    position.ImagePositionPatient = [0.0, 0.0, height]
    orientation.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    frame.PlanePositionSequence, frame.PlaneOrientationSequence = [position], [orientation]
    return frame


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 9)])
def test_odd_sizes(archive, taken, shape):
    datasets = [
        make_dataset(_noise(shape, seed=number), number, ImagePositionPatient=[0.0, 0.0, float(number)])
        for number in range(1, 4)
    ]
    inside = _unzipped(_whole(archive.streaming.download(taken(*datasets), "dicom")))
    assert list(inside) == ["00001.dcm", "00002.dcm", "00003.dcm"]
    back = [pydicom.dcmread(io.BytesIO(content)) for content in inside.values()]
    for dataset, source in zip(back, datasets, strict=True):
        np.testing.assert_array_equal(dataset.pixel_array, source.pixel_array)


def test_nothing_is_left_in_the_scratch_folder(archive, stored):
    for format_name, options in (("dicom", {"transfer_syntax": "htj2k"}), ("ome-zarr", {}), ("png", {})):
        download = archive.streaming.download(stored["dicom"], format_name, **options)
        assert list(archive.settings.scratch.iterdir()) == []
        next(download.chunks)
        del download  # a client that went away
        assert list(archive.settings.scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("format_name", "options", "error"),
    [
        ("npy", {"level": 3}, LevelError),
        ("npy", {"size": "97"}, LevelError),
        ("npy", {"size": "9", "level": 1}, InvalidRequestError),
        ("npy", {"window": (1.0, 2.0)}, InvalidRequestError),
        ("nifti", {"transfer_syntax": "htj2k"}, InvalidRequestError),
        ("dicom", {"transfer_syntax": "jpeg"}, InvalidRequestError),
        ("png", {"even": True}, InvalidRequestError),
        ("png", {"full_range": True, "window": (1.0, 2.0)}, InvalidRequestError),
        ("bmp", {}, ExportRefusedError),
    ],
)
def test_what_is_refused_is_refused_before_the_first_byte(archive, stored, format_name, options, error):
    with pytest.raises(error):
        archive.streaming.download(stored["dicom"], format_name, **options)


def test_values_that_are_refused_show_before_the_first_byte(archive, taken):
    wide = make_dataset(np.arange(64 * 64, dtype=np.int32).reshape(64, 64) * 99)
    uid = taken(wide)
    with pytest.raises(ExportRefusedError, match="65536"):
        archive.streaming.download(uid, "png", full_range=True)


def test_what_is_known_late_is_in_the_comment_of_the_zip(archive, taken, monkeypatch):
    monkeypatch.setattr("imarium.formats.outgoing._BATCH_BYTES", 1)
    monkeypatch.setattr("imarium.formats.dicom.encapsulating.rewrapped", lambda *_, **__: None)
    datasets = [
        make_dataset(_noise((40, 48), seed=n), n, ImagePositionPatient=[0.0, n / 2, float(n)])
        for n in range(1, 9)
    ]
    uid = taken(*datasets)
    download = archive.streaming.download(uid, "dicom", transfer_syntax="htj2k")
    assert download.notes == ()
    with zipfile.ZipFile(io.BytesIO(_whole(download))) as files:
        (note,) = json.loads(files.comment)
    assert note.startswith("8 of 8 images were coded anew")
    tilted = archive.streaming.download(uid, "ome-zarr")
    assert tilted.notes[0].startswith("Gantry tilt")
    with zipfile.ZipFile(io.BytesIO(_whole(tilted))) as files:
        assert files.comment == b""  # nothing is said twice


def test_of_a_lone_file_all_is_known_before(archive, taken, monkeypatch):
    monkeypatch.setattr("imarium.formats.outgoing._BATCH_BYTES", 1)
    monkeypatch.setattr("imarium.formats.dicom.encapsulating.rewrapped", lambda *_, **__: None)
    uid = taken(make_dataset(_noise((3, 40, 48)), NumberOfFrames=3))
    (note,) = archive.streaming.download(uid, "dicom", transfer_syntax="htj2k").notes
    assert note.startswith("3 of 3 images were coded anew")


@pytest.mark.parametrize(
    ("format_name", "options"),
    [
        ("npy", {}),
        ("nifti", {}),
        ("nifti", {"compress": False}),
        ("png", {}),
        ("dicom", {}),
        ("dicom", {"transfer_syntax": "htj2k"}),
        ("ome-zarr", {}),
    ],
)
def test_memory_does_not_grow_with_the_series(archive, taken, format_name, options):
    frames, side = 160, 256
    datasets = [
        make_dataset(_noise((side, side), 60, n), n, ImagePositionPatient=[0.0, 0.0, float(n)])
        for n in range(frames)
    ]
    uid = taken(*datasets)
    archive.streaming.volume(uid, archive.streaming.index(archive.catalog.get_series(uid)).levels - 1)
    for chunk in archive.streaming.download(uid, format_name, **options).chunks:  # libraries load once
        del chunk
    tracemalloc.start()
    try:
        for chunk in archive.streaming.download(uid, format_name, **options).chunks:
            del chunk
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Some frames, encoded and decoded, of 20 MB in all.
    assert peak < 9 << 20


def test_single_pictures(archive, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (30, 40)).astype(np.uint8)
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(values))
    (outcome,) = archive.ingest.run([tmp_path / "x.png"], collection="c")
    download = archive.streaming.download(outcome.series, "png")
    assert download.name == "series.png"
    np.testing.assert_array_equal(imagecodecs.png_decode(_whole(download)), values)


def test_pieces_are_put_together():
    assert list(batched([])) == []
    assert b"".join(batched([b"a"] * 10)) == b"a" * 10
    large = [bytes(1 << 17)] * 5
    assert [len(piece) for piece in batched(large)] == [1 << 18, 1 << 18, 1 << 17]
    made = []

    def chunks():
        made.append(1)
        yield b"1"
        yield b"2"

    assert list(headed(b"0", chunks())) == [b"0", b"1", b"2"]
    assert list(headed(b"0", [])) == []  # what fails before its first chunk has sent nothing


def test_zips_are_whole_or_none():
    def files():
        yield OutFile("a", 3, [b"abc"])
        yield OutFile("b/c", None, [b"1", b"", b"23"])
        if broken:
            raise RuntimeError("in between")

    broken = False
    content = b"".join(zipped(files(), lambda: b"note"))
    with zipfile.ZipFile(io.BytesIO(content)) as made:
        assert made.testzip() is None
        assert {name: made.read(name) for name in made.namelist()} == {"a": b"abc", "b/c": b"123"}
        assert made.comment == b"note"
    with zipfile.ZipFile(io.BytesIO(b"".join(zipped(files(), lambda: bytes(70000))))) as made:
        assert made.comment == b""
    broken, sent = True, []

    def take():
        for chunk in zipped(files(), lambda: b""):
            sent.append(chunk)

    with pytest.raises(RuntimeError, match="in between"):
        take()
    assert not zipfile.is_zipfile(io.BytesIO(b"".join(sent)))


def test_no_files_are_damage():
    with pytest.raises(IntegrityError):
        start_download(Outgoing(None, iter([])), [])
