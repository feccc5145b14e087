"""Writes datasets as explicit VR little endian (PS3.5 A.2), keeping values that pydicom cannot parse."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO, DicomFileLike
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID

PIXEL_DATA = 0x7FE00010
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


def encode_meta(meta: Dataset, syntax: UID) -> bytes:
    """Preamble and file meta information with the given transfer syntax."""
    copy = FileMetaDataset()
    for element in meta:
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
        for tag in sorted(raw):
            if tag.group == 0xFFFE:
                del part[tag]  # a stray delimiter
                continue
            single = Dataset()
            single[tag] = raw[tag]
            single.set_original_encoding(*part.original_encoding)
            if "PixelRepresentation" in whole:
                single.PixelRepresentation = whole.PixelRepresentation
            try:
                _written(single, charset)
            except Exception:
                value = getattr(raw[tag], "value", None)
                part[tag] = DataElement(Tag(tag), "UN", value if isinstance(value, bytes) else b"")
        return _written(part, charset)


def _written(part: Dataset, charset: str | list[str]) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, part, charset)
    return buffer.getvalue()


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
