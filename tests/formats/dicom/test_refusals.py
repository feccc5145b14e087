"""Bad files are refused with a reason, one at a time, and nothing else is ever raised."""

import io
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imarium.errors import CorruptFileError, ImariumError, LimitExceededError, UnsupportedFileError
from imarium.formats.base import ReadContext, Refusal
from imarium.formats.dicom import DicomReader, DicomWriter
from imarium.model import Rendition
from imarium.settings import Limits
from imarium.testing.dicom_files import make_dataset, write_file

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
PIXELS = np.arange(48, dtype=np.int16).reshape(6, 8)


def refusal(read, path) -> ImariumError:
    (result,) = read(path)
    assert isinstance(result, Refusal)
    assert result.path == path
    text = str(result.error)
    for secret in ("Nobody", "0815", "19010203", str(path), "1.2.826.0.1.3680043.10.9999"):
        assert secret not in text
    return result.error


def test_empty_file(tmp_path, read):
    path = tmp_path / "empty"
    path.touch()
    assert str(refusal(read, path)) == "the file is empty"


def test_missing_file(tmp_path, read):
    assert isinstance(refusal(read, tmp_path / "none"), CorruptFileError)


def test_folder_in_place_of_a_file(tmp_path, context):
    (result,) = DicomReader().read([tmp_path], context)
    assert isinstance(result.error, CorruptFileError)


def test_file_that_vanishes_or_changes(tmp_path, context, read):
    path = write_file(tmp_path / "a", make_dataset(PIXELS))
    (source,) = read(path)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(CorruptFileError, match="changed"):
        list(source.read_frames())
    path.unlink()
    with pytest.raises(CorruptFileError, match="could not be read"):
        list(source.read_frames())
    one = write_file(tmp_path / "one", make_dataset(PIXELS, 1))
    two = write_file(tmp_path / "two", make_dataset(PIXELS, 2))

    def paths():
        yield one
        one.unlink()  # after its header was read, before its turn
        yield two

    gone, kept = DicomReader().read(paths(), context)
    assert isinstance(gone, Refusal)
    assert kept.series.frames == 1


def test_recognition():
    reader = DicomReader()
    for name in ("ExplVR_LitEndNoMeta.dcm", "ExplVR_BigEndNoMeta.dcm", "CT_small.dcm"):
        assert reader.recognises(Path("x.txt"), (FOLDER / name).read_bytes()[:4096]), name
    # pydicom's no_meta.dcm starts in the middle of a tag, and pydicom itself finds nothing in it.
    assert not reader.recognises(Path("x.dcm"), (FOLDER / "no_meta.dcm").read_bytes()[:4096])
    garbage = np.random.default_rng(0).bytes(4096)
    for head in (b"", b"text that was called .dcm\n" * 99, garbage, b"\x08\x00" + garbage, b"\x08\x00" * 9):
        assert not reader.recognises(Path("x.dcm"), head)
    assert reader.recognises(Path("x"), bytes(128) + b"DICM" + garbage)


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"])
@pytest.mark.parametrize("keep_meta", [True, False])
def test_files_without_preamble(tmp_path, read, name, keep_meta):
    """Files that start with their file meta, or with the dataset itself, read the same."""
    whole = FOLDER / name
    dataset = pydicom.dcmread(whole, stop_before_pixels=True)
    start = 132 if keep_meta else 132 + 12 + dataset.file_meta.FileMetaInformationGroupLength
    path = tmp_path / "bare"
    path.write_bytes(whole.read_bytes()[start:])
    assert DicomReader().recognises(path, path.read_bytes()[:4096])
    (bare,), (source,) = read(path), read(whole)
    assert bare.series == source.series
    assert np.array_equal(next(bare.read_frames()), next(source.read_frames()))
    kept = pydicom.dcmread(io.BytesIO(bare.attachments["dicom/instances/00000.dcm"]))
    assert kept.file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID
    assert kept.PatientName == dataset.PatientName


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("MR_truncated.dcm", CorruptFileError, "expected 8192 bytes, found 8130"),
        ("rtplan.dcm", UnsupportedFileError, "no pixel data (RT Plan Storage)"),
        ("rtplan_truncated.dcm", CorruptFileError, "cut off inside its header"),
        ("badVR.dcm", CorruptFileError, "Number of Frames"),
        ("meta_missing_tsyntax.dcm", CorruptFileError, "Bits Allocated is missing"),
        ("dicomdirtests/DICOMDIR", UnsupportedFileError, "DICOMDIR"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", CorruptFileError, "cannot be decoded"),
    ],
)
def test_files_of_pydicom(read, name, kind, words):
    error = refusal(read, FOLDER / name)
    assert isinstance(error, kind)
    assert words in str(error)


def test_shared_truncated(shared_data, read):
    error = refusal(read, shared_data / "mammo-and-oddities" / "GH1376.dcm")
    assert "expected 9287460 bytes, found 1340" in str(error)


@pytest.mark.parametrize(
    ("elements", "kind", "words"),
    [
        ({"BitsAllocated": None}, CorruptFileError, "Bits Allocated is missing"),
        ({"BitsAllocated": 12}, CorruptFileError, "Bits Allocated is 12"),
        ({"BitsAllocated": 24, "BitsStored": 24}, UnsupportedFileError, "24-bit"),
        ({"BitsStored": 17}, CorruptFileError, "Bits Stored is 17"),
        ({"Rows": None}, CorruptFileError, "Rows is missing"),
        ({"Rows": 0}, CorruptFileError, "Rows is 0"),
        ({"Columns": 9}, CorruptFileError, "expected 108 bytes, found 96"),
        ({"PixelRepresentation": 2}, CorruptFileError, "Pixel Representation is 2"),
        ({"SamplesPerPixel": 2}, CorruptFileError, "Samples per Pixel is 2"),
        ({"SamplesPerPixel": 3}, CorruptFileError, "Planar Configuration"),
        ({"PhotometricInterpretation": None}, CorruptFileError, "Photometric Interpretation is missing"),
        ({"PhotometricInterpretation": "PINK"}, UnsupportedFileError, "Photometric Interpretation"),
        ({"NumberOfFrames": 2}, CorruptFileError, "expected 192 bytes, found 96"),
        ({"NumberOfFrames": -1}, CorruptFileError, "Number of Frames"),
        ({"NumberOfFrames": 2000000000}, LimitExceededError, "frames are beyond the limit"),
        ({"Rows": 65535, "Columns": 65535}, LimitExceededError, "65535 x 65535"),
        ({"PixelData": None}, UnsupportedFileError, "no pixel data"),
    ],
)
def test_bad_elements(tmp_path, read, elements, kind, words):
    error = refusal(read, write_file(tmp_path / "a", make_dataset(PIXELS, **elements)))
    assert isinstance(error, kind)
    assert words in str(error)


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        (b"1.2.3.4\0", "the transfer syntax 1.2.3.4 is not known"),
        (b"Nobody^Known", "the transfer syntax is no UID"),
        (b"\x1b[2J1.2 ", "the transfer syntax is no UID"),
        (b"1.2.3\n1.2 ", "the transfer syntax is no UID"),
        (b"1" * 66, "the transfer syntax is no UID"),
    ],
)
def test_unknown_transfer_syntax(tmp_path, read, stated, words):
    path = write_file(tmp_path / "a", make_dataset(PIXELS))
    data = path.read_bytes()
    syntax = b"1.2.840.10008.1.2.1\0"
    at = data.index(b"\x02\x00\x10\x00UI") + 6
    length = int.from_bytes(data[132 + 8 : 132 + 12], "little") + len(stated) - len(syntax)
    new = len(stated).to_bytes(2, "little") + stated
    data = data[:140] + length.to_bytes(4, "little") + data[144:at] + new + data[at + 2 + len(syntax) :]
    path.write_bytes(data)
    error = refusal(read, path)
    assert isinstance(error, UnsupportedFileError)
    assert str(error) == words


def test_header_beyond_the_limit(tmp_path):
    dataset = make_dataset(PIXELS)
    dataset.add_new(0x00091001, "OB", bytes(200_000))
    path = write_file(tmp_path / "a", dataset)
    context = ReadContext(replace(Limits(), header_bytes=100_000), tmp_path)
    (result,) = DicomReader().read([path], context)
    assert isinstance(result.error, LimitExceededError)


def test_header_that_claims_gigabytes(tmp_path, read):
    path = write_file(tmp_path / "a", make_dataset(PIXELS))
    data = path.read_bytes()
    at = data.index(b"\x08\x00\x16\x00")
    path.write_bytes(data[:at] + b"\x08\x00\x15\x00UN\0\0\xf0\xff\xff\xff" + data[at:])
    assert "cut off inside its header" in str(refusal(read, path))


def test_nested_sequences_without_end(tmp_path, read):
    path = write_file(tmp_path / "a", make_dataset(PIXELS))
    data = path.read_bytes()
    at = data.index(b"\x08\x00\x16\x00")
    nest = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 20_000
    path.write_bytes(data[:at] + nest + data[at:])
    assert isinstance(refusal(read, path), CorruptFileError)


def test_deflate_bomb(tmp_path):
    buffer = io.BytesIO((FOLDER / "image_dfl.dcm").read_bytes())
    meta_length = pydicom.dcmread(buffer, stop_before_pixels=True).file_meta.FileMetaInformationGroupLength
    head = buffer.getvalue()[: 132 + 12 + meta_length]
    dataset = zlib.decompress(buffer.getvalue()[len(head) :], -zlib.MAX_WBITS)
    for tail, prefix in (
        (bytes(64 << 20), b""),
        (b"", b"\x08\x00\x01\x00UN\0\0\xf0\xff\xff\x7f" + bytes(64 << 20)),
    ):
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        path = tmp_path / "bomb"
        path.write_bytes(head + packer.compress(prefix + dataset + tail) + packer.flush())
        context = ReadContext(replace(Limits(), header_bytes=1 << 20), tmp_path)
        (result,) = DicomReader().read([path], context)
        assert isinstance(result.error, LimitExceededError)


SMALL = [
    FOLDER / name
    for name in (
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "SC_rgb_small_odd.dcm",
        "rtdose_1frame.dcm",
        "image_dfl.dcm",
    )
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_files_raise_nothing_else(tmp_path, context, data):
    original = bytearray(data.draw(st.sampled_from(SMALL)).read_bytes())
    header = min(len(original), 2600)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, header - 1))
        original[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del original[data.draw(st.integers(0, len(original) - 1)) :]
    path = tmp_path / "mutated"
    path.write_bytes(original)
    for result in DicomReader().read([path], context):
        if isinstance(result, Refusal):
            assert isinstance(result.error, ImariumError)
        else:
            try:
                frames = list(result.read_frames())
                assert all(frame.shape == result.series.frame_shape for frame in frames)
                rendition = Rendition(result.series, result.series, frames, result.attachments)
                (written,) = DicomWriter().write(rendition, tmp_path / "out.dcm")
                (again,) = DicomReader().read([written], context)
                assert all(
                    np.array_equal(one, other) for one, other in zip(again.read_frames(), frames, strict=True)
                )
            except ImariumError:
                pass
