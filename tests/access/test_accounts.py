"""Passwords, tokens and pseudonyms."""

import stat
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from imarium.access import Accounts, pseudonym, site_secret
from imarium.catalog import Catalog
from imarium.errors import AuthenticationError, StorageError


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
