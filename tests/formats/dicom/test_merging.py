"""New instances join a stored series as if all had come at once."""

from dataclasses import replace

import numpy as np
import pytest

from imarium.errors import IntegrityError, InvalidRequestError
from imarium.formats.dicom import compatible, instance_frames, merge
from imarium.formats.dicom.grouping import RESCALE_NOTE
from imarium.model import Volume
from imarium.testing.dicom_files import make_dataset, write_file


def stored(source):
    """A source as the archive gives it back: facts, attachments, frames by index."""
    frames = list(source.read_frames())
    return source.series, source.attachments, frames.__getitem__


def same(one, other):
    assert one.series == other.series
    pairs = zip(one.read_frames(), other.read_frames(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert instance_frames(one.attachments) == instance_frames(other.attachments)
    assert one.attachments == other.attachments


def test_slices(tmp_path, read):
    paths = [
        write_file(tmp_path / f"{number}", make_dataset(np.full((4, 4), number, np.int16), number))
        for number in range(1, 8)
    ]
    (everything,) = read(*paths)
    (odd,), (even,) = read(*paths[::2]), read(*paths[1::2])
    assert compatible(odd.series, even.series)
    same(merge(*stored(odd), even).source, everything)
    (overlapping,) = read(*paths[1:4])
    with pytest.raises(InvalidRequestError):
        merge(*stored(odd), overlapping)
    known = instance_frames(odd.attachments).keys() & instance_frames(overlapping.attachments).keys()
    joined = merge(*stored(odd), overlapping, known).source
    assert joined.series.frames == 6 - 1 + 1
    assert [int(frame[0, 0]) for frame in joined.read_frames()] == [1, 2, 3, 4, 5, 7]
    assert {file.path for file in joined.files} == {paths[1], paths[3]}


def test_slices_with_slopes_of_their_own(tmp_path, read):
    """Two PET slices, each scaled to the range of its own counts."""
    paths = [
        write_file(
            tmp_path / str(number),
            make_dataset(
                np.full((2, 3), 10 * number, np.int16),
                number,
                Modality="PT",
                Units="BQML",
                RescaleSlope=str(slope),
                RescaleIntercept="0",
            ),
        )
        for number, slope in ((2, 0.5), (1, 3))
    ]
    (everything,) = read(*paths)
    series = everything.series
    assert series.frame_rescale == ((3.0, 0.0), (0.5, 0.0))
    assert (series.rescale_slope, series.rescale_unit) == (3.0, "BQML")
    frames = list(everything.read_frames())
    assert [int(frame[0, 0]) for frame in frames] == [10, 20]  # stored values stay what they are
    assert Volume.wrap(np.stack(frames), series).rescaled()[:, 0, 0].tolist() == [30, 10]
    (first,), (second,) = read(paths[0]), read(paths[1])
    assert first.series.frame_rescale is None
    same(merge(*stored(first), second).source, everything)
    (alike,) = read(paths[0], write_file(tmp_path / "3", make_dataset(frames[0], 3, RescaleSlope="0.5")))
    assert alike.series.frame_rescale is None
    assert RESCALE_NOTE not in alike.series.notes


def test_volumes_in_any_portions(shared_data, read):
    paths = sorted((shared_data / "mr-nih-ge-siemens/20180918GE/mr_0004").glob("*.dcm"))
    (everything,) = read(*paths)
    (first,), (second,) = read(*paths[:45]), read(*paths[45:])
    same(merge(*stored(first), second).source, everything)


def test_mosaics(shared_data, read):
    paths = sorted((shared_data / "mr-siemens-mosaic/ax/axasc35").glob("MR*"))
    (everything,) = read(*paths)
    (first,), (second,) = read(paths[1]), read(paths[0])
    assert compatible(first.series, second.series)
    same(merge(*stored(first), second).source, everything)


def test_merged_again(tmp_path, read):
    paths = [
        write_file(tmp_path / f"{number}", make_dataset(np.full((4, 4), number, np.int16), number))
        for number in range(1, 7)
    ]
    (everything,) = read(*paths)
    (one,), (two,), (three,) = (read(*paths[number::3]) for number in range(3))
    same(merge(*stored(merge(*stored(one), three).source), two).source, everything)


def test_source_that_can_only_iterate(tmp_path, read):
    paths = [
        write_file(tmp_path / f"{number}", make_dataset(np.full((4, 4), number, np.int16), number))
        for number in range(1, 5)
    ]
    (everything,) = read(*paths)
    (one,), (two,) = read(*paths[::2]), read(*paths[1::2])
    frames = list(two.read_frames())
    same(merge(*stored(one), replace(two, read_frames=lambda: iter(frames))).source, everything)


def test_incompatible(tmp_path, read):
    def source(number, array, **elements):
        path = tmp_path / f"{number}"
        (found,) = read(write_file(path, make_dataset(array, number, **elements)))
        return found

    plain = np.zeros((4, 4), np.int16)
    base = source(1, plain)
    assert compatible(base.series, source(2, plain).series)
    others = [
        source(3, np.zeros((4, 5), np.int16)),
        source(4, np.zeros((4, 4), np.uint16)),
        source(5, np.zeros((4, 4, 3), np.uint8)),
        source(6, plain, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]),
        source(7, plain, PixelSpacing=[1, 1]),
        source(8, plain, PhotometricInterpretation="MONOCHROME1"),
        source(9, plain, ImagePositionPatient=None),
        source(10, np.zeros((2, 4, 4), np.int16), NumberOfFrames=2),
    ]
    for other in others:
        assert not compatible(base.series, other.series)
        with pytest.raises(InvalidRequestError):
            merge(*stored(base), other)
    multi = others[-1]
    assert not compatible(multi.series, multi.series)


def test_unsound_index():
    for attachments in ({}, {"dicom/frames.json": b"{"}, {"dicom/frames.json": b'{"version": 9}'}):
        with pytest.raises(IntegrityError):
            instance_frames(attachments)
    with pytest.raises(IntegrityError) as caught:
        instance_frames({"dicom/frames.json": b'{"version": "Jane^Doe"}'})
    assert "Jane" not in str(caught.value)
