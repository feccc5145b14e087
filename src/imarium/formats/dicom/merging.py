"""Joining newly found instances to a series that is already stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import TypeVar

import numpy as np

from imarium.errors import InvalidRequestError
from imarium.formats.dicom.attachments import (
    INDEX,
    attachment_name,
    read_index,
    stored_instance,
    write_index,
)
from imarium.formats.dicom.frames import FrameSource, MergedFrames, Spool
from imarium.formats.dicom.geometry import parallel, same_spacing
from imarium.formats.dicom.grouping import MOSAIC_NOTE, MULTIFRAME_NOTE, make_stacks, series_of
from imarium.formats.dicom.instance import Instance
from imarium.formats.dicom.slices import StoredSlices
from imarium.model import Series, SourceSeries
from imarium.model.series import Frame

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Merged:
    """A stored series and further instances as one."""

    source: SourceSeries
    """All frames in order. `files` are those of the new instances, and so are codestreams."""
    frame: Callable[[int], Frame]
    """One frame by its number in `source`."""
    stored: tuple[int | None, ...]
    """For each frame its number in the stored series; None for those that are new."""


def compatible(stored: Series, source: Series) -> bool:
    """Whether the frames of two stacks could form one: same shape, type, orientation and pixel spacing.

    That both are of one series is for the caller to know. Multi-frame instances are stacks of their own and
    never join another.
    """
    if stored.format != "dicom" or source.format != "dicom":
        return False
    if MULTIFRAME_NOTE in (*stored.notes, *source.notes):
        return False
    same = (
        (stored.rows, stored.columns, stored.dtype, stored.samples, stored.photometric)
        == (source.rows, source.columns, source.dtype, source.samples, source.photometric)
        and stored.label_map == source.label_map
        and stored.palette == source.palette
        and (MOSAIC_NOTE in stored.notes) == (MOSAIC_NOTE in source.notes)
    )
    if not same or stored.affine is None or source.affine is None:
        return same and stored.affine is None and source.affine is None
    one, other = (np.asarray(series.affine, dtype=np.float64)[:3, :2] for series in (stored, source))
    lengths = np.linalg.norm(one, axis=0), np.linalg.norm(other, axis=0)
    directions = [(axes / length).T.ravel() for axes, length in zip((one, other), lengths, strict=True)]
    same_grid = same_spacing(tuple(lengths[0]), tuple(lengths[1]))
    return same_grid and parallel(tuple(directions[0]), tuple(directions[1]))


def merge(
    stored: Series,
    stored_attachments: Mapping[str, bytes],
    stored_frame: Callable[[int], Frame],
    source: SourceSeries,
    without: Collection[str] = (),
) -> Merged:
    """One series of all instances, in order again.

    `stored_frame(index)` gives a frame of the stored series at full resolution. `without` names instances
    of the source (SOP Instance UIDs) to leave out, such as those that are stored already. The facts of the
    result are made anew from the kept headers.

    Raises InvalidRequestError where the two cannot form one stack: they are not `compatible`, or some
    positions would be taken more often than others (a part of a further volume, or an instance in both that
    is not left out). The source is then a stack of its own.
    """
    if not compatible(stored, source.series):
        raise InvalidRequestError("the two series cannot form one stack of frames")
    dropped = frozenset(without)
    instances: list[Instance] = []
    origin: dict[int, tuple[int, str, dict[int, int]]] = {}
    for number, attachments in enumerate((stored_attachments, source.attachments)):
        index, restored = read_index(attachments), StoredSlices(attachments)
        places: list[dict[int, int]] = [{} for _ in index.instances]
        for position, frame in enumerate(index.frames):
            places[frame.instance][frame.number] = position
        for item, positions in zip(index.instances, places, strict=True):
            if number == 1 and item.sop_uid in dropped:
                continue
            instance = restored.restore(item)
            instance.series_uid, instance.study_uid = stored.uid, stored.study_uid
            instances.append(instance)
            origin[id(instance)] = (number, item.attachment, positions)
    stacks = make_stacks(instances)
    if len(stacks) != 1:
        raise InvalidRequestError("the two series do not form one stack: positions are taken unevenly")
    stack = stacks[0]
    attachments_found: dict[str, bytes] = {}
    kept = []
    for number, instance in enumerate(stack.instances):
        side, name, positions = origin[id(instance)]
        attachments_found[attachment_name(number)] = (stored_attachments, source.attachments)[side][name]
        kept.append(stored_instance(instance, attachment_name(number), len(positions)))
    attachments_found[INDEX] = write_index(kept, stack.frames)
    order = []
    for frame in stack.frames:
        side, _, positions = origin[id(stack.instances[frame.instance])]
        order.append((side, positions[frame.number]))
    frames = MergedFrames((stored_frame, _random_access(source)), tuple(order))
    merged = SourceSeries(
        series=series_of(stack),
        files=tuple(file for file in source.files if file.instance_uid not in dropped),
        read_frames=frames,
        attachments=attachments_found,
        patient_id=source.patient_id,
        codestream=_of_source(source.codestream, order),
        packed_bytes=_of_source(source.packed_bytes, order),
    )
    return Merged(merged, frames.frame, tuple(position if side == 0 else None for side, position in order))


def _of_source(
    tell: Callable[[int], T | None] | None, order: Sequence[tuple[int, int]]
) -> Callable[[int], T | None] | None:
    """What a source tells of its frames, for those of a merged series that are its own."""
    if tell is None:
        return None
    return lambda index: tell(order[index][1]) if order[index][0] == 1 else None


def _random_access(source: SourceSeries) -> Callable[[int], Frame]:
    """Frames of a source by index; spooled if the source can only iterate."""
    frames = source.read_frames
    if isinstance(frames, FrameSource | MergedFrames):
        return frames.frame
    spool = Spool(Path(gettempdir()))
    positions: list[int] = []
    series = source.series

    def frame(index: int) -> Frame:
        if not positions:
            positions.extend(spool.append(item) for item in frames())
        return spool.read(positions[index], series.frame_shape, np.dtype(series.dtype))

    return frame
