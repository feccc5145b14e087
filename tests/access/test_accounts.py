"""Passwords, tokens and pseudonyms."""

import stat
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text

from imarium.access import Accounts, Actor, Scope, pseudonym, site_secret
from imarium.access.accounts import Standing
from imarium.catalog import Catalog
from imarium.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    StorageError,
)

GOOD = "four plain words here"


@pytest.fixture
def catalog(tmp_path):
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    yield catalog
    catalog.close()


def test_the_administrator_is_made_once(catalog):
    accounts = Accounts(catalog)
    password = accounts.ensure_administrator()
    assert password
    assert len(password) >= 16
    assert accounts.ensure_administrator() is None
    login = accounts.login("admin", password)
    assert accounts.authenticate(login.token).name == "admin"


def test_what_is_kept_reveals_neither_password_nor_token(catalog):
    accounts = Accounts(catalog)
    password = accounts.ensure_administrator()
    token = accounts.login("admin", password).token
    with catalog.session() as session:
        kept = str(session.execute(text("SELECT * FROM users")).all())
        kept += str(session.execute(text("SELECT * FROM tokens")).all())
    assert "$argon2id$" in kept
    assert password not in kept
    assert token not in kept


@pytest.mark.parametrize(("name", "password"), [("admin", "wrong"), ("nobody", "wrong")])
def test_wrong_credentials_give_the_same_answer(catalog, name, password):
    accounts = Accounts(catalog)
    accounts.ensure_administrator()
    with pytest.raises(AuthenticationError, match="wrong user name or password"):
        accounts.login(name, password)


def test_tokens_end(catalog):
    accounts = Accounts(catalog)
    password = accounts.ensure_administrator()
    first, second = accounts.login("admin", password), accounts.login("admin", password)
    accounts.logout(first.token)
    with pytest.raises(AuthenticationError):
        accounts.authenticate(first.token)
    assert accounts.authenticate(second.token).name == "admin"
    accounts.reset_password("admin")
    with pytest.raises(AuthenticationError):
        accounts.authenticate(second.token)
    with catalog.session() as session:
        session.execute(text("UPDATE tokens SET expires = '2020-01-01'"))
    with pytest.raises(AuthenticationError):
        accounts.authenticate(second.token)


def test_the_secret_stays_and_is_private(tmp_path):
    secret = site_secret(tmp_path / "home")
    assert site_secret(tmp_path / "home") == secret
    assert stat.S_IMODE((tmp_path / "home" / "secret").stat().st_mode) == 0o600
    (tmp_path / "home" / "secret").write_bytes(b"short")
    with pytest.raises(StorageError):
        site_secret(tmp_path / "home")


def test_pseudonyms_are_stable_and_keyed():
    assert pseudonym(bytes(32), "12345") == pseudonym(bytes(32), "12345")
    assert pseudonym(bytes(32), "12345") != pseudonym(b"x" * 32, "12345")
    assert "12345" not in pseudonym(bytes(32), "12345")
    assert pseudonym(bytes(32), None) is None
    assert pseudonym(bytes(32), "") is None


def test_many_logins_at_once_take_turns(catalog, monkeypatch):
    accounts = Accounts(catalog)
    accounts.ensure_administrator()
    running, most = [], []
    verify = accounts._passwords._hasher.verify

    class Watched:
        def verify(self, *arguments):
            running.append(1)
            most.append(len(running))
            time.sleep(0.01)
            try:
                return verify(*arguments)
            finally:
                running.pop()

    monkeypatch.setattr(accounts._passwords, "_hasher", Watched())

    def wrong(number):
        with pytest.raises(AuthenticationError):
            accounts.login(f"name{number}", "wrong")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(wrong, range(8)))
    assert max(most) <= 2


def test_an_account_waits_for_approval(catalog):
    accounts = Accounts(catalog)
    accounts.register("Ann", GOOD, "ann@example.org")
    with pytest.raises(AuthenticationError):
        accounts.login("ann", "wrong")
    with pytest.raises(PermissionDeniedError, match="waits"):
        accounts.login("ann", GOOD)
    accounts.approve("ann")
    login = accounts.login("ANN", GOOD)
    assert accounts.authenticate(login.token).name == "ann"
    accounts.disable("ann")
    with pytest.raises(AuthenticationError):
        accounts.authenticate(login.token)
    with pytest.raises(PermissionDeniedError, match="disabled"):
        accounts.login("ann", GOOD)
    assert accounts.get("ann").standing is Standing.DISABLED


def test_registering_a_name_that_is_taken_tells_and_changes_nothing(catalog):
    accounts = Accounts(catalog)
    accounts.add("ann", password=GOOD)
    accounts.register("ann", "quite another password", "thief@example.org")
    assert accounts.login("ann", GOOD)
    assert accounts.get("ann").email is None


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", "a-", "a/b", "ann\0", "x" * 101, "ännе", "a\nb"])
def test_names_that_cannot_be(catalog, name):
    with pytest.raises(InvalidRequestError):
        Accounts(catalog).add(name)


def test_there_is_always_an_administrator(catalog):
    accounts = Accounts(catalog)
    accounts.ensure_administrator()
    for change in (lambda: accounts.disable("admin"), lambda: accounts.set_administrator("admin", False)):
        with pytest.raises(InvalidRequestError, match="last administrator"):
            change()
    accounts.add("ann", is_administrator=True)
    accounts.disable("admin")
    assert accounts.ensure_administrator() is None


def test_tokens_have_scopes_and_an_end(catalog):
    accounts = Accounts(catalog)
    accounts.add("ann", password=GOOD)
    ann = accounts.actor("ann")
    made = accounts.sessions.create_token(ann, "a script", [Scope.READ, Scope.READ])
    actor = accounts.authenticate(made.token)
    assert (actor.name, actor.scopes) == ("ann", {Scope.READ})
    for name, scopes, days in (
        ("", [Scope.READ], 1),
        ("x", [], 1),
        ("x", [Scope.READ], 0),
        ("x", [Scope.READ], 367),
    ):
        with pytest.raises(InvalidRequestError):
            accounts.sessions.create_token(ann, name, scopes, timedelta(days=days))
    with pytest.raises(PermissionDeniedError):
        accounts.sessions.create_token(actor, "more", [Scope.WRITE])
    (record,) = accounts.sessions.tokens(ann)
    assert record.last_used is not None
    accounts.add("bob")
    with pytest.raises(NotFoundError):
        accounts.sessions.revoke(accounts.actor("bob"), record.number)
    accounts.sessions.revoke(ann, record.number)
    with pytest.raises(AuthenticationError):
        accounts.authenticate(made.token)


def test_ones_own_password_and_logins(catalog):
    accounts = Accounts(catalog)
    accounts.add("ann", password=GOOD)
    first, second = accounts.login("ann", GOOD), accounts.login("ann", GOOD)
    token = accounts.sessions.create_token(accounts.actor("ann"), "t", [Scope.READ])
    actor = accounts.authenticate(first.token)
    assert [record.is_current for record in accounts.sessions.sessions(actor)] == [True, False]
    with pytest.raises(AuthenticationError):
        accounts.change_password(actor, "wrong", "another good password")
    with pytest.raises(InvalidRequestError):
        accounts.change_password(actor, GOOD, "password")
    accounts.change_password(actor, GOOD, "another good password")
    assert accounts.authenticate(first.token)
    assert accounts.authenticate(token.token)
    with pytest.raises(AuthenticationError):
        accounts.authenticate(second.token)
    with pytest.raises(AuthenticationError):
        accounts.login("ann", GOOD)
    assert accounts.login("ann", "another good password")
    with pytest.raises(AuthenticationError):
        accounts.change_password(Actor(None, ""), GOOD, GOOD)
