"""A disk that is really full: a small tmpfs holds the home folder."""

import subprocess
from collections import Counter

import httpx
import nibabel
import numpy as np
import pytest

from imarium.archive import Archive
from imarium.ingest import Status
from imarium.settings import Settings
from imarium.testing import running


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], check=False, capture_output=True
    )
    if mount.returncode:
        pytest.skip("cannot mount a tmpfs here; run the tests as root to try a full disk")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def images(tmp_path):
    """Three volumes of noise, 4 MB each, and a small one that fits."""
    paths = []
    for number, side in enumerate((256, 256, 256, 32)):
        noise = np.random.default_rng(number).integers(-30000, 30000, (side, side, 32)).astype(np.int16)
        paths.append(tmp_path / f"{number}.nii")
        nibabel.save(nibabel.Nifti1Image(noise, np.eye(4)), paths[-1])
    return paths


def test_nothing_half_written_on_a_full_disk(small_disk, images):
    archive = Archive(Settings(home=small_disk / "home", threads=2))
    outcomes = list(archive.ingest.run(images, collection="c"))
    counts = Counter(outcome.status for outcome in outcomes)
    assert counts[Status.REFUSED] >= 2
    assert outcomes[-1].status is Status.TAKEN  # the small one, after the disk was full
    for outcome in outcomes:
        if outcome.status is Status.REFUSED:
            assert "make room" in outcome.reason
    assert archive.catalog.series()[1] == counts[Status.TAKEN]
    assert [outcome.error for outcome in archive.streaming.verify()] == [None] * counts[Status.TAKEN]
    stored = {path.name for path in (small_disk / "home" / "objects").rglob("*") if path.is_file()}
    assert stored == {pack.key.rsplit("/", 1)[1] for pack in archive.catalog.packs()}
    assert list(archive.settings.scratch.iterdir()) == []
    archive.close()


def test_an_upload_to_a_full_disk_is_answered_and_the_server_stays_up(small_disk, images):
    archive = Archive(Settings(home=small_disk / "home", threads=2))
    token = archive.accounts.login("admin", archive.accounts.ensure_administrator()).token
    with running(archive) as url, httpx.Client(base_url=url) as http:
        http.headers["Authorization"] = f"Bearer {token}"
        upload = "/api/v1/uploads/" + http.post("/api/v1/uploads", json={}).json()["id"]
        answers = [
            http.put(f"{upload}/files/{number}", content=path.read_bytes())
            for number, path in enumerate(images[:3])
        ]
        assert [answer.status_code for answer in answers] == [204, 507, 507]
        assert answers[1].json()["error"]["code"] == "storage"
        assert http.get("/api/v1/status").status_code == 200
        assert http.delete(upload).status_code == 204
        assert http.post("/api/v1/verify").text == ""
