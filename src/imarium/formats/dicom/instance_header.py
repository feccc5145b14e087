"""The elements of an instance that is written again: the source's own, but for how its pixels are encoded."""

from __future__ import annotations

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from imarium.errors import IntegrityError
from imarium.formats.dicom import values
from imarium.formats.dicom.attachments import StoredInstance
from imarium.formats.dicom.derived import Resampling, make_derived
from imarium.formats.dicom.encode import encode_dataset, encode_meta
from imarium.formats.dicom.header import parse_part10
from imarium.model import Rendition

_DICOM = "1.2.840.10008.1.2."
_UNUSUAL = (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
_NO_PIXELS = b"\xe0\x7f\x10\0OW" + bytes(6)
"""An empty Pixel Data element, at which the parser stops."""
_OF_OLD_PIXELS = (0x7FE00000, 0x7FE00001, 0x7FE00002)
"""Group length and offset tables."""
_TRANSFER_SYNTAX = BaseTag(0x00020010)
_LONG_VRS = (b"OB", b"OW", b"UN", b"UT", b"SQ", b"UC", b"UR", b"OD", b"OF", b"OL", b"OV", b"SV", b"UV")


def instance_header(
    rendition: Rendition,
    stored: StoredInstance,
    rows: int,
    columns: int,
    syntax: UID = ExplicitVRLittleEndian,
) -> tuple[bytes, bytes]:
    """The file before and after the pixel data element, which is not in it.

    `rows` and `columns` are those of the images that are written; below full resolution the instance
    becomes a derived one. Raises IntegrityError where the kept header is missing or unsound.
    """
    try:
        kept = rendition.attachments[stored.attachment]
    except KeyError as error:
        raise IntegrityError("the kept header of an instance is missing") from error
    spliced = _spliced(kept, rendition, stored, syntax)
    if spliced is not None:
        return spliced, b""
    header = parse_part10(kept)
    dataset, meta = header.dataset, header.meta
    little = header.little_endian
    uid = values.text(dataset, "SOPInstanceUID") or stored.sop_uid
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        dataset.pop(keyword, None)
    wanted = _pixel_description(dataset, rendition, stored, compressed=syntax.is_encapsulated)
    for keyword, value in wanted.items():
        values.put(dataset, keyword, value)
    if not rendition.is_full_resolution:
        resampling = Resampling.between(rendition.source, rendition.series, rows, columns)
        uid = make_derived(dataset, resampling, stored)
    values.put(meta, "MediaStorageSOPInstanceUID", uid)
    kind = values.text(meta, "MediaStorageSOPClassUID") or values.text(dataset, "SOPClassUID")
    if kind is not None:
        values.put(meta, "MediaStorageSOPClassUID", kind)
    before, after = encode_dataset(dataset, little_endian=little)
    return encode_meta(meta, syntax) + before, after


def _spliced(kept: bytes, rendition: Rendition, stored: StoredInstance, syntax: UID) -> bytes | None:
    """The kept bytes with another transfer syntax in the file meta, where nothing else is to change.

    Only for ordinary files (see `header`), of which the dataset then stays as it is, byte for byte, in a
    fraction of the time. None for others.
    """
    if not rendition.is_full_resolution or stored.syntax in _UNUSUAL or not stored.syntax.startswith(_DICOM):
        return None
    header = parse_part10(kept + _NO_PIXELS)
    dataset = header.dataset
    elements = [element for element in header.meta.values() if isinstance(element, RawDataElement)]
    unsound = (
        header.pixel is None
        or header.pixel.start != len(kept)  # elements after the pixel data
        or len(elements) != len(header.meta)
        or any(tag in dataset for tag in _OF_OLD_PIXELS)
        or values.text(header.meta, "MediaStorageSOPInstanceUID") != values.text(dataset, "SOPInstanceUID")
        or values.text(header.meta, "MediaStorageSOPClassUID") is None
        or _pixel_description(dataset, rendition, stored, compressed=syntax.is_encapsulated)
    )
    if unsound:
        return None
    body = b"".join(_meta_element(element, syntax) for element in elements if element.tag.element)
    length = b"\2\0\0\0UL\4\0" + len(body).to_bytes(4, "little")
    return bytes(128) + b"DICM" + length + body + kept[header.body :]


def _meta_element(element: RawDataElement, syntax: UID) -> bytes:
    """An element of the file meta (explicit VR little endian, PS3.10 7.1)."""
    tag, name, value = element.tag, (element.VR or "UN").encode(), element.value or b""
    if tag == _TRANSFER_SYNTAX:
        value = syntax.encode() + bytes(len(syntax) % 2)
    place = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little") + name
    if name in _LONG_VRS:
        return place + bytes(2) + len(value).to_bytes(4, "little") + value
    return place + len(value).to_bytes(2, "little") + value


def _pixel_description(
    dataset: Dataset, rendition: Rendition, stored: StoredInstance, *, compressed: bool
) -> dict[str, object]:
    """What of the Image Pixel module must change to say how the pixels are written."""
    form, series = stored.form, rendition.series
    # Decoded JPEG has full colour resolution, whatever its codestream had.
    photometric = "YBR_FULL" if series.photometric == "YBR_FULL_422" else series.photometric
    if compressed and photometric == "RGB":
        photometric = "YBR_RCT"  # the reversible colour transform (PS3.5 8.2.4)
    wanted: dict[str, object] = {"PhotometricInterpretation": photometric}
    if series.samples > 1:
        wanted |= {"SamplesPerPixel": series.samples, "PlanarConfiguration": 0}
    if "NumberOfFrames" in dataset or form["frames"] > 1:
        wanted["NumberOfFrames"] = int(form["frames"])
    bits = int(form["bits_stored"])
    if form["keyword"] == "PixelData" and (compressed or values.integer(dataset, "BitsStored") != bits):
        wanted |= {"BitsStored": bits, "HighBit": bits - 1}
    return {
        keyword: value for keyword, value in wanted.items() if values.text(dataset, keyword) != str(value)
    }
