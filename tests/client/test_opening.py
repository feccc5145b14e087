"""Packs without a server: folders, buckets, manifests."""

from __future__ import annotations

import asyncio
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

import imarium
from imarium.client.stored import BucketOrigin, FolderOrigin
from imarium.errors import (
    ExportRefusedError,
    IntegrityError,
    InvalidRequestError,
    LevelError,
    NotFoundError,
)
from imarium.manifest import Format, Manifest


@pytest.fixture
def filled(archive, phantom, nifti, tmp_path):
    """An archive of a DICOM series, a NIfTI file and 5 pictures in shared packs, and its folder."""
    for number in range(5):
        np.save(tmp_path / f"{number}.npy", np.full((70, 80), number, np.uint16))
    paths = [phantom / "dicom", nifti, *tmp_path.glob("*.npy")]
    for outcome in archive.ingest.run(paths, collection="c", labels={"split": "train"}):
        assert outcome.series
    return archive


PLACES = {
    "home": lambda home: home,
    "objects": lambda home: str(home / "objects"),
    "bucket": lambda home: f"file://{home / 'objects'}",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_store_without_a_server(filled, place):
    with imarium.open(PLACES[place](filled.settings.home)) as db:
        assert db.status()["series"] == 7
        found = db.search("modality=CT")
        assert [series.metadata["modality"] for series in found] == ["CT"]
        for series in db.search():
            np.testing.assert_array_equal(series.volume(level=1), filled.streaming.volume(series.uid, 1))
            again = db.series(series.uid)
            assert again.metadata == series.metadata
            np.testing.assert_array_equal(again.volume(), filled.streaming.volume(series.uid))
        assert sorted(item["uid"] for item in db.list_series()) == sorted(s.uid for s in db.search())
        manifest = db.manifest()
        assert [row.pack for row in manifest.rows()] == sorted(row.pack for row in manifest.rows())
        with pytest.raises(NotFoundError):
            db.series("1.2.3")
        for selection in ("c", "label.split=train"):
            with pytest.raises(InvalidRequestError, match="no collections and no labels"):
                db.search(selection)
        with pytest.raises(InvalidRequestError, match="needs a server"):
            db.verify()
        with pytest.raises(ExportRefusedError, match="server"):
            found[0].download(filled.settings.home / "x", format="dicom")


def test_what_is_read_is_what_the_server_describes(filled):
    with imarium.open(filled.settings.home) as db:
        for rows in filled.manifests.rows(imarium.Selection()):
            for row in rows:
                (ours,) = db.manifest(f"series={row.series}").rows()
                told = {"collection", "subject", "labels"}
                for name in set(row.__dataclass_fields__) - told:
                    assert getattr(ours, name) == getattr(row, name), name


def test_of_a_series_that_has_grown_the_longest_counts(archive, phantom):
    files = sorted((phantom / "dicom").iterdir())
    for part in (files[:8], files):
        list(archive.ingest.run(part, collection="c"))
    assert len(list(archive.settings.objects.rglob("*.imp"))) == 2
    with imarium.open(archive.settings.home) as db:
        (series,) = db.search()
        assert series.shape == (12, 96, 96)
        np.testing.assert_array_equal(series.volume(), archive.streaming.volume(series.uid))


def test_a_damaged_pack_is_left_out_with_a_warning(filled):
    packs = sorted(filled.settings.objects.rglob("*.imp"))
    content = packs[0].read_bytes()
    packs[0].write_bytes(content[:-10])
    (filled.settings.objects / "packs" / "empty.imp").write_bytes(b"")
    with pytest.warns(UserWarning, match="is left out") as warned, imarium.open(filled.settings.home) as db:
        assert db.status()["series"] < 7
    assert len(warned) == 2


@pytest.fixture(params=["parquet", "arrow"])
def manifest(filled, request):
    """A manifest in the folder of the objects."""
    path = filled.settings.objects / f"m.{request.param}"
    with filled.manifests.draft(imarium.Selection.parse("c")) as draft:
        draft.write(path, Format(request.param))
    return path


def test_a_manifest_beside_its_packs(filled, manifest):
    with imarium.open(manifest) as db:
        assert db.status() | {"version": ""} == {"version": "", "api": 1, "collections": 1, "series": 7}
        assert [(item["name"], item["series"]) for item in db.collections()] == [("c", 7)]
        (series,) = db.search("c modality=CT label.split=train")
        np.testing.assert_array_equal(series.volume(level=2), filled.streaming.volume(series.uid, 2))
        assert not db.search("modality=MR")
        with pytest.raises(NotFoundError, match="collection"):
            db.search("other")
        assert len(list(db.list_series("c"))) == 7
        with pytest.raises(NotFoundError, match="manifest"):
            db.series("1.2.3")
        with pytest.raises(LevelError):
            series.volume(level=7)


def test_a_manifest_elsewhere(filled, manifest, tmp_path):
    moved = shutil.move(manifest, tmp_path / manifest.name)
    with pytest.raises(InvalidRequestError, match="store="):
        imarium.open(moved)
    for store in (filled.settings.home, f"file://{filled.settings.objects}"):
        with imarium.open(moved, store=store) as db:
            (series,) = db.search("modality=CT")
            np.testing.assert_array_equal(series.volume(), filled.streaming.volume(series.uid))


def test_a_manifest_with_its_server(live, uid, tmp_path):
    with imarium.connect(live.url) as db:
        db.manifest("c").write(tmp_path / "m.parquet")
    with imarium.open(tmp_path / "m.parquet", store=live.url) as db:
        np.testing.assert_array_equal(db.series(uid).volume(level=1), live.archive.streaming.volume(uid, 1))


def test_a_manifest_with_addresses(live, uid, tmp_path):
    with imarium.connect(live.url) as db:
        rows = [replace(row, url=f"{live.url}/api/v1/{row.pack}") for row in db.manifest("c").rows()]
    Manifest.of(rows, imarium.Selection()).write(tmp_path / "m.parquet")
    with imarium.open(tmp_path / "m.parquet") as db:
        np.testing.assert_array_equal(db.series(uid).volume(level=1), live.archive.streaming.volume(uid, 1))


def test_a_pack_that_has_gone(filled, manifest):
    with imarium.open(manifest) as db:
        (series,) = db.search("modality=CT")
        (filled.settings.objects / series.metadata["pack"]["key"]).unlink()
        with pytest.raises(NotFoundError, match="gone"):
            series.volume()


def test_places_that_hold_nothing(tmp_path):
    for place, kind in ((tmp_path / "none", NotFoundError), (tmp_path, InvalidRequestError)):
        with pytest.raises(kind):
            imarium.open(place)
    with pytest.raises(InvalidRequestError, match="connect"):
        imarium.open("http://127.0.0.1:8000")
    with pytest.raises(InvalidRequestError, match="no address"):
        imarium.open("nonsense://place")
    (tmp_path / "m.parquet").write_bytes(b"nothing")
    with pytest.raises(IntegrityError):
        imarium.open(tmp_path / "m.parquet")


def test_a_bucket_needs_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(InvalidRequestError, match=r"imarium\[s3\]"):
        imarium.open("s3://bucket/prefix")


@pytest.mark.parametrize("kind", [FolderOrigin, lambda folder: BucketOrigin(f"file://{folder}")])
def test_what_an_origin_of_a_store_promises(tmp_path, kind):
    (tmp_path / "packs").mkdir()
    content = bytes(range(256)) * 40
    (tmp_path / "packs" / "a.imp").write_bytes(content)
    (tmp_path / "packs" / "other.txt").write_bytes(content)

    async def use():
        origin = kind(tmp_path)
        spans = [(5000, 5010), (0, 3), (3, 3), (2, 9000)]
        assert await origin.read("packs/a.imp", spans) == [content[a:b] for a, b in spans]
        assert await origin.reread("packs/a.imp", [(1, 2)]) == [content[1:2]]
        assert [pack.key async for pack in origin.packs()] == ["packs/a.imp"]
        assert [pack.size async for pack in origin.packs()] == [len(content)]
        for key, spans, error in (
            ("packs/b.imp", [(0, 1)], NotFoundError),
            ("packs/a.imp", [(0, 1), (10_000, len(content) + 1)], IntegrityError),
            ("packs/a.imp", [(len(content) + 5, len(content) + 6)], IntegrityError),
        ):
            with pytest.raises(error):
                await origin.read(key, spans)
        await origin.close()

    asyncio.run(use())
