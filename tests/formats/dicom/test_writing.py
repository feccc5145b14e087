"""What goes in comes out: every element and every pixel at full resolution, derived instances below it."""

import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array

from imarium.errors import ExportRefusedError, IntegrityError
from imarium.formats.base import Refusal
from imarium.formats.dicom import DicomWriter
from imarium.model import Rendition
from imarium.testing.dicom_files import decoded, elements, make_dataset, write_file


def full(source):
    return Rendition(source.series, source.series, source.read_frames(), source.attachments)


def at_level(source, level):
    """Every 2**level-th pixel, with the geometry that the level has."""
    step = 1 << level
    frames = (np.ascontiguousarray(frame[::step, ::step]) for frame in source.read_frames())
    return Rendition(source.series.at_level(level), source.series, frames, source.attachments)


def assert_same(source_path, written_path):
    before, after = pydicom.dcmread(source_path, force=True), pydicom.dcmread(written_path)
    assert after.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    stated = after.file_meta.MediaStorageSOPInstanceUID
    assert after.get("SOPInstanceUID", stated) == stated
    one, other = elements(before), elements(after)
    assert one == other, {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}
    if "TransferSyntaxUID" in before.file_meta:
        try:
            raw, default = decoded(before, raw=True), decoded(before)
        except RuntimeError:
            return  # a file that only the decoder process can decode
        assert np.array_equal(raw, pixel_array(after, raw=True))
        assert np.array_equal(default, pixel_array(after))
        assert raw.dtype.newbyteorder("=") == after.pixel_array.dtype


def test_every_file_that_pydicom_ships(pydicom_files, read, tmp_path):
    count = 0
    for path in pydicom_files:
        if path.suffix not in (".dcm", "") or "README" in path.name:
            continue
        (source,) = read(path)
        if isinstance(source, Refusal):
            continue
        (written,) = DicomWriter().write(full(source), tmp_path / "out.dcm")
        assert_same(path, written)
        written.unlink()
        count += 1
    assert count >= 60


@pytest.mark.parametrize(
    "folder", ["mr-siemens-mosaic", "mr-enhanced", "seg-sr-dcmqi", "seg-sm-highdicom", "us-multiframe", "rt"]
)
def test_shared_files(shared_data, read, tmp_path, folder):
    sources = [
        item
        for path in sorted((shared_data / folder).rglob("*"))
        if path.is_file() and (path.suffix == ".dcm" or path.name.startswith("MR."))
        for item in read(path)
        if not isinstance(item, Refusal)
    ]
    assert sources
    for source in sources:
        (written,) = DicomWriter().write(full(source), tmp_path / "out.dcm")
        assert_same(source.files[0].path, written)


def test_series_becomes_a_folder(shared_data, read, tmp_path):
    paths = sorted((shared_data / "mr-nih-ge-siemens/20180918GE/mr_0004").glob("*.dcm"))[:60]
    (source,) = read(*paths)
    written = DicomWriter().write(full(source), tmp_path / "series")
    assert [path.name for path in written] == [f"{number:05d}.dcm" for number in range(1, 61)]
    for file, path in zip(source.files, written, strict=True):
        assert_same(file.path, path)
    (again,) = read(*written)
    assert again.series == source.series


def test_kept_header_is_the_source_byte_for_byte(shared_data, read):
    path = shared_data / "mr-siemens-mosaic/cor/corint36"
    for source in read(path):
        for file, (name, kept) in zip(source.files, sorted(source.attachments.items())[1:], strict=True):
            data = file.path.read_bytes()
            at = data.rindex(b"\xe0\x7f\x10\x00")
            assert name.startswith("dicom/instances/")
            assert kept == data[:at] + data[at + 12 + 384 * 384 * 2 :]


def test_elements_after_the_pixels_are_kept(tmp_path, read):
    dataset = make_dataset(np.zeros((4, 4), np.int16))
    dataset.DataSetTrailingPadding = b"\1\2\3\4"
    path = write_file(tmp_path / "a", dataset)
    (source,) = read(path)
    (written,) = DicomWriter().write(full(source), tmp_path / "b.dcm")
    assert_same(path, written)
    assert pydicom.dcmread(written).DataSetTrailingPadding == b"\1\2\3\4"


@pytest.mark.parametrize("shape", [(2, 3, 5), (3, 8, 8)])
def test_bits(tmp_path, read, shape):
    """1-bit frames, with and without whole bytes a frame."""
    bits = np.random.default_rng(3).integers(0, 2, shape).astype(np.uint8)
    dataset = make_dataset(
        bits, NumberOfFrames=shape[0], BitsAllocated=1, BitsStored=1, HighBit=0, Modality="SEG"
    )
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    dataset.PixelData = packed + bytes(len(packed) % 2)
    path = write_file(tmp_path / "a", dataset)
    (source,) = read(path)
    assert np.array_equal(np.stack(list(source.read_frames())), bits)
    (written,) = DicomWriter().write(full(source), tmp_path / "b.dcm")
    assert_same(path, written)


def test_text_in_any_character_set_is_kept(pydicom_files, tmp_path, read):
    for path in pydicom_files:
        if path.name.startswith("chr"):
            dataset = pydicom.dcmread(path)
            dataset.update(
                {
                    element.tag: element
                    for element in make_dataset(np.zeros((2, 2), np.uint8))
                    if element.tag.group in (0x28, 0x7FE0, 0x20)
                }
            )
            copy = tmp_path / path.name
            dataset.save_as(copy, implicit_vr=False, little_endian=True)
            (source,) = read(copy)
            (written,) = DicomWriter().write(full(source), tmp_path / "b.dcm")
            assert_same(copy, written)
            assert pydicom.dcmread(written).get("PatientName") == pydicom.dcmread(copy).get("PatientName")


@pytest.mark.parametrize("level", [1, 2, 3])
def test_lower_resolution(tmp_path, read, level):
    for number in (1, 2):
        dataset = make_dataset(np.full((13, 18), number, np.int16), number, ImageType=["ORIGINAL", "PRIMARY"])
        dataset.add_new(0x60000010, "US", 13)
        write_file(tmp_path / "in" / str(number), dataset)
    (source,) = read(tmp_path / "in")
    rendition = at_level(source, level)
    written = DicomWriter().write(rendition, tmp_path / "low")
    (again,) = read(*written)
    assert again.series.frame_shape == rendition.series.frame_shape
    assert np.allclose(again.series.affine, rendition.series.affine, atol=1e-6)
    factor = 2**level
    for number, path in enumerate(written, 1):
        dataset = pydicom.dcmread(path)
        original = pydicom.dcmread(tmp_path / "in" / str(number))
        assert dataset.ImageType == ["DERIVED", "PRIMARY"]
        assert dataset.PixelSpacing == [0.5 * factor, 0.75 * factor]
        assert dataset.ImagePositionPatient[0] == pytest.approx((factor - 1) / 2 * 0.75)
        assert dataset.ImagePositionPatient[1] == pytest.approx((factor - 1) / 2 * 0.5)
        assert dataset.SourceImageSequence[0].ReferencedSOPInstanceUID == original.SOPInstanceUID
        assert dataset.SOPInstanceUID.startswith("2.25.")
        assert dataset.SeriesInstanceUID.startswith("2.25.")
        assert dataset.StudyInstanceUID == original.StudyInstanceUID
        assert "DerivationDescription" in dataset
        assert 0x60000010 not in dataset
    twice = DicomWriter().write(at_level(source, level), tmp_path / "again")
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in twice]


@pytest.mark.parametrize("folder", ["mr-siemens-mosaic/cor/corint36", "mr-enhanced/Philips"])
def test_lower_resolution_of_mosaics_and_multiframes(shared_data, read, tmp_path, folder):
    (source,) = read(shared_data / folder)
    for level in (1, 2):
        rendition = at_level(source, level)
        expected = [frame[:: 1 << level, :: 1 << level] for frame in source.read_frames()]
        written = DicomWriter().write(rendition, tmp_path / f"low{level}")
        (again,) = read(*written)
        assert again.series.dimensions == source.series.dimensions
        assert np.allclose(again.series.affine, rendition.series.affine, atol=1e-4)
        assert all(np.array_equal(a, b) for a, b in zip(again.read_frames(), expected, strict=True))


def test_at_any_size(tmp_path, read):
    (source,) = read(write_file(tmp_path / "a", make_dataset(np.zeros((12, 20), np.int16))))
    series = source.series.at_size(9, 7)
    rendition = Rendition(series, source.series, [np.zeros((9, 7), np.int16)], source.attachments)
    (written,) = DicomWriter().write(rendition, tmp_path / "b.dcm")
    (again,) = read(written)
    assert np.allclose(again.series.affine, series.affine)


def test_destinations(tmp_path, read):
    (source,) = read(write_file(tmp_path / "a", make_dataset(np.zeros((4, 4), np.int16))))
    (tmp_path / "folder").mkdir()
    assert DicomWriter().write(full(source), tmp_path / "new" / "x") == [tmp_path / "new" / "x"]
    assert DicomWriter().write(full(source), tmp_path / "folder") == [tmp_path / "folder" / "00001.dcm"]


def test_refusals_leave_no_files(tmp_path, read):
    (source,) = read(write_file(tmp_path / "a", make_dataset(np.zeros((4, 4), np.int16))))
    other = replace(source.series, format="nifti")
    with pytest.raises(ExportRefusedError, match="nifti"):
        DicomWriter().write(Rendition(other, other, source.read_frames(), {}), tmp_path / "b")
    with pytest.raises(IntegrityError):
        DicomWriter().write(Rendition(source.series, source.series, [], source.attachments), tmp_path / "b")
    wrong = [np.zeros((4, 5), np.int16)]
    with pytest.raises(IntegrityError):
        DicomWriter().write(
            Rendition(source.series, source.series, wrong, source.attachments), tmp_path / "b"
        )
    broken = dict(source.attachments)
    broken["dicom/instances/00000.dcm"] = broken["dicom/instances/00000.dcm"][:200]
    with pytest.raises(IntegrityError):
        DicomWriter().write(
            Rendition(source.series, source.series, source.read_frames(), broken), tmp_path / "b"
        )
    assert not (tmp_path / "b").exists()


def test_written_file_is_valid_without_our_reader(tmp_path, read):
    (source,) = read(write_file(tmp_path / "a", make_dataset(np.ones((3, 3, 3), np.uint8))))
    (written,) = DicomWriter().write(full(source), tmp_path / "b.dcm")
    dataset = pydicom.dcmread(io.BytesIO(written.read_bytes()))
    assert dataset.pixel_array.shape == (3, 3, 3)
    assert len(dataset.PixelData) == 28
