"""A bucket instead of a folder: what every store promises, and an archive in it from ingest to training."""

import os
import subprocess
import sys
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

import imarium
from imarium.archive import Archive
from imarium.errors import InvalidRequestError, StorageError
from imarium.ingest import Summary
from imarium.manifest import Manifest
from imarium.model import Selection
from imarium.phantoms import ct_chest
from imarium.settings import load
from imarium.store import open_store
from imarium.testing.buckets import bucket_served
from imarium.testing.servers import running
from imarium.testing.stores import StoreConformance
from imarium.torch import StreamingDataset


@pytest.fixture(scope="module")
def served():
    with bucket_served() as bucket:
        yield bucket


@pytest.fixture
def bucket(served, monkeypatch):
    for name, value in served.environment.items():
        monkeypatch.setenv(name, value)
    served.empty()
    return served


class TestBucket(StoreConformance):
    @pytest.fixture
    def store(self, bucket, tmp_path):
        return open_store(tmp_path, bucket.address)


def archive_in(address, home):
    return Archive(load(home, default_home=home, environ={"IMARIUM_OBJECTS": address}))


def volumes(archive):
    records, _ = archive.catalog.series()
    return {record.series.uid: archive.streaming.volume(record.series.uid) for record in records}


@pytest.fixture
def archive(bucket, tmp_path):
    archive = archive_in(bucket.address, tmp_path / "home")
    for seed in (0, 1):
        ct_chest(8, 64, 96, seed=seed).write_nifti(tmp_path / f"{seed}.nii.gz")
    summary = Summary.of(archive.ingest.run(sorted(tmp_path.glob("*.nii.gz")), collection="ct"))
    assert len(summary.series) == 2
    return archive


def test_nothing_of_an_image_stays_in_the_home_folder(archive):
    left = {path.name.removesuffix(".lock") for path in archive.settings.home.rglob("*") if path.is_file()}
    assert left <= {"catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm", "secret", "audit.head"}
    assert all(outcome.error is None for outcome in archive.streaming.verify())


def test_signed_addresses_lead_past_the_server(archive, tmp_path, monkeypatch):
    expected = volumes(archive)

    def never(*_):
        raise AssertionError("bytes of packs passed through the server")

    with running(archive) as url, imarium.connect(url, cache=False) as client:
        manifest, plain = client.manifest("ct", presign=600), client.manifest("ct")
        assert manifest.digest == plain.digest
        assert plain.table["url"].null_count == 2
        for address in manifest.table["url"].to_pylist():
            query = parse_qs(urlsplit(address).query)
            assert query["X-Amz-Expires"] == ["600"]
            assert len(query["X-Amz-Signature"][0]) == 64
        manifest.write(tmp_path / "signed.parquet")
        for name in ("open_pack", "read_pack"):
            monkeypatch.setattr(archive.streaming, name, never)
        for series in client.series_of(manifest):
            np.testing.assert_array_equal(series.volume(), expected[series.uid])
        data = StreamingDataset(client, manifest=manifest, kind="volume", level=0)
        assert sum(1 for _ in data) == 2
    # The file alone is enough, without a server and without a key.
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with imarium.open(tmp_path / "signed.parquet", cache=False) as client:
        for series in client.search():
            np.testing.assert_array_equal(series.volume(), expected[series.uid])


def test_a_bucket_is_opened_without_a_server(archive, bucket):
    with imarium.open(bucket.address, cache=False) as client:
        found = {series.uid: series.volume() for series in client.search()}
    expected = volumes(archive)
    assert found.keys() == expected.keys()
    for uid, pixels in found.items():
        np.testing.assert_array_equal(pixels, expected[uid])


def test_a_series_grows_in_a_bucket(bucket, tmp_path):
    archive = archive_in(bucket.address, tmp_path / "home")
    files = sorted(ct_chest(6, 64, 64).write_dicom(tmp_path / "dicom"))
    for part in (files[:3], files[3:]):
        Summary.of(archive.ingest.run(part, collection="ct"))
    assert [pixels.shape for pixels in volumes(archive).values()] == [(6, 64, 64)]


def test_folders_sign_nothing(tmp_path):
    archive = Archive(load(tmp_path / "home", default_home=tmp_path, environ={}))
    with pytest.raises(InvalidRequestError, match="signed"):
        next(archive.manifests.rows(Selection(), presign=60))


@pytest.mark.parametrize("seconds", [0, -1, 604_801])
def test_addresses_are_valid_for_a_week_at_most(archive, seconds):
    with pytest.raises(InvalidRequestError, match="604800"):
        next(archive.manifests.rows(Selection(), presign=seconds))


@pytest.mark.parametrize("address", ["nonsense", "ftp://a/b", "s3://"])
def test_what_is_no_bucket_is_said(tmp_path, address):
    with pytest.raises(StorageError, match="IMARIUM_OBJECTS"):
        archive_in(address, tmp_path / "home")


def test_from_the_command_line(bucket, tmp_path):
    environ = {**os.environ, **bucket.environment, "IMARIUM_OBJECTS": bucket.address}
    ct_chest(4, 64, 64).write_nifti(tmp_path / "ct.nii.gz")

    def imarium_command(*arguments):
        command = [sys.executable, "-m", "imarium", *arguments, "--home", str(tmp_path / "home")]
        subprocess.run(command, env=environ, check=True, capture_output=True)

    imarium_command("ingest", str(tmp_path / "ct.nii.gz"))
    imarium_command("manifest", "--presign", "60", "-o", str(tmp_path / "m.parquet"))
    (row,) = Manifest.read(tmp_path / "m.parquet").rows()
    assert row.url is not None
    assert row.url.startswith(bucket.endpoint)
    imarium_command("download", "", str(tmp_path / "out"), "--format", "npy")
    assert [path.suffix for path in (tmp_path / "out").rglob("*.np*")] != []
