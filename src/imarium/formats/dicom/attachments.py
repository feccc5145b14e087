"""What the pack keeps of a DICOM source beyond its pixels, and how to find things in it.

    dicom/instances/00000.dcm    an instance's dataset without its pixel data, as DICOM file bytes
    dicom/frames.json            {"version": 1,
                                  "instances": [{"sop_instance_uid", "attachment", "frames",
                                                 "transfer_syntax", "stored": {...}}],
                                  "frames": [[instance, number], ...]}

`frames` maps each frame of the pack to an instance and to a frame of that instance (or to a tile of a
mosaic), both from 0. `stored` describes the stored values: dtype, samples, photometric, bits_stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imarium.errors import IntegrityError
from imarium.formats.dicom.grouping import FrameReference
from imarium.formats.dicom.header import Header, parse_part10
from imarium.formats.dicom.instance import Instance, describe
from imarium.formats.dicom.pixels import PixelFormat

INDEX = "dicom/frames.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """An instance as frames.json knows it."""

    sop_uid: str
    attachment: str
    frames: int
    """Frames of the pack that are this instance's."""
    syntax: str
    """Transfer syntax of the source."""
    form: Mapping[str, Any]
    """Fields of PixelFormat, as of the source, with `photometric` and `bits_stored` of the stored values."""


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """The parsed frames.json."""

    instances: tuple[StoredInstance, ...]
    frames: tuple[FrameReference, ...]


def write_index(instances: Sequence[StoredInstance], frames: Sequence[FrameReference]) -> bytes:
    """frames.json as bytes."""
    data = {
        "version": _VERSION,
        "instances": [
            {
                "sop_instance_uid": item.sop_uid,
                "attachment": item.attachment,
                "frames": item.frames,
                "transfer_syntax": item.syntax,
                "stored": dict(item.form),
            }
            for item in instances
        ],
        "frames": [[frame.instance, frame.number] for frame in frames],
    }
    return json.dumps(data, separators=(",", ":")).encode()


def read_index(attachments: Mapping[str, bytes]) -> FrameIndex:
    """Parse frames.json. Raises IntegrityError where it is missing or unsound."""
    try:
        data = json.loads(attachments[INDEX])
        if data["version"] != _VERSION:
            raise IntegrityError(f"{INDEX} is of another version; this program knows {_VERSION}")
        instances = tuple(
            StoredInstance(
                item["sop_instance_uid"],
                item["attachment"],
                int(item["frames"]),
                item["transfer_syntax"],
                item["stored"],
            )
            for item in data["instances"]
        )
        frames = tuple(FrameReference(int(instance), int(number)) for instance, number in data["frames"])
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{INDEX} is missing or unsound: the source was no DICOM series") from error
    if any(not 0 <= frame.instance < len(instances) for frame in frames):
        raise IntegrityError(f"{INDEX} names an instance that is not there")
    return FrameIndex(instances, frames)


def stored_instance(instance: Instance, attachment: str, frames: int) -> StoredInstance:
    """How an instance is written down."""
    form = instance.form
    facts = {name: getattr(form, name) for name in PixelFormat.__dataclass_fields__}
    facts["photometric"] = instance.photometric
    facts["bits_stored"] = instance.bits_stored
    return StoredInstance(instance.sop_uid, attachment, frames, form.syntax, facts)


def restore_instance(stored: StoredInstance, attachments: Mapping[str, bytes]) -> tuple[Instance, Header]:
    """The instance (without file) and its parsed header."""
    try:
        header = parse_part10(attachments[stored.attachment])
        form = PixelFormat(**stored.form)
    except (KeyError, TypeError) as error:
        raise IntegrityError("the kept header of an instance is missing or unsound") from error
    instance = describe(header, form, stored.sop_uid)
    instance.photometric = form.photometric
    instance.bits_stored = form.bits_stored
    return instance, header


def attachment_name(number: int) -> str:
    """Where the header of instance `number` is kept."""
    return f"dicom/instances/{number:05d}.dcm"


def instance_frames(attachments: Mapping[str, bytes]) -> dict[str, list[int]]:
    """SOP Instance UID -> indexes of its frames in the pack, in the instance's own frame order."""
    index = read_index(attachments)
    found: dict[str, list[tuple[int, int]]] = {item.sop_uid: [] for item in index.instances}
    for position, frame in enumerate(index.frames):
        found[index.instances[frame.instance].sop_uid].append((frame.number, position))
    return {uid: [position for _, position in sorted(pairs)] for uid, pairs in found.items()}
