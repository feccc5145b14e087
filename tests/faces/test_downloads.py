"""`imarium download`, from a folder and from a server."""

from __future__ import annotations

import json
import os
import sys

import nibabel
import numpy as np
import pytest

from imarium.faces.cli.app import run


@pytest.fixture(params=["local", "remote"])
def download(request, archive, phantom, nifti, tmp_path, monkeypatch, capsys):
    """Runs the command over a DICOM series, a NIfTI file and an array."""
    np.save(tmp_path / "a.npy", np.arange(64 * 70, dtype=np.uint16).reshape(64, 70))
    list(archive.ingest.run([phantom / "dicom", nifti, tmp_path / "a.npy"], collection="c"))
    if request.param == "remote":
        place = ["--server", request.getfixturevalue("live").url]
    else:
        place = ["--home", str(archive.settings.home)]

    def call(*arguments: object, status: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["imarium", "download", *map(str, arguments), *place])
        with pytest.raises(SystemExit) as left:
            run(None)
        written = capsys.readouterr()
        assert (left.value.code or 0) == status, written
        return written.out, written.err

    return call


def lines(outcome):
    return [json.loads(line) for line in outcome[0].splitlines()]


def test_a_selection_goes_into_a_folder_and_a_second_call_goes_on(download, archive, tmp_path):
    first = lines(download("c", tmp_path / "out", "--level", 1, "--json", status=1))
    assert sorted(item["status"] for item in first) == ["failed", "written", "written"]
    assert all((item["reason"] is None) == (item["status"] == "written") for item in first)
    for item in first:
        if item["status"] == "written":
            image = nibabel.load(item["path"])
            volume = archive.streaming.volume(item["series"], 1)
            assert image.shape == volume.T.shape
            assert os.path.getsize(item["path"]) == item["bytes"]
    second = lines(download("c", tmp_path / "out", "--level", 1, "--json", status=1))
    assert sorted(item["status"] for item in second) == ["failed", "kept", "kept"]


@pytest.mark.parametrize("form", ["dicom", "png", "ome-zarr"])
def test_formats_that_the_client_does_not_write(download, tmp_path, form):
    (item,) = lines(download("c modality=CT", tmp_path / "out", "--format", form, "--json"))
    assert item["status"] == "written"
    assert len(os.listdir(item["path"])) >= (2 if form == "ome-zarr" else 12)


def test_for_people(download, tmp_path):
    out, errors = download("c", tmp_path / "out", status=1)
    assert "2 series in" in out
    assert "1 failed" in out
    assert "cannot become NIfTI" in errors


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nothing"], "not-found"),
        (["colour=red"], "invalid-request"),
        (["c", "--format", "gif"], "invalid-request"),
        (["c", "--level", "1", "--size", "9"], "invalid-request"),
    ],
)
def test_clear_errors(download, tmp_path, arguments, code):
    selection, *options = arguments
    (said,) = lines(download(selection, tmp_path / "out", *options, "--json", status=2))
    assert said["error"]["code"] == code
