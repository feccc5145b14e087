"""The catalog: pages, stacks, sources, tombstones and migrations."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from imarium.catalog import Catalog, NewSeries, PackRecord
from imarium.catalog import catalog as module
from imarium.catalog.tables import Base
from imarium.errors import ConcurrentWriteError, NotFoundError, StorageError
from imarium.model import Series, SourceFile


@pytest.fixture
def catalog(database_url):
    catalog = Catalog(database_url)
    yield catalog
    catalog.close()


def new(
    uid: str, *, study="1.2", modality="CT", base=None, files=(), pack=None, pseudonym="S-1"
) -> NewSeries:
    series = Series(uid, study, "dicom", 10, 64, 64, "int16", modality=modality, study_description="Chest")
    key = pack or f"packs/{uid}"
    return NewSeries(
        series, base or uid, 3, "why", 100, PackRecord(key, 100, "d" * 64), (5, 9), files, pseudonym
    )


def file(digest: str, size: int = 40) -> SourceFile:
    return SourceFile(Path("x"), size, digest, "1.2.3")


def test_counts_and_pages(catalog):
    catalog.ensure_collection("chest", "Chests")
    catalog.ensure_collection("chest")
    catalog.ensure_collection("empty")
    for number in range(5):
        catalog.add_series("chest", new(f"1.{number}", study=f"9.{number // 2}", files=(file(str(number)),)))
    chest, empty = catalog.collections()
    assert (chest.name, chest.description, chest.studies, chest.series) == ("chest", "Chests", 3, 5)
    assert (chest.source_bytes, chest.stored_bytes) == (200, 500)
    assert (empty.series, empty.source_bytes) == (0, 0)
    page, total = catalog.series(collection="chest", offset=1, limit=2)
    assert ([record.series.uid for record in page], total) == (["1.1", "1.2"], 5)
    assert catalog.series(study="9.2")[1] == 1
    studies, total = catalog.studies("chest", 0, 2)
    assert ([study.series for study in studies], total) == ([2, 2], 3)
    assert studies[0].modalities == ("CT",)
    assert studies[0].subject == "S-1"
    assert catalog.studies("empty", 0, 10) == ([], 0)


def test_facts_come_back_as_they_went_in(catalog):
    catalog.ensure_collection("c")
    item = new("1.5")
    catalog.add_series("c", item)
    record = catalog.get_series("1.5")
    assert record.series == item.series
    assert record.pack == item.pack
    assert record.index_span == (5, 9)
    with pytest.raises(NotFoundError):
        catalog.get_series("1.6")


def test_the_same_uid_twice_is_a_concurrent_write_and_leaves_nothing(catalog):
    catalog.ensure_collection("c")
    catalog.add_series("c", new("1.5"))
    with pytest.raises(ConcurrentWriteError):
        catalog.add_series("c", new("1.5", pack="packs/other", study="7.7"))
    assert [pack.key for pack in catalog.packs()] == ["packs/1.5"]
    assert catalog.studies(None, 0, 10)[1] == 1


def test_stacks_of_one_source_series(catalog):
    catalog.ensure_collection("c")
    catalog.add_series("c", new("1.5"))
    catalog.add_series("c", new("1.5-2", base="1.5"))
    assert [record.series.uid for record in catalog.stacks("1.5")] == ["1.5", "1.5-2"]


def test_sources_are_known_by_content(catalog):
    catalog.ensure_collection("c")
    catalog.add_series("c", new("1.5", files=(file("a"), file("b"))))
    catalog.add_sources("1.5", [file("c"), file("a")])
    assert catalog.known_sources(["a", "c", "zz"]) == {"a": ("1.5", "c"), "c": ("1.5", "c")}
    assert catalog.get_series("1.5").source_bytes == 80


def test_growing_leaves_a_tombstone(catalog):
    catalog.ensure_collection("c")
    catalog.add_series("c", new("1.5", files=(file("a"),)))
    catalog.replace_series(new("1.5", pack="packs/second", files=(file("b"),)), "packs/1.5")
    assert [pack.key for pack in catalog.packs()] == ["packs/second"]
    assert catalog.get_pack("packs/1.5").key == "packs/1.5"  # readers of an old manifest still find it
    assert catalog.get_series("1.5").source_bytes == 80
    with pytest.raises(ConcurrentWriteError):
        catalog.replace_series(new("8.8"), "packs/second")


def test_series_of_one_pack_become_known_together_or_not_at_all(catalog):
    shared = [new(f"1.{number}", pack="packs/shared", files=(file(str(number)),)) for number in range(3)]
    catalog.add_together("c", shared)
    assert [pack.key for pack in catalog.packs()] == ["packs/shared"]
    assert catalog.series()[1] == 3
    assert catalog.studies("c", 0, 10)[1] == 1
    with pytest.raises(ConcurrentWriteError):
        catalog.add_together("c", [new("1.7", files=(file("7"),)), new("1.1", pack="packs/other")])
    assert catalog.series()[1] == 3
    assert catalog.known_sources(["7"]) == {}


def test_a_file_of_two_series_counts_for_the_first(catalog):
    catalog.add_series("c", new("1.0", files=(file("old"),)))
    catalog.add_together("c", [new("1.1", files=(file("a"), file("old"))), new("1.2", files=(file("a"),))])
    assert catalog.known_sources(["a", "old"]) == {"a": ("1.1", "c"), "old": ("1.0", "c")}
    assert [record.source_bytes for record in catalog.series()[0]] == [40, 40, 0]


def test_many_studies_and_subjects_in_one_commit(catalog):
    catalog.add_together(
        "c",
        [new(f"1.{n}", study=f"9.{n // 2}", pseudonym=f"S-{n // 4}", pack="packs/p") for n in range(8)],
    )
    studies, total = catalog.studies("c", 0, 10)
    assert total == 4
    assert [study.subject for study in studies] == ["S-0", "S-0", "S-1", "S-1"]
    assert [study.series for study in studies] == [2] * 4


def test_a_shared_pack_gets_its_tombstone_when_its_last_series_has_left(catalog):
    catalog.add_together("c", [new(f"1.{number}", pack="packs/shared") for number in range(2)])
    catalog.replace_series(new("1.0", pack="packs/first"), "packs/shared")
    assert [pack.key for pack in catalog.packs()] == ["packs/shared", "packs/first"]
    assert catalog.get_series("1.1").pack.key == "packs/shared"
    catalog.replace_series(new("1.1", pack="packs/second"), "packs/shared")
    assert [pack.key for pack in catalog.packs()] == ["packs/first", "packs/second"]


def test_growing_from_a_pack_that_was_replaced_meanwhile_is_refused(catalog):
    catalog.ensure_collection("c")
    catalog.add_series("c", new("1.5", files=(file("a"),)))
    catalog.replace_series(new("1.5", pack="packs/theirs", files=(file("b"),)), "packs/1.5")
    with pytest.raises(ConcurrentWriteError):
        catalog.replace_series(new("1.5", pack="packs/ours", files=(file("c"),)), "packs/1.5")
    assert [pack.key for pack in catalog.packs()] == ["packs/theirs"]
    assert catalog.known_sources(["a", "b", "c"]).keys() == {"a", "b"}


def test_first_commands_at_once_find_one_schema(database_url):
    url = database_url
    with ThreadPoolExecutor(6) as pool:
        catalogs = list(pool.map(lambda _: Catalog(url), range(6)))
    for catalog in catalogs:
        assert catalog.collections() == []
        catalog.close()


def _ours(name: str, kind: str, _parents: object) -> bool:
    """Full-text indexes are the databases' own."""
    return not (name or "").startswith("search_index") and (kind, name) not in (
        ("column", "vector"),
        ("index", "ix_search_texts_vector"),
    )


def test_migrations_give_the_tables(catalog, database_url):
    engine = create_engine(database_url)
    with engine.connect() as connection:
        assert (
            compare_metadata(
                MigrationContext.configure(connection, opts={"include_name": _ours}), Base.metadata
            )
            == []
        )


def test_migrations_go_both_ways(database_url):
    url = database_url
    Catalog(url).close()
    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(module._MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    Catalog(url).ensure_collection("again")


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "catalog.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError):
        Catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
