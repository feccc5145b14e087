"""Guessing gets slow."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text, update

from imarium.access import Accounts
from imarium.access import throttle as module
from imarium.access.throttle import FREE, Throttle, wait_after
from imarium.catalog import Catalog
from imarium.catalog.people import Attempts
from imarium.catalog.tables import now
from imarium.errors import AuthenticationError, TooManyAttemptsError


@pytest.fixture
def catalog(tmp_path):
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    yield catalog
    catalog.close()


@pytest.fixture
def throttle(catalog):
    return Throttle(catalog, b"k" * 32)


def pass_time(catalog, **lapse):
    """As if all attempts had been longer ago."""
    with catalog.session() as session:
        for row in session.query(Attempts):
            row.last -= timedelta(**lapse)
            row.blocked_until -= timedelta(**lapse)


@pytest.fixture
def slowly(monkeypatch):
    """Waits that outlast any pause of the machine."""
    monkeypatch.setattr(module, "_FIRST_WAIT", timedelta(minutes=2))


def test_waits_double_up_to_a_limit():
    assert [wait_after(n, 5).total_seconds() for n in (1, 4, 5, 6, 7)] == [0, 0, 1, 2, 4]
    assert wait_after(10_000, 5) == timedelta(minutes=15)


def test_an_account_has_to_wait(throttle, catalog, slowly):
    for _ in range(FREE["account"]):
        throttle.begin(account="ann")
    with pytest.raises(TooManyAttemptsError) as refused:
        throttle.begin(account="ann")
    assert 60 < refused.value.seconds <= 120
    throttle.begin(account="bob")
    pass_time(catalog, minutes=5)
    throttle.begin(account="ann")
    with pytest.raises(TooManyAttemptsError) as refused:
        throttle.begin(account="ann")
    assert 120 < refused.value.seconds <= 240
    throttle.succeeded(account="ann")
    throttle.begin(account="ann")


def test_a_day_later_all_is_forgotten(throttle, catalog, slowly):
    for _ in range(FREE["account"]):
        throttle.begin(account="ann")
    pass_time(catalog, hours=25)
    for _ in range(FREE["account"]):
        throttle.begin(account="ann")
    with pytest.raises(TooManyAttemptsError):
        throttle.begin(account="ann")


def test_an_address_has_to_wait_whatever_names_it_tries(throttle, slowly):
    for number in range(FREE["address"]):
        throttle.begin(account=f"name{number}", address="203.0.113.5")
    with pytest.raises(TooManyAttemptsError):
        throttle.begin(account="another", address="203.0.113.5")
    throttle.begin(account="another", address="203.0.113.6")


def test_success_takes_back_its_own_attempt_and_no_more(throttle, catalog, slowly):
    for _ in range(FREE["address"] + 5):
        throttle.begin(address="a")
        throttle.take_back(address="a")
    for number in range(FREE["address"] - 1):
        throttle.begin(address="a", account=str(number))
    throttle.begin(address="a")
    with pytest.raises(TooManyAttemptsError):
        throttle.begin(address="a")
    pass_time(catalog, minutes=5)
    throttle.begin(address="a")
    throttle.take_back(address="a")
    throttle.begin(address="a")  # one more guess, and no more
    with pytest.raises(TooManyAttemptsError):
        throttle.begin(address="a")


def test_many_at_once_gain_nothing(catalog, tmp_path, slowly):
    """Several processes: each with a catalog of its own."""
    catalogs = [Catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}") for _ in range(4)]
    barrier = threading.Barrier(16)

    def attempt(number):
        barrier.wait()
        try:
            Throttle(catalogs[number % 4], b"k" * 32).begin(account="ann")
        except TooManyAttemptsError:
            return 0
        return 1

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(16))) == FREE["account"]
    for other in catalogs:
        other.close()


def test_names_are_not_kept(throttle, catalog):
    throttle.begin(account="a password typed as a name", address="203.0.113.5")
    with catalog.session() as session:
        kept = str(session.execute(text("SELECT * FROM attempts")).all())
    assert "typed" not in kept
    assert "203" not in kept


def test_unknown_accounts_are_answered_like_known_ones(catalog, slowly):
    accounts = Accounts(catalog)
    accounts.add("ann", password="four plain words here")
    answers = {}
    for name in ("ann", "nobody"):
        answers[name] = []
        for _ in range(FREE["account"] + 2):
            try:
                accounts.login(name, "wrong")
            except (AuthenticationError, TooManyAttemptsError) as error:
                answers[name].append((type(error), str(error).partition(" in ")[0]))
    assert answers["ann"] == answers["nobody"]
    with pytest.raises(TooManyAttemptsError):
        accounts.login("ann", "four plain words here")
    with catalog.session() as session:
        session.execute(update(Attempts).values(blocked_until=now()))
    assert accounts.login("ann", "four plain words here")
    with catalog.session() as session:
        assert session.query(Attempts).count() == 1  # of the one who is not there
