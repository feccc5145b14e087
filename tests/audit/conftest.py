"""An audit record over each kind of database."""

from collections.abc import Iterator

import pytest

from imarium.audit import Audit
from imarium.catalog import Catalog

SECRET = b"s" * 32


@pytest.fixture
def catalog(database_url) -> Iterator[Catalog]:
    catalog = Catalog(database_url)
    yield catalog
    catalog.close()


@pytest.fixture
def audit(catalog, tmp_path) -> Iterator[Audit]:
    audit = Audit(catalog, SECRET, tmp_path)
    yield audit
    audit.close()
