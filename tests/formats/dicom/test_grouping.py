"""Instances become stacks by what they hold and where they lie, never by their names."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from imarium.formats.base import Refusal
from imarium.formats.dicom import instance_frames
from imarium.formats.dicom.grouping import MULTIFRAME_NOTE
from imarium.testing.dicom_files import make_dataset, write_file


def slice_of(value, rows=6, columns=8):
    return np.full((rows, columns), value, np.int16)


def values_of(source):
    """The first pixel of every frame, in order, in the shape of the volumes."""
    return (
        np.array([frame.flat[0] for frame in source.read_frames()]).reshape(source.series.dimensions).tolist()
    )


def test_slices_are_sorted_by_position(tmp_path, read):
    for name, instance, z in (("a", 3, 7.0), ("b", 1, 2.0), ("c", 2, 4.5)):
        dataset = make_dataset(slice_of(instance), instance, ImagePositionPatient=[1.0, 2.0, z])
        write_file(tmp_path / "in" / name, dataset)
    (source,) = read(tmp_path / "in")
    assert values_of(source) == [1, 2, 3]
    series = source.series
    assert series.affine[2][2] == 2.5
    assert series.spacing == (2.5, 0.5, 0.75)
    assert [row[3] for row in series.affine] == [-1.0, -2.0, 2.0, 1.0]
    assert series.notes == ()
    assert source.patient_id == "ID-0815"
    assert not {"Nobody", "0815", "19010203"} & set(str(series.to_json()).replace("^", " ").split())
    assert [file.instance_uid[-1] for file in source.files] == ["1", "2", "3"]


def test_uneven_spacing_is_told(tmp_path, read):
    for instance, z in enumerate((0.0, 1.0, 2.0, 5.0), 1):
        dataset = make_dataset(slice_of(instance), instance, ImagePositionPatient=[0.0, 0.0, z])
        write_file(tmp_path / "in" / str(instance), dataset)
    (source,) = read(tmp_path / "in")
    (note,) = source.series.notes
    assert note == "Slice spacing is uneven: 1 to 3 mm between slices; the affine uses the mean, 1.667 mm."
    assert source.series.affine[2][2] == pytest.approx(5 / 3)


@pytest.mark.parametrize(
    ("elements", "step"),
    [({"PixelSpacing": ["1e200", "1e200"]}, 1.0), ({"PixelSpacing": ["1e-200", "1"]}, 1.0), ({}, 1e300)],
)
def test_places_beyond_anything_real_are_unknown(tmp_path, read, elements, step):
    """Their spacing would be infinite or nothing, which neither JSON nor arithmetic takes."""
    for number in range(3):
        place = ["0", "0", f"{number * step:g}"]
        dataset = make_dataset(slice_of(number), number + 1, ImagePositionPatient=place, **elements)
        write_file(tmp_path / "in" / str(number), dataset)
    (source,) = read(tmp_path / "in")
    assert values_of(source) == [0, 1, 2]
    assert (source.series.affine, source.series.spacing) == (None, None)
    (note,) = source.series.notes
    assert "position is unknown" in note


def test_localizer_in_three_planes(tmp_path, read):
    planes = ([1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1])
    for number, plane in enumerate(planes):
        for step in range(2 + number):
            normal = np.cross(plane[:3], plane[3:])
            dataset = make_dataset(
                slice_of(number),
                10 * number + step + 1,
                ImageOrientationPatient=plane,
                ImagePositionPatient=list(normal * 5.0 * step),
            )
            write_file(tmp_path / "in" / f"{number}{step}", dataset)
    sources = read(tmp_path / "in")
    assert [source.series.frames for source in sources] == [2, 3, 4]
    assert len({source.series.uid for source in sources}) == 1


@pytest.mark.parametrize(
    "element", ["TemporalPositionIdentifier", "AcquisitionTime", "AcquisitionNumber", "InstanceNumber"]
)
def test_repeated_positions_are_volumes(tmp_path, read, element):
    generator = np.random.default_rng(7)
    names = generator.permutation(6)
    for volume in range(2):
        for place in range(3):
            number = volume * 3 + place
            key = f"1200{10 + volume}" if element == "AcquisitionTime" else volume + 1
            elements = {"InstanceNumber": None, "RepetitionTime": 2500.0, "Modality": "MR"}
            elements[element] = key
            elements["ImagePositionPatient"] = [0.0, 0.0, 3.0 * place]
            write_file(
                tmp_path / "in" / str(names[number]), make_dataset(slice_of(number), number + 1, **elements)
            )
    (source,) = read(tmp_path / "in")
    assert source.series.dimensions == (2, 3)
    assert values_of(source) == [[0, 1, 2], [3, 4, 5]]
    assert source.series.time_step == 2.5


def test_incomplete_volume_is_a_stack_of_its_own(tmp_path, read):
    for number in range(8):
        z = float(number % 3)
        write_file(
            tmp_path / "in" / str(number),
            make_dataset(slice_of(number), number + 1, ImagePositionPatient=[0.0, 0.0, z]),
        )
    whole, rest = read(tmp_path / "in")
    assert values_of(whole) == [[0, 1, 2], [3, 4, 5]]
    assert values_of(rest) == [6, 7]


def test_same_instance_twice(tmp_path, read):
    for name in ("a", "b"):
        for number in (1, 2):
            write_file(tmp_path / "in" / f"{name}{number}", make_dataset(slice_of(number), number))
    one, other = read(tmp_path / "in")
    assert one.series.frames == other.series.frames == 2
    assert instance_frames(one.attachments) == instance_frames(other.attachments)


def test_shapes_and_types_are_kept_apart(tmp_path, read):
    write_file(tmp_path / "in" / "1", make_dataset(slice_of(1), 1))
    write_file(tmp_path / "in" / "2", make_dataset(slice_of(2, rows=7), 2))
    write_file(tmp_path / "in" / "3", make_dataset(np.full((6, 8), 3, np.uint8), 3))
    write_file(tmp_path / "in" / "4", make_dataset(np.full((6, 8, 3), 4, np.uint8), 4))
    write_file(tmp_path / "in" / "5", make_dataset(slice_of(5), 5, PixelSpacing=[1.0, 1.0]))
    write_file(tmp_path / "in" / "6", make_dataset(slice_of(6), 6, PhotometricInterpretation="MONOCHROME1"))
    assert [source.series.frames for source in read(tmp_path / "in")] == [1] * 6


def test_frames_without_geometry(tmp_path, read):
    for name, instance in (("a", 3), ("b", 1), ("c", 2)):
        dataset = make_dataset(slice_of(instance), instance, ImagePositionPatient=None, Modality="US")
        write_file(tmp_path / "in" / name, dataset)
    (source,) = read(tmp_path / "in")
    assert values_of(source) == [1, 2, 3]
    assert source.series.affine is None


def test_cine(tmp_path, read):
    frames = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 4, 6, 3), np.uint8)
    elements = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "FrameTime": 40.0}
    dataset = make_dataset(frames, NumberOfFrames=5, Modality="US", **elements)
    (source,) = read(write_file(tmp_path / "cine", dataset))
    assert source.series.dimensions == (5,)
    assert source.series.time_step == 0.04
    assert source.series.notes == (MULTIFRAME_NOTE,)
    assert np.array_equal(np.stack(list(source.read_frames())), frames)


@pytest.mark.parametrize("offsets", [[0, 2, 4, 6], [6, 4, 2, 0], [0, -2, -4, -6], [10, 12, 14, 16]])
def test_dose_grid(tmp_path, read, offsets):
    frames = np.arange(4, dtype=np.uint32)[:, None, None] * np.ones((4, 3, 5), np.uint32)
    elements = {"GridFrameOffsetVector": offsets, "DoseGridScaling": 0.25, "DoseUnits": "GY"}
    dataset = make_dataset(frames, NumberOfFrames=4, Modality="RTDOSE", **elements)
    (source,) = read(write_file(tmp_path / "dose", dataset))
    falling = offsets[0] > offsets[-1]
    assert values_of(source) == ([3, 2, 1, 0] if falling else [0, 1, 2, 3])
    assert source.series.affine[2][2:] == ((2.0, 1.0 - 6.0) if falling else (2.0, 1.0))
    assert (source.series.rescale_slope, source.series.rescale_unit) == (0.25, "Gy")


def enhanced(positions, orientations=None, **elements):
    count = len(positions)
    frames = np.arange(count, dtype=np.int16)[:, None, None] * np.ones((count, 4, 6), np.int16)
    dataset = make_dataset(frames, NumberOfFrames=count, Modality="MR", **elements)
    del dataset.ImagePositionPatient, dataset.ImageOrientationPatient, dataset.PixelSpacing
    shared, measures = Dataset(), Dataset()
    measures.PixelSpacing = [2.0, 2.0]
    shared.PixelMeasuresSequence = [measures]
    groups = []
    for number, position in enumerate(positions):
        group, plane, orientation = Dataset(), Dataset(), Dataset()
        plane.ImagePositionPatient = [0.0, 0.0, float(position)]
        orientation.ImageOrientationPatient = (orientations or {}).get(number, [1, 0, 0, 0, 1, 0])
        group.PlanePositionSequence, group.PlaneOrientationSequence = [plane], [orientation]
        groups.append(group)
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = groups
    return dataset


def test_enhanced_frames_are_put_in_order(tmp_path, read):
    (source,) = read(write_file(tmp_path / "mf", enhanced([4, 2, 0, 0, 2, 4])))
    assert source.series.dimensions == (2, 3)
    assert values_of(source) == [[2, 1, 0], [3, 4, 5]]
    ((_, frames),) = instance_frames(source.attachments).items()
    assert frames == [2, 1, 0, 3, 4, 5]


def test_enhanced_frames_that_are_no_grid(tmp_path, read):
    uneven = enhanced([0, 1, 1])
    planes = enhanced([0, 1, 2], {1: [1, 0, 0, 0, 0, -1]}, SOPInstanceUID="1.2.3")
    for name, dataset in (("uneven", uneven), ("planes", planes)):
        (source,) = read(write_file(tmp_path / name, dataset))
        assert values_of(source) == [0, 1, 2]
        assert source.series.affine is None
        assert any("do not form a grid" in note for note in source.series.notes)


def test_missing_uids_are_made_from_the_content(tmp_path, read):
    made = []
    for name in ("a", "b"):
        dataset = make_dataset(slice_of(1), SeriesInstanceUID=None, StudyInstanceUID=None)
        (source,) = read(write_file(tmp_path / name, dataset))
        made.append((source.series.uid, source.series.study_uid))
    assert made[0] == made[1]
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in made[0])


def test_uid_that_is_a_path_is_replaced(tmp_path, read):
    dataset = make_dataset(slice_of(1))
    path = write_file(tmp_path / "a", dataset)
    evil = b"../../../../etc/passwd".ljust(
        len(dataset.SeriesInstanceUID) + len(dataset.SeriesInstanceUID) % 2, b"0"
    )
    uid = dataset.SeriesInstanceUID.encode()
    data = path.read_bytes()
    at = data.index(b"\x20\x00\x0e\x00UI") + 8
    path.write_bytes(data[:at] + evil[: len(uid) + len(uid) % 2] + data[at + len(uid) + len(uid) % 2 :])
    (source,) = read(path)
    assert source.series.uid.startswith("2.25.")


def test_palette(shared_data, read):
    (source,) = read(shared_data / "mammo-and-oddities" / "TestPattern_Palette.dcm")
    series = source.series
    assert (series.photometric, series.label_map, series.samples) == ("PALETTE COLOR", True, 1)
    assert len(series.palette) == 256
    assert all(0 <= channel <= 255 for colour in series.palette for channel in colour)
    assert len(set(series.palette)) > 16


def test_segmentation(shared_data, read):
    (source,) = read(shared_data / "seg-sr-dcmqi" / "segmentations" / "liver.dcm")
    assert source.series.dtype == "uint8"
    assert source.series.label_map
    assert {int(value) for frame in source.read_frames() for value in np.unique(frame)} == {0, 1}


def test_one_bad_file_harms_no_other(tmp_path, read):
    for number in (1, 2, 3):
        write_file(tmp_path / "in" / str(number), make_dataset(slice_of(number), number))
    broken = tmp_path / "in" / "2"
    broken.write_bytes(broken.read_bytes()[:-9])
    results = read(tmp_path / "in")
    (refusal,) = [item for item in results if isinstance(item, Refusal)]
    (source,) = [item for item in results if not isinstance(item, Refusal)]
    assert refusal.path == broken
    assert str(refusal.error) == "the pixel data are cut off: expected 96 bytes, found 87"
    assert values_of(source) == [1, 3]


def test_mosaics_that_do_not_coincide(shared_data, read, tmp_path):
    """A volume that motion correction moved by a part of a slice is still the second volume."""
    paths = sorted((shared_data / "mr-siemens-mosaic/ax/axasc35").glob("MR*"))
    (still,) = read(*paths)
    moved = pydicom.dcmread(paths[1])
    x, y, z = moved.ImagePositionPatient
    moved.ImagePositionPatient = [x, y, z + 0.4]
    moved.save_as(tmp_path / "moved")
    (source,) = read(paths[0], tmp_path / "moved")
    assert source.series.dimensions == (2, 35)
    assert source.series.affine == still.series.affine
    assert any("motion" in note for note in source.series.notes)
    assert all(np.array_equal(a, b) for a, b in zip(source.read_frames(), still.read_frames(), strict=True))
