"""Files that are not DICOM: texts go, pixels stay."""

import gzip
import io
import struct
from contextlib import suppress
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from imarium.deid.files import OtherFiles
from imarium.deid.files.descriptions import cleaned_description
from imarium.deid.icc import without_texts
from imarium.deid.keys import Substitutes, subkeys
from imarium.deid.policy import PixelRules, PixelText, Policy
from imarium.errors import CorruptFileError, QuarantineError, RefusedFileError, UnsupportedFileError
from imarium.settings import Limits

WHO = b"Varnholm"
FILES = OtherFiles(Policy(), Substitutes(subkeys(b"k" * 32, "")), Limits())
GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def clean(path: Path, files: OtherFiles = FILES) -> tuple[bytes, str]:
    """(the copy, its name)."""
    result = files.clean(path, path.read_bytes()[:4096])
    assert "varnholm" not in "/".join(result.name).lower()
    assert "varnholm" not in repr(result.counts).lower()
    data = b"".join(result.pieces())
    assert WHO not in data
    assert WHO.lower() not in data.lower()
    return data, result.name[-1]


def profile() -> bytes:
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    place = made.find("sRGB".encode("utf-16-be"))
    made[place : place + 16] = "Varnholm".encode("utf-16-be")
    return bytes(made)


def test_png(tmp_path):
    text = PngInfo()
    text.add_text("Author", "Varnholm")
    text.add_itxt("Title", "Varnholm", zip=True)
    text.add(b"vaRn", b"Varnholm")
    exif = Image.Exif()
    exif[0x013B] = "Varnholm"
    path = tmp_path / "Varnholm.png"
    rgb = np.stack([GREY] * 3, axis=-1)
    Image.fromarray(rgb).save(path, pnginfo=text, exif=exif, icc_profile=profile())
    path.write_bytes(path.read_bytes() + b"Varnholm")
    data, name = clean(path)
    with Image.open(io.BytesIO(data)) as copy:
        assert (np.asarray(copy) == rgb).all()
        assert copy.info["icc_profile"]
        assert "Varnholm".encode("utf-16-be") not in copy.info["icc_profile"]
        assert not copy.getexif()
    assert name.endswith(".png")


@pytest.mark.parametrize("orientation", [0, 6])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg(tmp_path, orientation, progressive):
    exif = Image.Exif()
    exif[0x013B] = "Varnholm"
    if orientation:
        exif[0x0112] = orientation
    path = tmp_path / "Varnholm.JPG"
    rgb = np.stack([GREY] * 3, axis=-1)
    Image.fromarray(rgb).save(
        path,
        exif=exif,
        icc_profile=profile(),
        comment=b"Varnholm",
        progressive=progressive,
        xmp=b"<Varnholm/>",
    )
    source = path.read_bytes()
    iptc = b"\xff\xed" + struct.pack(">H", 2 + 20) + b"Photoshop Varnholm\0\0"
    path.write_bytes(source[:2] + iptc + source[2:] + b"Varnholm")
    data, _ = clean(path)
    with Image.open(path) as before, Image.open(io.BytesIO(data)) as copy:
        assert (np.asarray(copy) == np.asarray(before)).all()
        assert "Varnholm".encode("utf-16-be") not in copy.info["icc_profile"]
        assert dict(copy.getexif()) == ({0x0112: orientation} if orientation else {})
    scans = source[source.index(b"\xff\xda") :]
    assert data.endswith(scans), "entropy-coded bytes are the source's own"


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff(tmp_path, big, order):
    path = tmp_path / "Varnholm.tif"
    pages = np.random.default_rng(0).integers(0, 4000, (3, 64, 48), np.uint16)
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as writer:
        for page in pages:
            writer.write(
                page,
                description="Varnholm's",
                software="by Varnholm",
                datetime="2019:03:01 10:00:00",
                extratags=[(315, 2, 0, "Varnholm", True), (65000, 2, 0, "secret of Varnholm", True)],
                tile=(16, 16),
                compression="zlib",
                metadata=None,
            )
    path.write_bytes(path.read_bytes() + b"Varnholm")
    data, name = clean(path)
    assert len(data) == path.stat().st_size
    with tifffile.TiffFile(io.BytesIO(data)) as copy:
        assert (copy.asarray() == pages).all() if len(copy.series[0].shape) == 3 else len(copy.pages) == 3
        for number, page in enumerate(copy.pages):
            assert (page.asarray() == pages[number]).all()
            assert 270 not in page.tags
            assert 65000 not in page.tags
    assert b"2019" not in data
    assert name.endswith(".tif")


def test_exif_of_a_tiff(tmp_path):
    exif = TiffImagePlugin.ImageFileDirectory_v2()
    exif[36867] = "2019:03:01 Varnholm"
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[34665] = exif
    info[700] = b"<x>Varnholm</x>"
    path = tmp_path / "a.tif"
    Image.fromarray(GREY).save(path, tiffinfo=info, icc_profile=profile())
    data, _ = clean(path)
    with Image.open(io.BytesIO(data)) as copy:
        assert (np.asarray(copy) == GREY).all()


def test_a_slide_keeps_its_scale_and_loses_its_label(tmp_path):
    path = tmp_path / "Varnholm.svs"
    levels = [np.full((64, 64, 3), value, np.uint8) for value in (10, 20)]
    label = np.frombuffer(WHO * 96, np.uint8).reshape(16, 16, 3)
    lead = "Aperio Image Library v12\r\n"
    with tifffile.TiffWriter(path) as writer:
        facts = "64x64 [0,0 64x64] (32x32) JPEG|AppMag = 20|MPP = 0.499|Filename = Varnholm|User = Varnholm"
        writer.write(levels[0], description=lead + facts, tile=(32, 32), metadata=None)
        writer.write(levels[1], description=lead + "32x32 -> x", metadata=None)
        writer.write(label, description=lead + "label 16x16", subfiletype=1, metadata=None)
        writer.write(label, description=lead + "macro 16x16", subfiletype=9, metadata=None)
    data, name = clean(path)
    with tifffile.TiffFile(io.BytesIO(data)) as copy:
        assert len(copy.pages) == 2
        assert (copy.pages[0].asarray() == levels[0]).all()
        assert "MPP = 0.499" in copy.pages[0].description
        assert "AppMag = 20" in copy.pages[0].description
    assert name.endswith(".svs")


def test_ome_keeps_what_says_where_pixels_are(tmp_path):
    path = tmp_path / "a.ome.tif"
    pixels = np.arange(2 * 3 * 16 * 16, dtype=np.uint16).reshape(2, 3, 16, 16)
    tifffile.imwrite(
        path,
        pixels,
        ome=True,
        metadata={
            "axes": "TCYX",
            "PhysicalSizeX": 0.5,
            "Channel": {"Name": ["Varnholm"] * 3},
            "Description": "of Varnholm",
            "Experimenter": "Varnholm",
        },
    )
    assert WHO in path.read_bytes()
    data, _ = clean(path)
    with tifffile.TiffFile(io.BytesIO(data)) as copy:
        assert copy.is_ome
        assert copy.series[0].axes == "TCYX"
        assert (copy.asarray() == pixels).all()
        assert 'PhysicalSizeX="0.5"' in copy.ome_metadata


def test_descriptions():
    assert cleaned_description("anything of Varnholm") is None
    assert cleaned_description('{"shape": [2, 3]}') == '{"shape": [2, 3]}'
    imagej = cleaned_description("ImageJ=1.53\nimages=3\nslices=3\nInfo=Varnholm\nunit=mm\n")
    assert imagej is not None
    assert "images=3" in imagej
    assert "Varnholm" not in imagej
    bomb = '<!DOCTYPE x [<!ENTITY a "b">]><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"/>'
    assert cleaned_description(bomb) is None


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti(tmp_path, kind, suffix):
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = kind(voxels, np.diag([2.0, 2.0, 3.0, 1.0]))
    for field in ("descrip", "aux_file", "intent_name"):
        image.header[field] = "Varnholm"
    if kind is nibabel.Nifti1Image:
        image.header["db_name"] = "Varnholm"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Varnholm"))
    path = tmp_path / f"Varnholm{suffix}"
    nibabel.save(image, path)
    plain = gzip.decompress(path.read_bytes()) if suffix.endswith("gz") else path.read_bytes()
    plain += b"Varnholm"
    if suffix.endswith("gz"):
        with path.open("wb") as file, gzip.GzipFile("Varnholm.nii", "wb", fileobj=file) as packed:
            packed.write(plain)
    else:
        path.write_bytes(plain)
    data, name = clean(path)
    assert name.endswith(suffix)
    unpacked = gzip.decompress(data) if suffix.endswith("gz") else data
    assert WHO not in unpacked
    copy = kind.from_bytes(unpacked)
    assert (np.asarray(copy.dataobj) == voxels).all()
    assert (copy.affine == image.affine).all()
    assert not copy.header.extensions


def test_pairs(tmp_path):
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = nibabel.Nifti1Pair(voxels, np.eye(4))
    image.header["descrip"] = "Varnholm"
    nibabel.save(image, tmp_path / "Varnholm.hdr")
    header, header_name = clean(tmp_path / "Varnholm.hdr")
    data, data_name = clean(tmp_path / "Varnholm.img")
    assert header_name.removesuffix(".hdr") == data_name.removesuffix(".img")
    (tmp_path / "copy.hdr").write_bytes(header)
    (tmp_path / "copy.img").write_bytes(data)
    assert (np.asarray(nibabel.load(tmp_path / "copy.hdr").dataobj) == voxels).all()
    old = nibabel.AnalyzeImage(voxels, np.eye(4))
    nibabel.save(old, tmp_path / "old.hdr")
    raw = bytearray((tmp_path / "old.hdr").read_bytes())
    raw[283:293], raw[253:263] = b"Varnholm\0\0", b"Varnholm\0\0"
    (tmp_path / "old.hdr").write_bytes(bytes(raw))
    clean(tmp_path / "old.hdr")


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_text_headers(tmp_path, suffix, compressed):
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetMetaData("Comment", "Varnholm")
    image.SetMetaData("Patient_Varnholm", "12345")
    path = tmp_path / f"Varnholm{suffix}"
    SimpleITK.WriteImage(image, str(path), useCompression=compressed)
    if suffix == ".nrrd":
        path.write_bytes(path.read_bytes().replace(b"dimension: 3\n", b"# of Varnholm\ndimension: 3\n", 1))
    copies = tmp_path / "copies"
    copies.mkdir()
    for source in sorted(tmp_path.glob("Varnholm*")):
        data, name = clean(source)
        (copies / name).write_bytes(data)
    (copy,) = copies.glob(f"*{suffix}")
    read = SimpleITK.ReadImage(str(copy))
    assert (SimpleITK.GetArrayFromImage(read) == voxels).all()
    assert read.GetSpacing() == (1.0, 2.0, 3.0)


def test_npy(tmp_path):
    path = tmp_path / "Varnholm.npy"
    np.save(path, GREY)
    data, _ = clean(path)
    assert data == path.read_bytes()
    np.save(path, np.zeros(3, [("Varnholm", np.int16)]))
    with pytest.raises(UnsupportedFileError, match="more than type and shape"):
        FILES.clean(path, path.read_bytes())


def test_a_file_that_shrinks_while_it_is_read(tmp_path):
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(GREY, np.eye(4)), path)
    head = path.read_bytes()
    for size in (2, 4, 100, 347):
        path.write_bytes(head[:size])
        with pytest.raises(CorruptFileError):
            FILES.clean(path, head)


def test_what_is_of_no_known_format_is_refused(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("Dear Varnholm")
    with pytest.raises(UnsupportedFileError, match="no format that can be de-identified"):
        FILES.clean(path, path.read_bytes())


def test_pixels_that_cannot_be_searched_are_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, GREY)
    asked = OtherFiles(
        Policy(pixels=PixelRules(text=PixelText.FIND)), Substitutes(subkeys(b"k" * 32, "")), Limits()
    )
    with pytest.raises(QuarantineError, match="asks for pixels"):
        asked.clean(path, path.read_bytes())


def test_icc_profiles_that_are_none():
    assert without_texts(b"x" * 200) is None
    assert without_texts(profile()[:100]) is None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 5), st.integers(0, 10_000), st.binary(min_size=1, max_size=6), st.booleans())
def test_damaged_files_are_cleaned_or_refused(tmp_path, which, place, junk, cut):
    sources = sorted(_samples(tmp_path).iterdir())
    source = sources[which % len(sources)]
    data = bytearray(source.read_bytes())
    start = place % len(data)
    data[start : start + len(junk)] = junk
    path = tmp_path / f"damaged{source.suffix}"
    path.write_bytes(bytes(data[:start] if cut else data))
    with suppress(RefusedFileError):
        b"".join(FILES.clean(path, bytes(data[:4096])).pieces())


def _samples(folder: Path) -> Path:
    made = folder / "samples"
    if not made.is_dir():
        made.mkdir()
        Image.fromarray(GREY).save(made / "a.png", icc_profile=profile())
        Image.fromarray(GREY).save(made / "a.jpg", icc_profile=profile(), comment=b"x")
        tifffile.imwrite(made / "a.tif", np.stack([GREY] * 2), tile=(16, 16))
        nibabel.save(nibabel.Nifti1Image(GREY, np.eye(4)), made / "a.nii")
        nibabel.save(nibabel.Nifti1Image(GREY, np.eye(4)), made / "a.nii.gz")
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(GREY), str(made / "a.nrrd"))
    return made
