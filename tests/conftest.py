"""Fixtures that many tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest

from imarium.archive import Archive
from imarium.phantoms import ct_chest
from imarium.settings import Settings
from imarium.testing import running
from imarium.testing.postgres import MISSING, Postgres, available, postgres

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images; tests that need it skip, and say so, where it is missing."""
    folder = Path(os.environ.get("IMARIUM_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real images: {folder} is missing; set IMARIUM_TEST_DATA")
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch) -> None:
    """No test writes to the cache of who runs it, or reads from it."""
    monkeypatch.setenv("IMARIUM_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server; tests that need it skip, and say so, where its programs are missing."""
    if not available():
        pytest.skip(MISSING)
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> Iterator[str]:
    """The address of an empty database, once of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'catalog.sqlite'}"
        return
    server = request.getfixturevalue("postgres_server")
    url = server.fresh()
    yield url
    server.drop(url)


@pytest.fixture
def archive(tmp_path) -> Iterator[Archive]:
    """An empty archive."""
    archive = Archive(Settings(home=tmp_path / "home", threads=2))
    yield archive
    archive.close()


@pytest.fixture(scope="session")
def phantom(tmp_path_factory) -> Path:
    """A folder with `dicom/`, 12 slices of 96x96, and `phantom.nii.gz`, the same voxels."""
    folder = tmp_path_factory.mktemp("phantom")
    small = ct_chest(12, 96, 96)
    small.write_dicom(folder / "dicom")
    small.write_nifti(folder / "phantom.nii.gz")
    return folder


@pytest.fixture
def nifti(tmp_path) -> Path:
    """One float NIfTI file of 6 slices of 40x48 with a NaN."""
    values = np.random.default_rng(0).normal(size=(48, 40, 6)).astype(np.float32)
    values[3, 4, 5] = np.nan
    path = tmp_path / "values.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0])), path)
    return path


class LiveServer:
    """A real server in a thread."""

    def __init__(self, archive: Archive, url: str, password: str) -> None:
        self.archive, self.url, self.password = archive, url, password


@pytest.fixture
def live(archive) -> Iterator[LiveServer]:
    """The HTTP face over `archive`, on a free port of this machine."""
    password = archive.accounts.ensure_administrator()
    with running(archive) as url:
        yield LiveServer(archive, url, password)
