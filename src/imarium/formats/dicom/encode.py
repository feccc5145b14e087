"""Writes datasets as explicit VR little endian (PS3.5 A.2), keeping values that pydicom cannot parse."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO, DicomFileLike
from pydicom.filewriter import correct_ambiguous_vr_element, write_dataset, write_file_meta_info
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID
from pydicom.valuerep import VR

PIXEL_DATA = 0x7FE00010
_KNOWN = frozenset(str(vr) for vr in VR)
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


def encode_meta(meta: Dataset, syntax: UID) -> bytes:
    """Preamble and file meta information with the given transfer syntax."""
    copy = FileMetaDataset()
    for element in _elements(meta):
        if element.tag.group == 2 and element.tag.element != 0:
            copy.add(element)
    copy.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    sound = bool(copy.get("MediaStorageSOPClassUID")) and bool(copy.get("MediaStorageSOPInstanceUID"))
    write_file_meta_info(DicomFileLike(buffer), copy, enforce_standard=sound)
    return bytes(128) + b"DICM" + buffer.getvalue()


def encode_dataset(dataset: Dataset, *, little_endian: bool) -> tuple[bytes, bytes]:
    """The elements before and after Pixel Data, encoded; `little_endian` is the source's byte order.

    Values keep their bytes where the source is explicit VR little endian already. An element that cannot be
    converted is written as UN with the bytes it had.
    """
    _replace_unknown(dataset)
    if not little_endian:
        _swap_words(dataset)
    before, after = dataset[:PIXEL_DATA], dataset[PIXEL_DATA + 1 :]
    return _encode(before, dataset), _encode(after, dataset)


def _encode(part: Dataset, whole: Dataset) -> bytes:
    charset = whole.get("SpecificCharacterSet") or "iso8859"
    raw = {tag: part.get_item(tag) for tag in part.keys()}  # noqa: SIM118 - a Dataset iterates over elements
    try:
        return _written(part, charset)
    except Exception:
        return b"".join(_alone(tag, raw[tag], whole, charset) for tag in sorted(raw))


def _alone(
    tag: BaseTag, element: DataElement | RawDataElement, whole: Dataset, charset: str | list[str]
) -> bytes:
    """One element; as UN with the bytes it had if it cannot be converted."""
    if tag.group == 0xFFFE:
        return b""  # a stray delimiter
    single = Dataset()
    single[tag] = element
    single.set_original_encoding(*whole.original_encoding)
    try:
        # The whole dataset decides between US and SS (Pixel Representation).
        if single.original_encoding != (False, True):
            single[tag] = correct_ambiguous_vr_element(single[tag], whole, True)
        return _written(single, charset)
    except Exception:
        value = element.value if isinstance(element.value, bytes) else b""
        value += bytes(len(value) % 2)
        place = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
        return place + b"UN\0\0" + len(value).to_bytes(4, "little") + value


def _written(part: Dataset, charset: str | list[str]) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, part, charset)
    return buffer.getvalue()


def _replace_unknown(dataset: Dataset) -> None:
    """Give UN to elements whose VR DICOM does not know."""
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag, keep_deferred=True)
        if isinstance(element, RawDataElement) and element.VR is not None and element.VR not in _KNOWN:
            dataset[tag] = element._replace(VR="UN", value=element.value or b"")


def _swap_words(dataset: Dataset) -> None:
    """pydicom writes OW, OF, ... as they are: bring big-endian words into little-endian order."""
    for element in _elements(dataset):
        if element.VR == "SQ" and isinstance(element.value, Sequence):
            for item in element.value:
                _swap_words(item)
        elif element.VR in _WORDS and isinstance(element.value, bytes):
            size = _WORDS[element.VR]
            whole = len(element.value) // size * size
            words = np.frombuffer(element.value[:whole], f">u{size}")
            element.value = words.astype(f"<u{size}").tobytes() + element.value[whole:]


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    for tag in list(dataset.keys()):
        try:
            yield dataset[tag]
        except Exception:  # noqa: S112 - an element that cannot be parsed is kept as it is
            continue


def pixel_element_head(keyword: str, bits_allocated: int, length: int) -> bytes:
    """Tag, VR and length of a native pixel data element."""
    tag, vr = {
        "FloatPixelData": (0x7FE00008, b"OF"),
        "DoubleFloatPixelData": (0x7FE00009, b"OD"),
        "PixelData": (PIXEL_DATA, b"OB" if bits_allocated <= 8 else b"OW"),
    }[keyword]
    parts = ((tag >> 16).to_bytes(2, "little"), (tag & 0xFFFF).to_bytes(2, "little"), vr, bytes(2))
    return b"".join(parts) + length.to_bytes(4, "little")
