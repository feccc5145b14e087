"""The migration of people's tables, with what was there before."""

import json

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, event, inspect, text

from imarium.access import HOME, Accounts, Actor, Permissions, Role
from imarium.access.roles import Roles
from imarium.catalog import Catalog, NewSeries, PackRecord
from imarium.catalog import catalog as module
from imarium.errors import IntegrityError
from imarium.model import Series

FACTS = json.dumps(Series("1", "1.1", "nifti", 1, 4, 4, "int16").to_json())
OLD = """
INSERT INTO users VALUES (1, 'admin', 'hash', '2025-01-01'), (2, 'ann', 'hash', '2025-01-01');
INSERT INTO tokens VALUES (1, 2, 'digest', '2999-01-01');
INSERT INTO collections VALUES (1, 'a', '', '2025-01-01'), (2, 'b', '', '2025-01-01');
INSERT INTO studies VALUES (1, 1, NULL, '1.1', NULL, NULL), (2, 2, NULL, '1.2', NULL, NULL);
INSERT INTO packs VALUES
  (1, 'packs/a', 1, 'd', '2025-01-01', NULL), (2, 'packs/b', 1, 'd', '2025-01-01', NULL),
  (3, 'packs/left', 1, 'd', '2025-01-01', '2025-01-02'), (4, 'packs/mixed', 1, 'd', '2025-01-01', NULL);
INSERT INTO series VALUES
  (1, '1', '1', 1, 1, 0, 1, 1, '', 'CT', '{}', 1, 1, '2025-01-01'),
  (2, '2', '2', 2, 2, 0, 1, 1, '', 'CT', '{}', 1, 1, '2025-01-01'),
  (3, '3', '3', 1, 4, 0, 1, 1, '', 'CT', '{}', 1, 1, '2025-01-01'),
  (4, '4', '4', 2, 4, 1, 2, 1, '', 'CT', '{}', 1, 1, '2025-01-01');
"""


def _migrate(engine, target, up=True):
    config = Config()
    config.set_main_option("script_location", str(module._MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.upgrade if up else command.downgrade)(config, target)


@pytest.fixture
def old(tmp_path):
    """The address of a catalog as it was before, with something in it."""
    url = f"sqlite:///{tmp_path / 'old.sqlite'}"
    engine = create_engine(url)
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys=ON"))
    _migrate(engine, "0002")
    with engine.begin() as connection:
        for statement in OLD.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement.replace("'{}'", f"'{FACTS}'"))
    yield url, engine
    engine.dispose()


def test_what_was_there_goes_on(old):
    url, _ = old
    catalog = Catalog(url)
    accounts = {account.name: account for account in Accounts(catalog).all()}
    assert accounts["admin"].is_administrator
    assert not accounts["ann"].is_administrator
    assert accounts["ann"].standing == "approved"
    assert {record.visibility for record in catalog.collections()} == {"registered"}
    owners = {pack: catalog.get_pack(f"packs/{pack}").collection for pack in ("a", "b", "left", "mixed")}
    # Whose a pack was that nothing lives in any more, nobody can tell; nor one that two collections share.
    assert owners == {"a": 1, "b": 2, "left": None, "mixed": None}
    (login,) = Accounts(catalog).sessions.sessions(Accounts(catalog).actor("ann"))
    assert login.expires.year == 2999
    assert Permissions(catalog).check_pack(Actor(1, "admin", is_administrator=True), None) is False
    catalog.close()


def test_down_again_nobody_gets_in_who_was_out(old):
    url, engine = old
    catalog = Catalog(url)
    accounts = Accounts(catalog)
    accounts.register("waiting", "four plain words here")
    accounts.sessions.create_token(accounts.actor("ann"), "t", ["read"])
    accounts.disable("ann")
    accounts.add("bob", password="four plain words here")
    Roles(catalog).grant(HOME, "a", "bob", Role.OWNER)
    bob = accounts.login("bob", "four plain words here")
    accounts.sessions.create_token(accounts.actor("bob"), "t", ["read"])
    catalog.close()
    _migrate(engine, "0002", up=False)
    with engine.connect() as connection:
        assert set(connection.scalars(text("SELECT name FROM users"))) == {"admin", "bob"}
        assert connection.scalar(text("SELECT COUNT(*) FROM tokens")) == 1
        assert connection.scalar(text("SELECT COUNT(*) FROM series")) == 4
    assert "roles" not in inspect(engine).get_table_names()
    again = Catalog(url)
    assert Accounts(again).authenticate(bob.token).name == "bob"
    again.close()


def new(uid: str, pack: str) -> NewSeries:
    series = Series(uid, "1.2", "dicom", 10, 64, 64, "int16")
    return NewSeries(series, uid, 3, "why", 100, PackRecord(pack, 100, "d" * 64), (5, 9), (), None)


def test_a_pack_never_holds_series_of_two_collections(tmp_path):
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    catalog.add_series("a", new("1.1", "packs/shared"))
    with pytest.raises(IntegrityError, match="several collections"):
        catalog.add_series("b", new("1.2", "packs/shared"))
    assert catalog.series()[1] == 1
    catalog.add_series("a", new("1.3", "packs/shared"))
    # One that was left may come back anywhere: its content is what counts.
    catalog.replace_series(new("1.1", "packs/one"), "packs/shared")
    catalog.replace_series(new("1.3", "packs/two"), "packs/shared")
    catalog.add_series("b", new("1.4", "packs/shared"))
    assert catalog.get_pack("packs/shared").collection == catalog.get_series("1.4").collection_id
    catalog.close()
