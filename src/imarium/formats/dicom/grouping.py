"""Instances of a series -> stacks of one shape, type and orientation, in order, with their facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imarium.formats.dicom.geometry import (
    Place,
    arrange,
    parallel,
    same_spacing,
    stack_affine,
    stack_notes,
)
from imarium.formats.dicom.instance import Instance
from imarium.model import Series
from imarium.model.geometry import Affine

MULTIFRAME_NOTE = "The frames are those of one multi-frame instance."
MOSAIC_NOTE = "The slices were cut from Siemens mosaics, one instance a volume."
RESCALE_NOTE = "Rescale slope and intercept differ between frames; frame_rescale has those of each frame."
_UNPLACED_NOTE = "The frames do not form a grid in space; they are in the instance's own order."


@dataclass(frozen=True, slots=True)
class FrameReference:
    """One frame of a stack: which instance, and which of its frames (or tiles), from 0."""

    instance: int
    number: int


@dataclass(frozen=True, slots=True)
class Stack:
    """Frames that form one series of the model."""

    instances: tuple[Instance, ...]
    frames: tuple[FrameReference, ...]
    dimensions: tuple[int, ...]
    affine: Affine | None
    notes: tuple[str, ...]


def make_stacks(instances: Sequence[Instance]) -> list[Stack]:
    """Stacks of the instances of one series."""
    stacks: list[Stack] = []
    clusters: list[list[Instance]] = []
    for instance in instances:
        if instance.multiframe:
            stacks.append(_multiframe(instance))
            continue
        for cluster in clusters:
            if _belongs(cluster[0], instance):
                cluster.append(instance)
                break
        else:
            clusters.append([instance])
    for cluster in clusters:
        stacks.extend(_single_frames(cluster))
    return stacks


def _belongs(one: Instance, other: Instance) -> bool:
    """Whether two instances may be in one stack."""
    here, there = one.places[0], other.places[0]
    return (
        one.occurrence == other.occurrence
        and one.shape == other.shape
        and one.form.dtype == other.form.dtype
        and one.form.samples == other.form.samples
        and one.photometric == other.photometric
        and one.facts.label_map == other.facts.label_map
        and one.facts.palette == other.facts.palette
        and (one.mosaic is None) == (other.mosaic is None)
        and len(one.places) == len(other.places)
        and here.placed == there.placed
        and (not here.placed or parallel(here.orientation, there.orientation))
        and (not here.placed or same_spacing(here.spacing, there.spacing))
    )


def _multiframe(instance: Instance) -> Stack:
    places = instance.places
    notes = [MULTIFRAME_NOTE]
    natural = list(range(len(places)))
    dimensions: tuple[int, ...] = (len(places),)
    affine: Affine | None = None
    stated = any(place.position is not None for place in places)
    if all(place.placed for place in places) and _uniform(places):
        grid = arrange(places)
        if not grid.rest:
            natural = [number for volume in grid.volumes for number in volume]
            dimensions = _dimensions(grid.volumes)
            slices = [places[number] for number in grid.volumes[0]]
            affine = stack_affine(slices)
            notes += stack_notes(slices)
        else:
            notes.append(_UNPLACED_NOTE)
    elif stated:
        notes.append(_UNPLACED_NOTE)
    frames = tuple(FrameReference(0, number) for number in natural)
    return Stack((instance,), frames, dimensions, affine, tuple(notes))


def _uniform(places: Sequence[Place]) -> bool:
    first = places[0]
    return all(
        parallel(first.orientation, place.orientation) and same_spacing(first.spacing, place.spacing)
        for place in places
    )


def _single_frames(cluster: list[Instance]) -> list[Stack]:
    if not cluster[0].places[0].placed:
        ordered = sorted(
            cluster, key=lambda item: (item.places[0].order[-1:], item.places[0].order, item.sop_uid)
        )
        frames = tuple(
            FrameReference(index, number)
            for index, item in enumerate(ordered)
            for number in range(len(item.places))
        )
        tiles = len(ordered[0].places)
        even = all(len(item.places) == tiles for item in ordered)
        dimensions = (len(ordered), tiles) if even and tiles > 1 and len(ordered) > 1 else (len(frames),)
        return [Stack(tuple(ordered), frames, dimensions, None, _mosaic_notes(ordered))]
    if cluster[0].mosaic is not None:
        return [_mosaics(cluster)]
    sources = [(item, number) for item in cluster for number in range(len(item.places))]
    places = [item.places[number] for item, number in sources]
    grid = arrange(places)
    order = [index for volume in grid.volumes for index in volume]
    used: dict[int, int] = {}
    instances: list[Instance] = []
    frames_found = []
    for index in order:
        item, number = sources[index]
        if id(item) not in used:
            used[id(item)] = len(instances)
            instances.append(item)
        frames_found.append(FrameReference(used[id(item)], number))
    slices = [places[index] for index in grid.volumes[0]]
    notes = (*_mosaic_notes(instances), *stack_notes(slices))
    first = Stack(
        tuple(instances), tuple(frames_found), _dimensions(grid.volumes), stack_affine(slices), notes
    )
    rest = [sources[index][0] for index in grid.rest]
    return [first, *(_single_frames(rest) if rest else [])]


def _mosaics(cluster: list[Instance]) -> Stack:
    """Each mosaic is a volume, even where motion correction moved it against the others."""
    ordered = sorted(cluster, key=lambda item: (item.places[0].order, item.sop_uid))
    grids = [arrange(item.places) for item in ordered]
    notes = [MOSAIC_NOTE]
    affine = None
    tiles = [list(range(len(item.places))) for item in ordered]
    if all(len(grid.volumes) == 1 and not grid.rest for grid in grids):
        tiles = [grid.volumes[0] for grid in grids]
        slices = [ordered[0].places[number] for number in tiles[0]]
        affine = stack_affine(slices)
        notes += stack_notes(slices)
        starts = [item.places[order[0]].position or () for item, order in zip(ordered, tiles, strict=True)]
        if any(not np.allclose(start, starts[0], atol=1e-2) for start in starts):
            notes.append("The volumes lie at different positions (motion?); the affine is the first one's.")
    else:
        notes.append(_UNPLACED_NOTE)
    frames = tuple(FrameReference(index, number) for index, order in enumerate(tiles) for number in order)
    return Stack(tuple(ordered), frames, _dimensions(tiles), affine, tuple(notes))


def _mosaic_notes(instances: Sequence[Instance]) -> tuple[str, ...]:
    return (MOSAIC_NOTE,) if instances[0].mosaic is not None else ()


def _dimensions(volumes: list[list[int]]) -> tuple[int, ...]:
    return (len(volumes), len(volumes[0])) if len(volumes) > 1 else (len(volumes[0]),)


def series_of(stack: Stack) -> Series:
    """The facts of a stack."""
    head = stack.instances[stack.frames[0].instance]
    facts = head.facts
    rows, columns = head.shape
    rescales = tuple(stack.instances[frame.instance].rescale_of(frame.number) for frame in stack.frames)
    differ = len(set(rescales)) > 1
    slope, intercept = rescales[0]
    notes = dict.fromkeys(stack.notes)
    notes |= dict.fromkeys(note for item in stack.instances for note in item.facts.notes)
    if differ:
        notes[RESCALE_NOTE] = None
    window = facts.window or (None, None)
    return Series(
        uid=head.series_uid,
        study_uid=head.study_uid,
        format="dicom",
        frames=len(stack.frames),
        rows=rows,
        columns=columns,
        dtype=head.form.dtype.name,
        samples=head.form.samples,
        photometric=head.photometric,
        dimensions=stack.dimensions,
        modality=facts.modality,
        body_part=facts.body_part,
        description=facts.description,
        study_description=facts.study_description,
        study_date=facts.study_date,
        affine=stack.affine,
        time_step=_time_step(stack, head),
        rescale_slope=slope,
        rescale_intercept=intercept,
        frame_rescale=rescales if differ else None,
        rescale_unit=facts.unit,
        window_center=window[0],
        window_width=window[1],
        label_map=facts.label_map,
        palette=facts.palette,
        bits_stored=head.form.bits_stored if head.form.keyword == "PixelData" else None,
        notes=tuple(notes),
    )


def _time_step(stack: Stack, head: Instance) -> float | None:
    if head.multiframe and len(stack.dimensions) == 1 and stack.affine is None:
        return head.facts.frame_seconds
    echoes = {echo for item in stack.instances for echo in item.echoes}
    if len(stack.dimensions) < 2 or len(echoes) > 1 or head.facts.label_map:
        return None
    return head.facts.frame_seconds or head.facts.repetition_seconds
