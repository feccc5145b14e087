"""Fixtures of tests of the faces."""

import pytest


@pytest.fixture
def stored(live, phantom):
    """UIDs of the phantom's series on a server, by the format of their source."""
    outcomes = list(live.archive.ingest.run([phantom], collection="c"))
    return {
        live.archive.catalog.get_series(uid).series.format: uid
        for uid in {outcome.series for outcome in outcomes}
    }
