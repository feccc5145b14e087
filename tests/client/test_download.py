"""Series to files."""

from __future__ import annotations

import json
import sys

import nibabel
import numpy as np
import pytest

import imarium
from imarium.errors import (
    ExportRefusedError,
    ImariumError,
    InvalidRequestError,
    LevelError,
    StorageError,
    TransportError,
)
from imarium.testing import Fault
from imarium.testing.samples import SAMPLES


@pytest.fixture
def db(live, uid):
    with imarium.connect(live.url) as db:
        yield db


@pytest.fixture
def many(live, uid, nifti, tmp_path):
    """Series of several formats on the server, and none of them a surprise."""
    np.save(tmp_path / "a.npy", np.arange(64 * 70, dtype=np.uint16).reshape(64, 70))
    list(live.archive.ingest.run([nifti, tmp_path / "a.npy"], collection="c"))
    return live


def test_nifti_is_what_the_server_exports(live, db, many, tmp_path):
    for item in db.list_series():
        if "nifti" not in db.describe(item["uid"])["exports"]:
            continue
        for level in (0, 1):
            ours = nibabel.load(db.series(item["uid"]).download(tmp_path / "ours.nii", level=level))
            (path,) = live.archive.streaming.export(
                item["uid"], "nifti", tmp_path / "theirs.nii", level=level
            )
            theirs = nibabel.load(path)
            np.testing.assert_array_equal(ours.get_fdata(), theirs.get_fdata())
            np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
            assert ours.get_data_dtype() == theirs.get_data_dtype().newbyteorder("<")
            assert ours.header.get_zooms() == pytest.approx(theirs.header.get_zooms())
            image = db.series(item["uid"]).to_nifti(level)
            np.testing.assert_array_equal(image.get_fdata(), ours.get_fdata())
            np.testing.assert_array_equal(image.affine, ours.affine)


@pytest.mark.parametrize("name", ["dicom", "nifti", "nrrd", "metaimage", "png", "jpeg", "tiff", "npy"])
def test_every_kind_of_pixels_becomes_the_same_as_on_the_server(live, name, tmp_path):
    (tmp_path / "in").mkdir()
    list(SAMPLES[name].small(tmp_path / "in"))
    taken = {
        item.series for item in live.archive.ingest.run([tmp_path / "in"], collection="c") if item.series
    }
    assert taken
    with imarium.connect(live.url) as db:
        for uid in sorted(taken):
            for form, ending in (("nifti", ".nii.gz"), ("npy", ".npy")):
                try:
                    (path,) = live.archive.streaming.export(uid, form, tmp_path / f"theirs{ending}")
                except ExportRefusedError:
                    with pytest.raises(ExportRefusedError):
                        db.series(uid).download(tmp_path / f"ours{ending}", format=form)
                    continue
                ours = db.series(uid).download(tmp_path / f"ours{ending}", format=form)
                if form == "npy":
                    assert ours.read_bytes() == path.read_bytes()
                    continue
                mine, theirs = nibabel.load(ours), nibabel.load(path)
                np.testing.assert_array_equal(np.asanyarray(mine.dataobj), np.asanyarray(theirs.dataobj))
                if live.archive.catalog.get_series(uid).series.affine is not None:
                    np.testing.assert_allclose(mine.affine, theirs.affine, atol=1e-4)


def test_sizes_and_spacings(db, uid, tmp_path):
    series = db.series(uid)
    path = series.download(tmp_path / "a.npy", format="npy", size=40)
    np.testing.assert_array_equal(np.load(path), series.volume(size=40))
    step = [value * 1.5 for value in series.series.spacing]
    image = nibabel.load(series.download(tmp_path / "a.nii.gz", spacing=tuple(step)))
    assert image.header.get_zooms()[::-1] == pytest.approx(series.volume(spacing=tuple(step)).spacing)


def test_into_a_folder_by_its_own_name(db, uid, tmp_path):
    assert db.series(uid).download(tmp_path).name == f"{uid}.nii.gz"
    assert db.series(uid).download(tmp_path, format="npy", level=2).name == f"{uid}-level2.npy"
    assert db.series(uid).download(tmp_path, format="npy", size=(20, 30)).name == f"{uid}-size20x30.npy"


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        ({"format": "jpeg"}, InvalidRequestError),
        ({"level": 1, "size": 20}, InvalidRequestError),
        ({"format": "png", "spacing": 2.0}, InvalidRequestError),
        ({"level": 9}, LevelError),
        ({"format": "npy"}, InvalidRequestError),
        ({"format": "dicom", "level": 9}, LevelError),
    ],
)
def test_wishes_that_cannot_be_met_leave_nothing(db, uid, tmp_path, wish, error):
    with pytest.raises(error):
        db.series(uid).download(tmp_path / "out.nii", **wish)
    assert not [path for path in tmp_path.iterdir() if path.name not in ("home", "cache")]


def test_exports_of_the_server(db, uid, tmp_path):
    folder = db.series(uid).download(tmp_path / "d", format="dicom")
    assert len(list(folder.iterdir())) == 12
    folder = db.series(uid).download(tmp_path / "d", format="dicom", level=1)  # in its place
    assert len(list(folder.iterdir())) == 12
    assert (db.series(uid).download(tmp_path, format="ome-zarr") / "zarr.json").is_file()
    assert len(list(db.series(uid).download(tmp_path, format="png", level=2).iterdir())) == 12


def test_an_export_that_is_cut_is_fetched_again(uid, proxy, hasty, tmp_path):
    proxy.faults(Fault(cut=5000), Fault(status=503), when=lambda asked: "/export" in asked.path)
    folder = hasty().series(uid).download(tmp_path / "d", format="dicom")
    assert len(list(folder.iterdir())) == 12


def states(made):
    return sorted(item.status for item in made)


def test_a_second_call_goes_on(many, proxy, hasty, tmp_path):
    client = hasty()
    seen = []
    made = client.download("c", tmp_path / "out", format="npy", progress=seen.append)
    assert states(made) == ["written"] * 3
    assert [progress.done for progress in seen] == [1, 2, 3]
    assert {progress.total for progress in seen} == {3}
    next(item.path for item in made).unlink()
    proxy.asked.clear()
    made = client.download("c", tmp_path / "out", format="npy")
    assert states(made) == ["kept", "kept", "written"]
    assert len(proxy.for_packs) == 1
    for item in made:
        np.testing.assert_array_equal(np.load(item.path), many.archive.streaming.volume(item.series))


def test_after_a_failure_the_next_call_goes_on(many, uid, proxy, hasty, tmp_path):
    client = hasty(attempts=2)
    client.download(f"series={uid}", tmp_path / "out", format="npy")
    proxy.plan = lambda asked: Fault(drop=True) if asked.is_pack else None
    with pytest.raises(TransportError):
        client.download("c", tmp_path / "out", format="npy")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".imarium-download", f"{uid}.npy"]
    proxy.plan = lambda asked: None
    assert states(client.download("c", tmp_path / "out", format="npy")) == ["kept", "written", "written"]


@pytest.mark.parametrize("form", ["npy", "nifti"])
def test_large_series_pass_in_pieces(db, uid, tmp_path, monkeypatch, form):
    name = "a.npy" if form == "npy" else "a.nii"
    whole = db.series(uid).download(tmp_path / name, format=form).read_bytes()
    monkeypatch.setattr("imarium.client.download._WHOLE_BYTES", 1000)
    monkeypatch.setattr("imarium.client.reading._BATCH_BYTES", 20_000)
    assert db.series(uid).download(tmp_path / name, format=form).read_bytes() == whole


def test_a_series_that_has_grown_is_written_anew(archive, live, phantom, tmp_path):
    files = sorted((phantom / "dicom").iterdir())
    list(archive.ingest.run(files[:8], collection="c"))
    with imarium.connect(live.url) as db:
        (made,) = db.download("c", tmp_path / "out", format="npy")
        assert np.load(made.path).shape[0] == 8
        list(archive.ingest.run(files, collection="c"))
        (again,) = db.download("c", tmp_path / "out", format="npy")
        assert (again.status, again.path) == ("written", made.path)
        assert np.load(made.path).shape[0] == 12


def test_a_file_that_nobody_knows_of_is_written_anew(db, uid, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f"{uid}.npy").write_bytes(b"half")
    (tmp_path / "out" / ".imarium-download").write_bytes(b'{"name":\n\xff\n[]\n{"name": 1, "of": 2}\n')
    (made,) = db.download("c", tmp_path / "out", format="npy")
    assert made.status == "written"
    assert np.load(made.path).shape == (12, 96, 96)


def test_one_that_fails_does_not_stop_the_others(many, tmp_path):
    with imarium.connect(many.url) as db:
        made = db.download("c", tmp_path / "out")
        assert states(made) == ["failed", "written", "written"]
        (failed,) = (item for item in made if item.error)
        assert isinstance(failed.error, ExportRefusedError)
        assert not failed.path.exists()
        manifest = db.manifest("c").filter(lambda row: row.format != "npy")
        assert states(db.download(manifest, tmp_path / "out")) == ["kept", "kept"]
        with pytest.raises(ImariumError):
            db.download("nothing", tmp_path / "out")


def test_a_folder_that_cannot_be_made(db, tmp_path):
    (tmp_path / "file").write_text("")
    for form in ("npy", "dicom"):
        with pytest.raises(StorageError):
            db.download("c", tmp_path / "file" / "out", format=form)


def test_a_bar(db, tmp_path, capfd):
    assert states(db.download("c", tmp_path / "out", format="npy", progress=True)) == ["written"]


def test_extras_are_named(db, uid, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(InvalidRequestError, match=r"imarium\[nifti\]"):
        db.series(uid).to_nifti()
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(InvalidRequestError, match=r"imarium\[progress\]"):
        db.download("c", tmp_path / "out", progress=True)


def test_the_journal_is_lines_of_json(db, uid, tmp_path):
    db.download("c", tmp_path, format="npy")
    lines = (tmp_path / ".imarium-download").read_text().split()
    assert json.loads("".join(lines))["name"] == f"{uid}.npy"
