"""Labels in the catalog, selections of series, and where their levels lie."""

import threading

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect, text

from imarium.catalog import Catalog, NewSeries, PackRecord
from imarium.catalog import catalog as module
from imarium.errors import InvalidRequestError, NotFoundError
from imarium.model import Selection, Series


@pytest.fixture
def catalog(database_url):
    catalog = Catalog(database_url)
    yield catalog
    catalog.close()


def new(uid: str, *, pack: str = "packs/a", start: int = 5, labels=None, **facts) -> NewSeries:
    facts = {"study_uid": "1.2", "modality": "CT"} | facts
    series = Series(uid, format="dicom", frames=10, rows=64, columns=64, dtype="int16", **facts)
    return NewSeries(
        series,
        uid,
        3,
        "why",
        100,
        PackRecord(pack, 100, "d" * 64),
        (start, start + 4),
        (),
        "S-1",
        labels or {},
    )


def uids(catalog, text: str) -> list[str]:
    return [item.series.uid for group in catalog.selected(Selection.parse(text)) for item in group]


def test_series_come_with_their_labels(catalog):
    catalog.add_together("c", [new("1", labels={"split": "train", "class": "covid"}), new("2", start=20)])
    assert dict(catalog.get_series("1").labels) == {"class": "covid", "split": "train"}
    assert list(catalog.get_series("1").labels) == ["class", "split"]
    assert [dict(record.labels) for record in catalog.series()[0]] == [
        {"class": "covid", "split": "train"},
        {},
    ]
    assert [dict(record.labels) for record in catalog.stacks("2")] == [{}]


def test_labels_are_set_changed_and_removed_on_selections(catalog):
    catalog.add_together("c", [new(str(n), start=10 * n, labels={"n": str(n)}) for n in range(4)])
    counts = catalog.label(
        [
            (Selection("c"), {"split": "train", "n": None}),
            (Selection(series=("1", "2", "gone")), {"split": "test"}),
            (Selection(labels={"split": "test"}), {"seen": "yes"}),
        ]
    )
    assert counts == [4, 2, 2]
    found = [dict(record.labels) for record in catalog.series()[0]]
    assert found == [{"split": "train"}, *2 * [{"seen": "yes", "split": "test"}], {"split": "train"}]
    catalog.replace_labels("1", {"only": "this"})
    assert dict(catalog.get_series("1").labels) == {"only": "this"}
    catalog.replace_labels("1", {})
    assert dict(catalog.get_series("1").labels) == {}
    with pytest.raises(NotFoundError):
        catalog.replace_labels("9", {})


def test_labels_are_changed_on_all_selections_or_none(catalog):
    catalog.add_together("c", [new("1")])
    for bad, error in [
        ((Selection(), {"1a": "x"}), InvalidRequestError),
        ((Selection(), {"1a": None}), InvalidRequestError),
        ((Selection(), {"a": ""}), InvalidRequestError),
        ((Selection(), {"a": "x" * 501}), InvalidRequestError),
        ((Selection(), {"a": "x\x00"}), InvalidRequestError),
        ((Selection(), {}), InvalidRequestError),
        ((Selection("nowhere"), {"a": "x"}), NotFoundError),
    ]:
        with pytest.raises(error):
            catalog.label([(Selection(), {"good": "x"}), bad])
    assert dict(catalog.get_series("1").labels) == {}
    with pytest.raises(InvalidRequestError):
        catalog.replace_labels("1", {"a": ""})


def test_growing_adds_labels_and_keeps_others(catalog):
    catalog.add_series("c", new("1", labels={"a": "1", "b": "1"}))
    catalog.replace_series(new("1", pack="packs/b", labels={"b": "2"}), "packs/a")
    assert dict(catalog.get_series("1").labels) == {"a": "1", "b": "2"}


def test_what_selections_select(catalog):
    catalog.add_together(
        "one",
        [
            new("1", pack="packs/b", body_part="CHEST", labels={"class": "covid", "split": "test"}),
            new("2", pack="packs/a", start=50, labels={"class": "covid"}),
            new("3", pack="packs/a", start=9, modality="MR", body_part="HEAD"),
        ],
    )
    catalog.add_together("two", [new("4", pack="packs/c", study_uid="1.3", modality=None)])
    assert uids(catalog, "") == ["3", "2", "1", "4"]  # by pack, then by the place in it
    assert uids(catalog, "one") == ["3", "2", "1"]
    assert uids(catalog, "modality=CT") == ["2", "1"]
    assert uids(catalog, "modality=ct") == []
    assert uids(catalog, "body_part=CHEST") == ["1"]
    assert uids(catalog, "label.class=covid") == ["2", "1"]
    assert uids(catalog, "label.class=covid label.split=test") == ["1"]
    assert uids(catalog, "label.split=covid") == []
    assert uids(catalog, "study=1.3") == ["4"]
    assert uids(catalog, "series=2 series=4 series=9") == ["2", "4"]
    assert uids(catalog, "series=2 series=4 study=1.2") == ["2"]
    assert uids(catalog, "two modality=CT") == []
    with pytest.raises(NotFoundError):
        uids(catalog, "three")
    (group,) = catalog.selected(Selection.parse("series=1"))
    (item,) = group
    assert (item.collection, item.subject, dict(item.labels)) == (
        "one",
        "S-1",
        {"class": "covid", "split": "test"},
    )
    assert (item.pack.key, item.index_span, item.spans) == ("packs/b", (5, 9), None)


def test_more_uids_than_a_statement_takes(catalog):
    catalog.add_together("c", [new(str(n), start=10 * n) for n in range(1300)])
    several = [str(n) for n in range(0, 1300, 2)]
    chosen = Selection(series=tuple(several), studies=("1.2", *map(str, range(1200))))
    groups = list(catalog.selected(chosen))
    assert [item.series.uid for group in groups for item in group] == several
    assert max(map(len, groups)) <= 500
    assert catalog.label([(chosen, {"half": "even"})]) == [650]


def test_spans_of_levels_are_kept_while_a_series_lies_in_its_pack(catalog):
    catalog.add_together("c", [new("1"), new("2", start=20)])
    ((one, two),) = catalog.selected(Selection())
    spans = [[(0, 10), (20, 30)], [(0, 3)]]
    catalog.keep_spans([(one.place, spans)])
    catalog.keep_spans([(one.place, spans), (two.place, [[(4, 5)]])])
    assert [item.spans for group in catalog.selected(Selection()) for item in group] == [spans, [[(4, 5)]]]
    catalog.replace_series(new("1", pack="packs/b"), "packs/a")
    assert [item.spans for group in catalog.selected(Selection()) for item in group] == [[[(4, 5)]], None]


def test_a_selection_is_as_it_was_at_one_moment(catalog):
    catalog.add_together("c", [new(str(n), start=10 * n, labels={"a": "old"}) for n in range(600)])
    groups = catalog.selected(Selection())
    first = next(groups)
    other = threading.Thread(target=lambda: catalog.label([(Selection(), {"a": "new"})]))
    other.start()
    other.join()
    assert {item.labels["a"] for item in [*first, *next(groups)]} == {"old"}
    assert next(groups, None) is None
    assert {item.labels["a"] for group in catalog.selected(Selection()) for item in group} == {"new"}


def test_a_catalog_of_the_first_schema_gets_labels_and_goes_back(database_url):
    url = database_url
    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(module._MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    assert "labels" not in inspect(engine).get_table_names()
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO collections VALUES (1, 'c', '', '2026-01-01')",
            "INSERT INTO packs VALUES (1, 'packs/a', 1, 'd', '2026-01-01', NULL)",
            "INSERT INTO studies VALUES (1, 1, NULL, '1.2', NULL, NULL)",
        ):
            connection.execute(text(statement))
        connection.execute(
            text(
                "INSERT INTO series VALUES (1, '1', '1', 1, 1, 5, 9, 1, '', NULL, :facts, 1, 1, '2026-01-01')"
            ),
            {
                "facts": '{"uid":"1","study_uid":"1.2","format":"png","frames":1,"rows":1,"columns":1,'
                '"dtype":"uint8"}'
            },
        )
    catalog = Catalog(url)
    assert catalog.label([(Selection("c"), {"class": "covid"})]) == [1]
    ((item,),) = catalog.selected(Selection())
    catalog.keep_spans([(item.place, [[(1, 2)]])])
    catalog.close()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    assert {"labels", "level_spans"}.isdisjoint(inspect(engine).get_table_names())
    again = Catalog(url)
    assert dict(again.get_series("1").labels) == {}
    again.close()
