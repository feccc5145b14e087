"""Levels, sizes, exports, thumbnails and verification of what is stored."""

import gzip

import nibabel
import numpy as np
import pydicom
import pytest
import zarr
from PIL import Image

from imarium.errors import ExportRefusedError, InvalidRequestError, LevelError, NotFoundError, StorageError
from imarium.streaming import parse_window


@pytest.fixture
def stored(archive, phantom):
    outcomes = [  # two runs: two packs
        outcome
        for path in sorted(phantom.iterdir())
        for outcome in archive.ingest.run([path], collection="c")
    ]
    by_format = {
        archive.catalog.get_series(uid).series.format: uid for uid in {outcome.series for outcome in outcomes}
    }
    return archive.streaming, by_format


def test_every_level_of_a_ct(stored):
    streaming, uids = stored
    full = streaming.volume(uids["dicom"])
    assert full.shape == (12, 96, 96)
    for level in (1, 2):
        low = streaming.volume(uids["dicom"], level)
        assert low.shape == (12, 96 >> level, 96 >> level)
        assert low.spacing[1] == pytest.approx(full.spacing[1] * 2**level)
        assert low.spacing[0] == pytest.approx(full.spacing[0])
        centre = full.affine @ [(2**level - 1) / 2, (2**level - 1) / 2, 0, 1]
        np.testing.assert_allclose(low.affine[:, 3], centre)
        assert full.min() <= low.min()
        assert low.max() <= full.max()
    with pytest.raises(LevelError):
        streaming.volume(uids["dicom"], 3)
    with pytest.raises(NotFoundError):
        streaming.volume("1.2.3.4.5")


def test_dicom_and_nifti_of_the_phantom_hold_the_same_hounsfield_units(stored):
    streaming, uids = stored
    dicom, nifti = streaming.volume(uids["dicom"]), streaming.volume(uids["nifti"])
    ours = np.linalg.inv(nifti.affine) @ dicom.affine  # dicom voxel to nifti voxel
    k, j, i = np.meshgrid(*(np.arange(n) for n in dicom.shape), indexing="ij")
    place = np.rint(ours @ np.stack([i.ravel(), j.ravel(), k.ravel(), np.ones(i.size)])).astype(int)
    np.testing.assert_array_equal(dicom.rescaled().ravel(), nifti.rescaled()[place[2], place[1], place[0]])


@pytest.mark.parametrize(
    ("format_name", "name"),
    [("npy", "x.npy"), ("nifti", "x.nii"), ("nifti", "x.nii.gz"), ("dicom", "x"), ("png", "x")],
)
@pytest.mark.parametrize("resolution", [{}, {"level": 1}, {"size": "40"}, {"size": "24x30"}])
def test_exports_of_dicom(stored, tmp_path, format_name, name, resolution):
    streaming, uids = stored
    files = streaming.export(uids["dicom"], format_name, tmp_path / "out" / name, **resolution)
    rows, columns = {"": (96, 96), "1": (48, 48), "40": (40, 40), "24x30": (24, 30)}[
        str(next(iter(resolution.values()), ""))
    ]
    rendition = streaming.rendition(uids["dicom"], **resolution)
    expected = np.stack(list(rendition.frames))
    assert expected.shape == (12, rows, columns)
    if format_name == "npy":
        np.testing.assert_array_equal(np.load(files[0]), expected)
    elif format_name == "nifti":
        image = nibabel.load(files[0])
        data = np.asanyarray(image.dataobj.get_unscaled())
        np.testing.assert_array_equal(data, expected[:, ::-1].T)
        assert image.header.get_zooms()[:2] == pytest.approx(rendition.series.spacing[:0:-1])
        # The corner voxel lies at the same place by either road.
        place = image.affine @ [0, rows - 1, 0, 1]
        np.testing.assert_allclose(place, np.asarray(rendition.series.affine)[:, 3], atol=1e-3)
    elif format_name == "dicom":
        datasets = [pydicom.dcmread(file) for file in files]
        assert len({ds.SOPInstanceUID for ds in datasets}) == 12
        back = {tuple(ds.ImagePositionPatient): ds.pixel_array for ds in datasets}
        assert len(back) == 12
        assert sorted(a.tobytes() for a in back.values()) == sorted(a.tobytes() for a in expected)
    else:
        pictures = [np.asarray(Image.open(file)) for file in files]
        assert len(pictures) == 12
        assert all(picture.shape == (rows, columns) and picture.dtype == np.uint8 for picture in pictures)
        assert np.ptp(pictures[6]) > 100


def test_a_size_comes_from_the_smallest_level_that_is_not_smaller(stored, monkeypatch):
    streaming, uids = stored
    used = []
    reader = streaming.reader
    monkeypatch.setattr(
        streaming, "reader", lambda record, level: used.append(level) or reader(record, level)
    )
    for size in ("24", "25", "48", "49", "96"):
        next(iter(streaming.rendition(uids["dicom"], size=size).frames))
    assert used == [2, 1, 1, 0, 0]


@pytest.mark.parametrize("size", ["97", "96x97", "0", "-5", "big", "12x", "1e3", "10000000"])
def test_sizes_that_make_no_sense(stored, size):
    streaming, uids = stored
    with pytest.raises(InvalidRequestError):
        streaming.rendition(uids["dicom"], size=size)
    with pytest.raises(InvalidRequestError, match="not for both"):
        streaming.rendition(uids["dicom"], size="24", level=1)


def test_the_hierarchy_of_formats(stored, archive, tmp_path):
    streaming, uids = stored
    Image.fromarray(np.arange(1600, dtype=np.uint8).reshape(40, 40)).save(tmp_path / "x.png")
    (png,) = archive.ingest.run([tmp_path / "x.png"], collection="c")
    with pytest.raises(ExportRefusedError, match=r"(?i)dicom"):
        streaming.export(uids["nifti"], "dicom", tmp_path / "no")
    for format_name in ("dicom", "nifti"):
        with pytest.raises(ExportRefusedError):
            streaming.export(png.series, format_name, tmp_path / "no")
    assert not (tmp_path / "no").exists()
    (back,) = streaming.export(png.series, "png", tmp_path / "back.png")
    np.testing.assert_array_equal(np.asarray(Image.open(back)), np.asarray(Image.open(tmp_path / "x.png")))


def test_a_nifti_goes_out_as_it_came(stored, phantom, tmp_path):
    streaming, uids = stored
    (file,) = streaming.export(uids["nifti"], "nifti", tmp_path / "x.nii")
    assert file.read_bytes() == gzip.decompress((phantom / "phantom.nii.gz").read_bytes())


@pytest.mark.parametrize("source", ["dicom", "nifti"])
@pytest.mark.parametrize(("resolution", "levels"), [({}, [0, 1, 2]), ({"level": 1}, [1, 2])])
def test_ome_zarr_has_every_stored_level(stored, tmp_path, source, resolution, levels):
    streaming, uids = stored
    (path,) = streaming.export(uids[source], "ome-zarr", tmp_path / "x.ome.zarr", **resolution)
    group = zarr.open_group(path, mode="r")
    (multiscale,) = group.attrs["ome"]["multiscales"]
    assert [item["path"] for item in multiscale["datasets"]] == [str(n) for n in range(len(levels))]
    spacing = streaming.volume(uids[source]).spacing
    for dataset, level in zip(multiscale["datasets"], levels, strict=True):
        volume = streaming.volume(uids[source], level)
        np.testing.assert_array_equal(group[dataset["path"]][:], volume)
        scale, translation = (list(item.values())[1] for item in dataset["coordinateTransformations"])
        np.testing.assert_allclose(scale, volume.spacing)
        np.testing.assert_allclose(translation[1:], np.multiply(spacing[1:], (2**level - 1) / 2))


@pytest.mark.parametrize("format_name", ["dicom", "nifti", "png", "npy", "ome-zarr"])
def test_a_place_that_cannot_be_written(stored, tmp_path, format_name):
    streaming, uids = stored
    (tmp_path / "file").write_bytes(b"mine")
    name = {"nifti": "x.nii", "npy": "x.npy", "ome-zarr": "x.ome.zarr"}.get(format_name, "x")
    with pytest.raises(StorageError, match="written"):
        streaming.export(uids["dicom"], format_name, tmp_path / "file" / name)
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_verify_finds_a_flipped_byte_and_a_lost_pack(stored, archive):
    streaming, _ = stored
    assert [outcome.error for outcome in streaming.verify()] == [None, None]
    first, second = (archive.settings.objects / pack.key for pack in archive.catalog.packs())
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    second.unlink()
    errors = [outcome.error for outcome in streaming.verify()]
    assert "does not match its checksum" in errors[0]
    assert "no such object" in errors[1]


def test_verify_reads_a_shared_pack_once_and_tells_its_series_apart(archive, phantom, monkeypatch):
    list(archive.ingest.run([phantom], collection="c"))
    (pack,) = archive.catalog.packs()
    records = archive.catalog.series()[0]
    read_whole = []
    verify_object = archive.streaming._verify_object

    def counted(record):
        read_whole.append(record.key)
        verify_object(record)

    monkeypatch.setattr(archive.streaming, "_verify_object", counted)
    assert [outcome.error for outcome in archive.streaming.verify()] == [None, None]
    assert read_whole == [pack.key]
    path = archive.settings.objects / pack.key
    data = bytearray(path.read_bytes())
    data[archive.streaming.index(records[1]).body[0] + 5] ^= 1
    path.write_bytes(data)
    first, second = (outcome.error for outcome in archive.streaming.verify())
    assert first.startswith("its own bytes are whole, but not all of its pack")
    assert "part 0 of frame 0 does not match" in second


@pytest.mark.parametrize("position", [3, 20, -44, -20, -1])
def test_verify_looks_at_every_byte_of_a_pack(stored, archive, position):
    """Header, body, directory and footer, reserved bytes too."""
    path = archive.settings.objects / archive.catalog.packs()[0].key
    data = bytearray(path.read_bytes())
    data[position] ^= 4
    path.write_bytes(data)
    assert [outcome.error is None for outcome in archive.streaming.verify()] == [False, True]


@pytest.mark.parametrize("text", ["", "40", "40,", "a,b", "40,0", "40,-1", "nan,100", "40,400,1", "0,inf"])
def test_windows_that_make_no_sense(text):
    with pytest.raises(InvalidRequestError):
        parse_window(text)
    assert parse_window("-600, 1500") == (-600.0, 1500.0)
    assert parse_window("0.4,0.25") == (0.4, 0.25)  # of values between 0 and 1
