"""Slices of a series differ in a few elements: they are described from the slice before, which is faster.

Only elements that say where and when one slice was taken may differ, and private elements that nothing here
looks at. All other bytes of the header must be equal to those of the slice before; else the file is read
as any other. The same holds for headers that are stored.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, MutableSequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from pydicom.dataelem import DataElement, RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from imarium.formats.base import ReadContext
from imarium.formats.dicom import values
from imarium.formats.dicom.attachments import StoredInstance, restore_instance
from imarium.formats.dicom.header import Header
from imarium.formats.dicom.instance import Instance, header_opened, image_plane, read_instance

OF_A_SLICE = frozenset(
    (
        0x00020000,  # File Meta Information Group Length
        0x00020003,  # Media Storage SOP Instance UID
        0x00080012,  # Instance Creation Date
        0x00080013,  # Instance Creation Time
        0x00080018,  # SOP Instance UID
        0x00080022,  # Acquisition Date
        0x0008002A,  # Acquisition DateTime
        0x00080023,  # Content Date
        0x00080032,  # Acquisition Time
        0x00080033,  # Content Time
        0x00181150,  # Exposure Time
        0x00181151,  # X-Ray Tube Current
        0x00181152,  # Exposure
        0x00189345,  # CTDIvol
        0x00200012,  # Acquisition Number
        0x00200013,  # Instance Number
        0x00200032,  # Image Position (Patient)
        0x00201041,  # Slice Location
        0x00280106,  # Smallest Image Pixel Value
        0x00280107,  # Largest Image Pixel Value
    )
)
"""Elements of which nothing but the slice's identity and `image_plane` is taken."""

_MOSAIC_GROUPS = (0x0019, 0x0029)
"""Private groups that tell mosaics apart."""
_KEPT_BYTES = 64 << 20
"""Headers that a scanner keeps in memory, so that they need not be read again."""
_MORE_BYTES = 4096
"""What a slice's header may be longer than that of the slice before."""
_MOST_IN_VAIN = 3
"""Making examples costs as much as reading a header: so many are made that no slice is like."""
_SHORT, _LONG = struct.Struct("<H"), struct.Struct("<I")


def of_a_slice(tag: int) -> bool:
    """Whether an element may differ between slices that have everything else in common."""
    group = tag >> 16
    return tag in OF_A_SLICE or (group % 2 == 1 and group not in _MOSAIC_GROUPS)


@dataclass(frozen=True, slots=True)
class _Own:
    """An element of a slice's own, and the bytes between it and the one before."""

    before: bytes
    key: bytes
    """Tag and VR, as encoded."""
    tag: BaseTag
    vr: str
    long: bool


@dataclass(frozen=True, slots=True)
class _Example:
    """A slice that others may be like."""

    instance: Instance
    elements: dict[BaseTag, RawDataElement | DataElement]
    encoding: tuple[bool, bool]
    character_set: str | MutableSequence[str]
    own: tuple[_Own, ...]
    rest: bytes
    """What follows the last element of its own, up to the value of the pixel data or to the end."""
    length: int

    def dataset_of(self, data: bytes) -> tuple[Dataset, int] | None:
        """What a header that is alike says, and where it ends; None if `data` are another."""
        elements = dict(self.elements)
        position = 0
        for own in self.own:
            start = position + len(own.before)
            if data[position:start] != own.before or data[start : start + 6] != own.key:
                return None
            value = start + (12 if own.long else 8)
            if value > len(data):
                return None
            (length,) = (
                _LONG.unpack_from(data, start + 8) if own.long else _SHORT.unpack_from(data, start + 6)
            )
            position = value + length
            if position > len(data):
                return None
            content = data[value:position] if length else empty_value_for_VR(own.vr, raw=True)
            if own.tag.group != 2:
                elements[own.tag] = RawDataElement(
                    own.tag,
                    own.vr,
                    length,
                    content,  # type: ignore[arg-type]
                    value,
                    False,
                    True,
                )
        end = position + len(self.rest)
        if data[position:end] != self.rest:
            return None
        dataset = Dataset({**elements})
        dataset.set_original_encoding(*self.encoding, self.character_set)
        return dataset, end


class SliceScanner:
    """Scans one file after another; see `imarium.formats.dicom.instance.scan`."""

    def __init__(self, context: ReadContext) -> None:
        self._context = context
        self._room = _KEPT_BYTES
        self._example: _Example | None = None
        self._last_series = ""

    def scan(self, path: Path) -> Instance:
        """Read and check a file's header. Raises errors of imarium.errors only."""
        with header_opened(path, self._context.limits) as (raw, status):
            instance = None if self._example is None else _alike(self._example, raw, status, path)
            if instance is None:
                instance, header = read_instance(raw, status, path, self._context)
                # An example costs something: not for files of which each is of another series.
                again = instance.series_uid == self._last_series
                self._example = _file_example(raw, instance, header) if again else None
                self._last_series = instance.series_uid
            if instance.header_bytes is not None and self._room >= instance.header_bytes:
                self._room -= instance.header_bytes
                if instance.header is None:
                    raw.seek(0)
                    instance.header = raw.read(instance.header_bytes)
            else:
                instance.header = None
        return instance


class StoredSlices:
    """Restores one stored instance after another; see `imarium.formats.dicom.attachments`."""

    def __init__(self, attachments: Mapping[str, bytes]) -> None:
        self._attachments = attachments
        self._example: _Example | None = None
        self._form: Mapping[str, object] = {}
        self._in_vain = 0
        """Examples since the last that another slice was like."""

    def restore(self, stored: StoredInstance) -> Instance:
        """The instance, without file. Raises IntegrityError."""
        data = self._attachments.get(stored.attachment, b"")
        if self._example is not None and self._form == stored.form:
            found = self._example.dataset_of(data)
            if found is not None and found[1] == len(data):
                self._in_vain = 0
                before = self._example.instance
                places = (image_plane(found[0], before.places[0]),)
                return replace(before, sop_uid=stored.sop_uid, places=places)
        instance, header = restore_instance(stored, self._attachments)
        self._example = None
        if self._in_vain < _MOST_IN_VAIN:
            self._in_vain += 1
            # Of a copy, since whoever gets an instance may change it.
            self._example, self._form = _example(data, replace(instance), header), stored.form
        return instance


def _file_example(raw: BinaryIO, instance: Instance, header: Header) -> _Example | None:
    """None for an instance that is not one uncompressed slice in a plain file."""
    if instance.header_bytes is None or instance.fragments is not None:
        return None
    raw.seek(0)
    return _example(raw.read(instance.value), instance, header)


def _example(data: bytes, instance: Instance, header: Header) -> _Example | None:
    """`data` are the bytes of the header. None for an instance that is no plain slice."""
    dataset = header.dataset
    if (
        header.implicit
        or not header.little_endian
        or instance.mosaic is not None
        or instance.places != (image_plane(dataset),)
        or values.uid(dataset, "SOPInstanceUID") != instance.sop_uid
    ):
        return None
    try:
        elements = {tag: dataset.get_item(tag) for tag in dataset.keys()}  # noqa: SIM118 - a Dataset
        meta = {tag: header.meta.get_item(tag) for tag in header.meta.keys()}  # noqa: SIM118
    except NotImplementedError:
        return None  # an element without value is of no VR that pydicom knows
    own: list[_Own] = []
    position = 0
    for tag, element in {**meta, **elements}.items():
        if not of_a_slice(tag) or not isinstance(element, RawDataElement) or element.VR is None:
            continue
        # Reserved bytes and a longer length stand between a long VR and its value (PS3.5 7.1.2).
        long = element.value_tell >= 12 and data[element.value_tell - 12 :][:6] == _key(tag, element.VR)
        start = element.value_tell - (12 if long else 8)
        if start < position or data[start : start + 6] != _key(tag, element.VR):
            return None
        own.append(_Own(data[position:start], data[start : start + 6], tag, element.VR, long))
        position = element.value_tell + element.length
    return _Example(
        instance=instance,
        elements={tag: element for tag, element in elements.items() if isinstance(element, _ELEMENT)},
        encoding=(header.implicit, header.little_endian),
        character_set=dataset.original_character_set,
        own=tuple(own),
        rest=data[position:],
        length=len(data),
    )


_ELEMENT = (RawDataElement, DataElement)


def _key(tag: int, vr: str) -> bytes:
    return struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())


def _alike(example: _Example, raw: BinaryIO, status: os.stat_result, path: Path) -> Instance | None:
    """The instance in a file that differs from the example only in what a slice has of its own."""
    data = raw.read(example.length + _MORE_BYTES)
    found = example.dataset_of(data)
    before = example.instance
    if found is None or status.st_size - found[1] != before.size - before.value:
        return None
    dataset, value = found
    sop_uid = values.uid(dataset, "SOPInstanceUID")
    if sop_uid is None or before.header_bytes is None:
        return None
    header_bytes = before.header_bytes + value - before.value
    return replace(
        before,
        path=path,
        size=status.st_size,
        modified=status.st_mtime_ns,
        value=value,
        sop_uid=sop_uid,
        places=(image_plane(dataset, before.places[0]),),
        header_bytes=header_bytes,
        header=data[:header_bytes],
    )
