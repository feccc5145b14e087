"""Reads TIFF files: pages of one shape and type become the frames of one series."""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from imarium.errors import (
    CorruptFileError,
    ImariumError,
    LimitExceededError,
    RefusedFileError,
    UnsupportedFileError,
)
from imarium.formats._shared import opened, parts_of, reopened, study_uid_of, uid_of_digest, uid_of_part
from imarium.formats.base import OneFile, ReadContext, Refusal
from imarium.formats.tiff import metadata
from imarium.formats.tiff.decoding import PageDecoder
from imarium.formats.tiff.directories import MAGICS, Directories, Directory, Tag
from imarium.formats.tiff.layout import (
    COLORMAP,
    Layout,
    Page,
    is_contiguous,
    page_of,
    palette_of,
    total_bytes,
)
from imarium.formats.tiff.metadata import Axes, Spacing
from imarium.model import Series, SourceCodestream, SourceFile, SourceSeries
from imarium.model.geometry import Affine, as_affine, plausible
from imarium.model.series import Frame
from imarium.settings import Limits

TAGS = "tiff/tags"
"""Attachment: JSON, for each page its number and those of its tags that are text or numbers."""
PROFILE = "tiff/icc"
"""Attachment: the colour profile of the first page of the series."""

_SERIES = 64
"""Most series of one file."""
_EXPANSION = 4096
"""Most times that pixels may be larger than their file, for files of which that is a gigabyte or more."""
_TAGS_BYTES = 4 << 20
"""Most bytes of tags that are kept of a file, besides one long description."""
_NUMBERS = 1024
"""Most numbers of a tag that is kept."""
_STACKS = (33628, 33629)
"""Tags of MetaMorph stacks, whose planes have no directories."""
_TABLES = frozenset((273, 279, 324, 325, 330, 347))
_DESCRIPTION, _PROFILE = 270, 34675


@dataclass(slots=True)
class _Group:
    """Pages that become one series."""

    pages: list[Page]
    axes: Axes | None = None
    """How the frames are ordered, if anything says so; one frame after another else."""
    dimensions: tuple[int, ...] = ()
    spacing: Spacing = field(default_factory=Spacing)
    notes: list[str] = field(default_factory=list)
    role: str | None = None


class TiffReader(OneFile):
    """Reads TIFF and BigTIFF in strips or tiles: 1 to 64 bits, floats, complex, grey, RGB, RGBA, palettes.

    Values stay as stored: bits are 0 and 1, palettes are indices, white-is-zero is MONOCHROME1. JPEG in
    YCbCr becomes RGB, as in every reader. Pages with more samples than a colour has become one frame a
    sample, and so do inks (CMYK), as MONOCHROME1. No other file is ever opened, whatever OME-XML says.
    """

    name = "tiff"
    batch = False
    several = True

    def recognises(self, path: Path, head: bytes) -> bool:  # noqa: ARG002 - content alone decides
        """Whether the content starts with the header of TIFF or BigTIFF, in either byte order."""
        return head.startswith(MAGICS)

    def read(self, paths: Iterable[Path], context: ReadContext) -> Iterator[SourceSeries | Refusal]:
        """One series for each kind of page, or one refusal a file: CorruptFileError, LimitExceededError,
        UnsupportedFileError (a page that cannot be kept exactly) or RefusedFileError (cannot be opened).

        A page that is a mere preview and cannot be kept is named in the notes of the first series.
        """
        for path in paths:
            try:
                found = _read(path, context)
            except ImariumError as error:
                yield Refusal(path, error)
            else:
                yield from found


def _read(path: Path, context: ReadContext) -> list[SourceSeries]:
    with opened(path, context.limits) as (stream, facts):
        scan = _scan(stream, facts.st_size, context.limits)
        decoder = PageDecoder(stream, facts.st_size, context.limits)
        groups = _groups(scan, decoder, facts.st_size)
        lossy = [_lossy_note(group, decoder) for group in groups]
    file = SourceFile(path, facts.st_size, context.digest_of(path))
    files = parts_of(file, len(groups))
    study = study_uid_of(uid_of_digest(bytes.fromhex(file.digest)))
    result = []
    for number, group in enumerate(groups):
        notes = [note for note in (lossy[number], *group.notes) if note is not None]
        if number == 0:
            notes += scan.notes
        attachments = {TAGS: scan.tags_of(group.pages)}
        if profile := scan.profiles.get(group.pages[0].number):
            attachments[PROFILE] = profile
            notes.append("TIFF: a colour profile is in the file; values are kept as stored")
        result.append(
            SourceSeries(
                series=_series(group, uid_of_part(file.digest, number), study, notes, len(groups)),
                files=(files[number],),
                read_frames=functools.partial(_frames, path, facts, group, context.limits),
                attachments=attachments,
                codestream=functools.partial(_codestream, path, facts, group, context.limits),
                packed_bytes=functools.partial(_packed_bytes, path, facts, group, context.limits),
            )
        )
    return result


@dataclass(slots=True)
class _Scan:
    """What a first pass over the directories finds."""

    pages: list[Page] = field(default_factory=list)
    descriptions: dict[int, str] = field(default_factory=dict)
    """ImageDescription of pages, as far as they have one and it is looked into."""
    resolutions: dict[int, tuple[float | None, float | None]] = field(default_factory=dict)
    tags: dict[int, dict[str, Any]] = field(default_factory=dict)
    profiles: dict[int, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    left: int = _TAGS_BYTES

    def tags_of(self, pages: list[Page]) -> bytes:
        """The attachment for a series of these pages."""
        numbers = [page.number for page in pages if page.number in self.tags]
        kept = [{"page": number, "tags": self.tags[number]} for number in dict.fromkeys(numbers)]
        return json.dumps(kept, ensure_ascii=False).encode()


def _scan(stream: BinaryIO, size: int, limits: Limits) -> _Scan:
    directories = Directories(stream, size, limits)
    scan = _Scan()
    layouts: dict[Layout, Layout] = {}
    for directory in directories.walk():
        if any(code in directory.tags for code in _STACKS):
            raise UnsupportedFileError("MetaMorph stacks (.stk) are not read; save them as plain TIFF")
        try:
            page = page_of(directory, directories, limits)
        except RefusedFileError as error:
            if isinstance(error, CorruptFileError) or not (
                directory.depth or _is_reduced(directory, directories)
            ):
                raise
            scan.notes.append(f"page {directory.number + 1}, a preview, is left out: {error}")
            continue
        # Pages by the thousand have a few layouts between them.
        scan.pages.append(replace(page, layout=layouts.setdefault(page.layout, page.layout)))
        _keep_tags(directory, directories, scan)
    if not scan.pages:
        raise CorruptFileError("the TIFF file holds no pages")
    if len(scan.notes) > _SERIES:
        scan.notes[_SERIES:] = [f"{len(scan.notes) - _SERIES} more previews are left out"]
    return scan


def _is_reduced(directory: Directory, directories: Directories) -> bool:
    tag = directory.tags.get(254)
    return tag is not None and bool(directories.integers(tag)[:1] and directories.integers(tag)[0] & 1)


def _keep_tags(directory: Directory, directories: Directories, scan: _Scan) -> None:
    """Keep text and numbers of a directory while there is room."""
    kept: dict[str, Any] = {}
    for code, tag in sorted(directory.tags.items()):
        if code == _PROFILE and tag.size <= scan.left:
            scan.profiles[directory.number] = directories.content(tag, scan.left)
            scan.left -= tag.size
            continue
        long = code == _DESCRIPTION and directory.number == 0
        if code in _TABLES or tag.size > (metadata.DESCRIPTION_BYTES if long else scan.left):
            continue
        value = _json_value(code, tag, directories)
        if value is None:
            continue
        kept[str(code)] = value
        scan.left -= 0 if long else 2 * tag.size + 16
        if code == _DESCRIPTION and isinstance(value, str):
            scan.descriptions[directory.number] = value
    if kept:
        scan.tags[directory.number] = kept
    ratios = [_ratio(directory.tags.get(code), directories) for code in (282, 283)]
    if directory.number == 0:
        scan.resolutions[0] = ratios[0], ratios[1]


def _json_value(code: int, tag: Tag, directories: Directories) -> Any:
    """Text, a number, or a list of numbers (rationals as pairs); None for anything else."""
    if tag.kind == 2:
        return directories.content(tag, metadata.DESCRIPTION_BYTES).rstrip(b"\0").decode("utf-8", "replace")
    if tag.kind == 7 or not 1 <= tag.count <= (3 << 16 if code == COLORMAP else _NUMBERS):
        return None
    values: list[Any] = [
        value if math.isfinite(value) else repr(value) for value in directories.values(tag, 3 << 16)
    ]
    if tag.kind in (5, 10):
        values = [values[place : place + 2] for place in range(0, len(values), 2)]
    return values[0] if len(values) == 1 else values


def _ratio(tag: Tag | None, directories: Directories) -> float | None:
    if tag is None or tag.kind != 5 or tag.count < 1:
        return None
    above, below = directories.values(tag)[:2]
    return above / below if isinstance(above, int) and isinstance(below, int) and above and below else None


# Grouping


def _groups(scan: _Scan, decoder: PageDecoder, size: int) -> list[_Group]:
    description = scan.descriptions.get(0, "")
    groups = _ome_groups(scan, description) or []
    claimed = {page.number for group in groups for page in group.pages}
    rest: dict[tuple[Any, ...], _Group] = {}
    for page in scan.pages:
        if page.number not in claimed:
            rest.setdefault(_kind(page), _Group([])).pages.append(page)
    groups += rest.values()
    if len(groups) > _SERIES:
        raise LimitExceededError(
            f"the TIFF file has {len(groups)} kinds of pages; at most {_SERIES} become series"
        )
    for group in groups:
        first = group.pages[0]
        said = scan.descriptions.get(first.number, "")
        group.role = metadata.aperio_role(said)
        if group.role is None and group.axes is None:
            _apply_description(group, scan, said, decoder)
        if group.role == "label":
            group.notes.append("the label of a slide: look for names in the picture before sharing it")
    pages = [page for group in groups for page in group.pages]
    promised = total_bytes(pages)
    if promised > max(_EXPANSION * size, 1 << 30):
        raise LimitExceededError(f"{size} bytes of TIFF promise {promised} bytes of pixels")
    frames = max(len(group.pages) * group.pages[0].layout.pictures for group in groups)
    if frames > decoder.limits.frames:
        raise LimitExceededError(f"{frames} frames in one series are beyond limits.frames")
    return groups


def _kind(page: Page) -> tuple[Any, ...]:
    """What the frames of a series have in common."""
    layout = page.layout
    return (
        layout.rows,
        layout.columns,
        layout.dtype,
        layout.bits,
        layout.samples,
        layout.colour,
        layout.series_photometric,
        layout.photometric == 4,
        layout.colormap,
        layout.orientation,
        page.reduced,
        page.depth,
    )


def _ome_groups(scan: _Scan, description: str) -> list[_Group] | None:
    """The images of OME-XML, if all of it fits the pages."""
    images = metadata.ome_images(description)
    if not images:
        if "<OME" in description[:4096]:
            scan.notes.append("the OME-XML of the file cannot be read; pages are in the order of the file")
        return None
    chain = [page for page in scan.pages if page.depth == 0]
    if len(set().union(*(image.files for image in images))) > 1:
        scan.notes.append("OME-XML names several files; only the planes of this file are read")
        return None
    groups = []
    used: set[int] = set()
    for image in images:
        axes = image.axes()
        planes = None if axes is None else image.pages(axes, len(chain))
        if axes is None or planes is None or used.intersection(planes):
            break
        used.update(planes)
        pages = [chain[planes[plane]] for plane in axes.planes_in_order()]
        if len({_kind(page) for page in pages}) > 1 or (pages[0].layout.pictures > 1 and axes.channels > 1):
            break
        if pages[0].layout.pictures > 1:
            # Channels as samples of each page: frames come page by page.
            axes = None
        groups.append(_Group(pages, axes, spacing=image.spacing()))
    else:
        return groups
    scan.notes.append("OME-XML does not fit the pages; they are in the order of the file")
    return None


def _apply_description(group: _Group, scan: _Scan, said: str, decoder: PageDecoder) -> None:
    """Axes and sizes from what ImageJ, tifffile or Aperio wrote into the first page."""
    first = group.pages[0]
    layout = first.layout
    if imagej := metadata.imagej_axes(said):
        axes, spacing = imagej
        planes = axes.planes
        group.spacing = spacing(*scan.resolutions.get(first.number, (None, None)))
        _unroll(group, planes, decoder, alone=len(scan.pages) == 1)
        if layout.pictures == 1 and planes == len(group.pages):
            group.axes = axes
            group.pages = [group.pages[plane] for plane in axes.planes_in_order()]
        elif planes != len(group.pages):
            group.notes.append(
                f"ImageJ's description says {planes} images; the file holds {len(group.pages)}"
            )
    elif shape := metadata.stated_shape(said):
        tail = (layout.rows, layout.columns)
        if layout.samples > 1:
            tail = (layout.samples, *tail) if layout.planar else (*tail, layout.samples)  # type: ignore[assignment]
        if shape[-len(tail) :] == tail or (*shape, 1)[-len(tail) :] == tail:
            leading = shape[: -len(tail)]
            planes = math.prod(leading)
            _unroll(group, planes, decoder, alone=len(scan.pages) == 1)
            if planes == len(group.pages) and layout.pictures == 1:
                group.dimensions = tuple(size for size in leading if size > 1)
            elif planes > len(group.pages):
                group.notes.append(f"the description says {planes} images; the file holds {len(group.pages)}")
    elif first.number == 0:
        # Smaller pictures of a slide repeat the text of the slide itself.
        group.spacing = metadata.aperio_spacing(said)


def _unroll(group: _Group, planes: int, decoder: PageDecoder, *, alone: bool) -> None:
    """Planes that follow the only page in the file without directories of their own (ImageJ, tifffile).

    Raises CorruptFileError if more than the first plane is there, but not all of them. Descriptions are
    copied from file to file, so where nothing follows the page, nothing more was meant to.
    """
    if len(group.pages) != 1 or not 1 < planes <= decoder.limits.frames:
        return
    page = group.pages[0]
    table = page.table(decoder.directories)
    size = sum(page.layout.segment_bytes(index) for index in range(len(table)))
    start = table[0][0]
    if not is_contiguous(page.layout, table):
        return
    if start + planes * size > decoder.size:
        # What is told of the page lies before the pixels, so pixels are all that can follow them.
        behind = isinstance(page.offsets, Tag) and page.offsets.place < start
        if alone and behind and decoder.size > start + size:
            raise CorruptFileError(
                f"the TIFF file is truncated: its description promises {planes} images, "
                f"{(decoder.size - start) // size} are there"
            )
        return
    group.pages = [
        replace(
            page,
            offsets=tuple(position + number * size for position, _ in table),
            counts=tuple(page.layout.segment_bytes(index) for index in range(len(table))),
        )
        for number in range(planes)
    ]


def _lossy_note(group: _Group, decoder: PageDecoder) -> str | None:
    return next((note for page in group.pages if (note := decoder.lossy_note(page))), None)


# Series and frames


def _series(group: _Group, uid: str, study: str, notes: list[str], groups: int) -> Series:
    layout = group.pages[0].layout
    frames = len(group.pages) * layout.pictures
    dimensions = group.axes.dimensions if group.axes else group.dimensions
    if layout.pictures > 1:
        dimensions = (*(dimensions or (len(group.pages),)), layout.pictures)
        inks = "inks, which are not converted to colours," if layout.photometric == 5 else "samples"
        notes.append(f"TIFF: the {layout.samples} {inks} of a page are frames of their own")
    if math.prod(dimensions) != frames:
        dimensions = (frames,)
    if layout.orientation not in (0, 1):
        notes.append(f"TIFF orientation {layout.orientation} is not applied")
    slices = group.axes.slices if group.axes else 1
    affine = _affine(group.spacing, slices)
    if affine is not None:
        notes.append("the size of pixels is known; where they lie in a body is not")
    return Series(
        uid=uid,
        study_uid=study,
        format="tiff",
        frames=frames,
        rows=layout.rows,
        columns=layout.columns,
        dtype=layout.dtype.name,
        samples=layout.frame_samples,
        photometric=layout.series_photometric,
        dimensions=dimensions,
        description=_description(group, groups),
        affine=affine,
        time_step=group.spacing.time if group.axes and group.axes.times > 1 else None,
        label_map=layout.photometric in (3, 4) or layout.bits == 1,
        palette=palette_of(layout),
        bits_stored=layout.bits if layout.sample_format in (1, 2) else None,
        notes=tuple(dict.fromkeys(notes)),
    )


def _description(group: _Group, groups: int) -> str | None:
    """Which page it is, where a file has several series. Texts of files may hold names and stay out."""
    if groups == 1:
        return None
    first = group.pages[0]
    kind = group.role or ("reduced" if first.reduced or first.depth else None)
    return f"page {first.number + 1}" + (f", {kind}" if kind else "")


def _affine(spacing: Spacing, slices: int) -> Affine | None:
    """Pixel sizes as an affine that lies as DICOM's identity does (rows to the left, columns to the back)."""
    if spacing.column is None or spacing.row is None or (slices > 1 and spacing.slice is None):
        return None
    between = spacing.slice if slices > 1 and spacing.slice is not None else 1.0
    matrix = np.diag([-spacing.column, -spacing.row, between, 1.0])
    return as_affine(matrix) if plausible(matrix) else None


def _frames(path: Path, facts: os.stat_result, group: _Group, limits: Limits) -> Iterator[Frame]:
    with reopened(path, facts) as stream:
        decoder = PageDecoder(stream, facts.st_size, limits)
        for page in group.pages:
            values = decoder.page(page)
            if page.layout.pictures == 1:
                yield np.ascontiguousarray(values)
            else:
                for sample in range(page.layout.pictures):
                    yield np.ascontiguousarray(values[..., sample])


def _codestream(
    path: Path, facts: os.stat_result, group: _Group, limits: Limits, number: int
) -> SourceCodestream | None:
    page, picture = divmod(number, group.pages[0].layout.pictures)
    with reopened(path, facts) as stream:
        return PageDecoder(stream, facts.st_size, limits).codestream(group.pages[page], picture)


def _packed_bytes(
    path: Path, facts: os.stat_result, group: _Group, limits: Limits, number: int
) -> float | None:
    pictures = group.pages[0].layout.pictures
    with reopened(path, facts) as stream:
        packed = PageDecoder(stream, facts.st_size, limits).packed_bytes(group.pages[number // pictures])
    return None if packed is None else packed / pictures
