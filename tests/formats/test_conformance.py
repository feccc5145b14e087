"""Every reader keeps the promises of `imarium.testing.readers`."""

from __future__ import annotations

import pytest

from imarium.formats import readers
from imarium.formats.base import Reader
from imarium.testing.readers import ReaderConformance
from imarium.testing.samples import SAMPLES


@pytest.fixture(params=readers(), ids=lambda reader: reader.name)
def reader(request: pytest.FixtureRequest) -> Reader:
    found: Reader = request.param
    return found


class TestEveryReader(ReaderConformance):
    pass


def test_every_reader_has_samples() -> None:
    assert {reader.name for reader in readers()} == set(SAMPLES)
