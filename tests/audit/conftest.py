"""An audit record over each kind of database."""

from collections.abc import Iterator

import pytest

from imarium.audit import Audit
from imarium.catalog import Catalog

SECRET = b"s" * 32


@pytest.fixture(scope="session")
def own_postgres():
    module = pytest.importorskip("imarium.testing.postgres", reason="no server of PostgreSQL for tests")
    if not module.available():
        pytest.skip(module.MISSING)
    with module.postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog_url(request, tmp_path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'catalog.sqlite'}"
        return
    server = request.getfixturevalue("own_postgres")
    url = server.fresh()
    yield url
    server.drop(url)


@pytest.fixture
def catalog(catalog_url) -> Iterator[Catalog]:
    catalog = Catalog(catalog_url)
    yield catalog
    catalog.close()


@pytest.fixture
def audit(catalog, tmp_path) -> Iterator[Audit]:
    audit = Audit(catalog, SECRET, tmp_path)
    yield audit
    audit.close()
