"""Volumes of research formats from file to archive and out as NIfTI: values and positions stay."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from imarium.archive import Archive
from imarium.ingest import Status
from imarium.settings import Settings, Sharing


@pytest.mark.parametrize("name", ["CTChest4.nrrd", "Segmentation.seg.nrrd", "chest.mha"])
def test_real_volumes_become_nifti(name: str, shared_data: Path, archive: Archive, tmp_path: Path) -> None:
    path = shared_data / "slicer" / name
    if name == "chest.mha":
        path = tmp_path / name
        SimpleITK.WriteImage(
            SimpleITK.ReadImage(str(shared_data / "slicer" / "CTChest4.nrrd")), str(path), True
        )
    if not path.exists():
        pytest.skip(f"{name} is not there")
    (outcome,) = archive.ingest.run([path], collection="c")
    assert outcome.status is Status.TAKEN, outcome
    (out,) = archive.streaming.export(outcome.series, "nifti", tmp_path / "out.nii.gz")
    image = SimpleITK.ReadImage(str(path))
    exported = SimpleITK.ReadImage(str(out))
    assert np.array_equal(SimpleITK.GetArrayFromImage(exported), SimpleITK.GetArrayFromImage(image))
    assert np.allclose(exported.GetOrigin(), image.GetOrigin(), atol=1e-3)
    assert np.allclose(exported.GetSpacing(), image.GetSpacing(), atol=1e-5)
    assert np.allclose(exported.GetDirection(), image.GetDirection(), atol=1e-5)
    assert (int(nibabel.load(out).header["intent_code"]) == 1002) == name.startswith("Segmentation")
    (again,) = archive.ingest.run([path], collection="c")
    assert again.status is Status.KNOWN


def test_a_pair_becomes_one_nifti(archive: Archive, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 900, (20, 18, 5)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Pair(values, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / "a.hdr")
    outcomes = list(archive.ingest.run([tmp_path / "a.hdr"], collection="c"))
    assert [outcome.path.name for outcome in outcomes] == ["a.hdr", "a.img"]
    assert {outcome.status for outcome in outcomes} == {Status.TAKEN}
    (out,) = archive.streaming.export(outcomes[0].series, "nifti", tmp_path / "out.nii")
    assert np.array_equal(np.asanyarray(nibabel.load(out).dataobj), values)


def test_the_arrays_of_an_npz_are_series(archive: Archive, tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(4, 20, 18)).astype(np.float32)
    np.savez_compressed(tmp_path / "a.npz", image=image, mask=image > 0, spacing=np.ones(3))
    outcomes = list(archive.ingest.run([tmp_path / "a.npz"], collection="c"))
    taken = [outcome for outcome in outcomes if outcome.status is Status.TAKEN]
    assert [outcome.status for outcome in outcomes if outcome not in taken] == [Status.REFUSED]
    for outcome, expected in zip(taken, (image, image > 0), strict=True):
        assert np.array_equal(archive.streaming.volume(outcome.series), expected)


def test_an_interrupted_npz_is_taken_in_again(tmp_path: Path) -> None:
    """The process ends after the first of two arrays: the other is not lost, nor the file counted twice."""
    archive = Archive(Settings(home=tmp_path / "home", threads=1, sharing=Sharing(series_bytes=0)))
    path = tmp_path / "a.npz"
    np.savez(path, image=np.ones((20, 18), np.int16), mask=np.ones((20, 18), np.bool_))
    run = archive.ingest.run([path], collection="c")
    first = next(run)
    run.close()
    outcomes = list(archive.ingest.run([path], collection="c"))
    assert [outcome.status for outcome in outcomes] == [Status.KNOWN, Status.TAKEN]
    assert outcomes[0].series == first.series
    assert first.source_bytes + outcomes[1].source_bytes == path.stat().st_size
    again = list(archive.ingest.run([path], collection="c"))
    assert {outcome.status for outcome in again} == {Status.KNOWN}
    archive.close()
