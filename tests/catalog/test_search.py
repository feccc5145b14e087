"""Searches on both databases: queries against a plain reading of them, facets, orders, pages, changes."""

import dataclasses
import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, delete

from imarium.catalog import Catalog, NewSeries, PackRecord
from imarium.catalog.indexing import index_series
from imarium.catalog.search.columns import CHUNK
from imarium.catalog.search.paging import Order
from imarium.catalog.tables import Collection, Label, SeriesRow
from imarium.errors import InvalidRequestError, QuerySyntaxError
from imarium.model import Selection, Series
from imarium.model.details import Concept, ConceptKind, Details
from imarium.model.query import And, Between, Compare, Is, Not, Or, Present, Term, Text, quoted
from imarium.model.query_parser import parse
from imarium.model.words import words


@pytest.fixture
def catalog(database_url):
    catalog = Catalog(database_url)
    yield catalog
    catalog.close()


def new(
    uid: str, *, study="1.2", labels=None, attributes=None, concepts=(), pseudonym="S-1", **facts
) -> NewSeries:
    facts = {"modality": "CT"} | facts
    series = Series(
        uid, study, "dicom", frames=facts.pop("frames", 10), rows=64, columns=64, dtype="int16", **facts
    )
    details = Details(
        {key: value if isinstance(value, tuple) else (value,) for key, value in (attributes or {}).items()},
        concepts,
    )
    pack = PackRecord(f"packs/{uid}", 100, "d" * 64)
    return NewSeries(series, uid, 3, "why", 100, pack, (5, 9), (), pseudonym, labels or {}, details)


def uids(catalog, query: str, **options) -> list[str]:
    return sorted(
        record.series.uid for record in catalog.searching.search(parse(query), limit=1000, **options).records
    )


LUNG = Concept(
    ConceptKind.DIAGNOSIS, "ICD10CM", "C34.11", "Malignant neoplasm of upper lobe, right bronchus or lung"
)
REGION = Concept(ConceptKind.ANATOMY, "SCT", "39607008", "Lung structure")


@pytest.fixture
def filled(catalog):
    catalog.add_together(
        "chests",
        [
            new(
                "1",
                study="9.1",
                study_date="20190305",
                body_part="CHEST",
                description="Thorax with ground-glass",
                study_description="Follow up",
                labels={"class": "covid", "score": "0.7"},
                attributes={
                    "Manufacturer": "SIEMENS Healthineers",
                    "PatientAge": "061Y",
                    "PatientSex": "F",
                    "SliceThickness": 1.5,
                    "KVP": 120.0,
                    "EchoTime": 80.5,
                    "ImageType": ("ORIGINAL", "PRIMARY", "AXIAL"),
                },
                concepts=(LUNG, REGION),
            ),
            new(
                "2",
                study="9.2",
                study_date="20211231",
                body_part="ABDOMEN",
                description="Liver contrast",
                labels={"class": "healthy"},
                attributes={
                    "Manufacturer": "GE MEDICAL SYSTEMS",
                    "PatientAge": "006M",
                    "PatientSex": "M",
                    "KVP": 80.0,
                },
                pseudonym="S-2",
            ),
        ],
    )
    catalog.add_series(
        "heads", new("3", study="9.3", modality="MR", pseudonym=None, description="Spleen glass ground")
    )
    return catalog


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "123"),
        ("modality:ct", "12"),
        ("modality:CT,MR", "123"),
        ("-modality:CT", "3"),
        ("modality:U*", ""),
        ("modality:M*", "3"),
        ("bodypart:chest", "1"),
        ("BodyPartExamined:chest", "1"),
        ("manufacturer:siemens", "1"),
        ("manufacturer:=siemens", ""),
        ("vendor:medical", "2"),
        ("age:>60", "1"),
        ("age:>61", ""),
        ("age:6m", "2"),
        ("age:<1", "2"),
        ("sex:F", "1"),
        ("sex:*", "12"),
        ("date:2019..2021", "12"),
        ("date:2019-03", "1"),
        ("date:>2019", "2"),
        ("thickness:<=1.5", "1"),
        ("SliceThickness:>2", ""),
        ("thickness:*", "1"),
        ("frames:10", "123"),
        ("kvp:>100", "1"),
        ("KVP:80", "2"),
        ("kvp:80..120", "12"),
        ("kvp:80,120", "12"),
        ("kvp:*", "12"),
        ("EchoTime:80.5", "1"),
        ("EchoTime:8*", "1"),
        ("EchoTrainLength:3", ""),
        ("ImageType:axial", "1"),
        ("ImageType:=AXIAL,=x", "1"),
        ("glass", "13"),
        ('"ground glass"', "1"),
        ('"up ground"', ""),
        ("ground gla*", "13"),
        ("-glass", "2"),
        ("liver OR spleen", "23"),
        ("(liver OR spleen) -contrast", "3"),
        ("siemens", "1"),
        ("covid", "1"),
        ('"upper lobe"', "1"),
        ("description:glass -description:spleen", "1"),
        ("description:covid", ""),
        ("label.class:covid", "1"),
        ("label.class:*", "12"),
        ("label.score:>0.5", "1"),
        ("label.score:>0.7", ""),
        ("label.none:x", ""),
        ("code:icd10:C34", "1"),
        ("code:icd10:=C34", ""),
        ("code:=icd10:C34", ""),
        ("code:=icd10:C34.11", "1"),
        ("code:icd10:c3411", "1"),
        ("code:icd10:C35", ""),
        ("code:icd10:C30-C39", "1"),
        ("code:sct:39607008", "1"),
        ("code:39607008", "1"),
        ("diagnosis:neoplasm", "1"),
        ("diagnosis:lung", "1"),
        ("anatomy:lung", "1"),
        ("organ:lung", ""),
        ("collection:chests", "12"),
        ("collection:che*", "12"),
        ("collection:che", ""),
        ("series:2", "2"),
        ("study:9.*", "123"),
        ("study:9.3,9.2", "23"),
        ("subject:S-1", "1"),
        ("has:label", "12"),
        ("has:report", ""),
        ("has:age", "12"),
        ("has:kvp", "12"),
        ("-has:code", "23"),
        ("format:dicom bytes:100", "123"),
    ],
)
def test_what_queries_find(filled, query, expected):
    assert uids(filled, query) == list(expected)


@pytest.mark.parametrize(
    ("query", "position", "says"),
    [
        ("glass modalty:CT", 6, "modality"),
        ("EchoTim:3", 0, "EchoTime"),
        ("a qqqqqqq:3", 2, "quotes"),
        ("age:old", 0, "60"),
        ("date:2019-13", 0, "2019-03"),
        ("series:>3", 0, "whole"),
        ("description:>3", 0, "text"),
        ("has:3..4", 0, "names"),
        ("has:report,nothingness", 0, "nothingness"),
        ("kvp:high..low", 0, "number"),
        ("thickness:1*", 0, "range"),
    ],
)
def test_queries_that_make_no_sense_say_where(filled, query, position, says):
    with pytest.raises(QuerySyntaxError, match=says) as caught:
        uids(filled, query)
    assert caught.value.position == position


def test_totals_and_facets(filled):
    found = filled.searching.search(
        parse("modality:CT"),
        facets=["modality", "manufacturer", "sex", "age", "year", "collection", "label.class", "dx", "KVP"],
    )
    assert found.total == 2
    counted = {name: [(item.value, item.count) for item in values] for name, values in found.facets.items()}
    assert (
        counted
        == {
            "modality": [("CT", 2)],
            "manufacturer": [("GE MEDICAL SYSTEMS", 1), ("SIEMENS Healthineers", 1)],
            "sex": [("F", 1), ("M", 1)],
            "age": [("0..9", 1), ("60..69", 1)],
            "date": [("2019", 1), ("2021", 1)],
            "collection": [("chests", 2)],
            "label.class": [("covid", 1), ("healthy", 1)],
            "diagnosis": [(LUNG.meaning, 1)],
            "KVP": [("120", 1), ("80", 1)],
        }
        or counted["manufacturer"][::-1]
    )
    for values in found.facets.values():
        for item in values:  # each facet finds what it counted
            assert filled.searching.search(parse(f"modality:CT {item.query}")).total == item.count
    total, facets = filled.searching.facets()
    assert total == 3
    assert [(item.value, item.count) for item in facets["modality"]] == [("CT", 2), ("MR", 1)]
    with pytest.raises(InvalidRequestError):
        filled.searching.facets(names=["nothing"])


def test_attributes_that_can_be_asked_for(filled):
    listed = {item.name: item for item in filled.searching.attributes()}
    assert listed["KVP"].kind == "number"
    assert listed["ImageType"].kind == "text"
    assert {"modality", "age", "label.class", "code"} <= listed.keys()
    for name in listed:
        filled.searching.search(parse(f"has:{name}" if name not in ("has", "description", "report") else ""))


def test_only_collections_that_may_be_read_count(filled):
    with filled.session() as session:
        numbers = {row.name: row.id for row in session.query(Collection)}
    search = filled.searching.search
    assert uids(filled, "", within=[numbers["heads"]]) == ["3"]
    assert uids(filled, "glass", within=[numbers["heads"], 999]) == ["3"]
    assert uids(filled, "-modality:XX", within=[]) == []
    found = search(
        parse("glass"), facets=["collection", "modality", "label.class"], within=[numbers["heads"]]
    )
    assert found.total == 1
    assert [item.value for item in found.facets["collection"]] == ["heads"]
    assert found.facets["label.class"] == ()


def test_changes_are_found_at_once(filled):
    assert uids(filled, "label.class:covid") == ["1"]
    filled.label([(Selection(series=("3",)), {"class": "covid"})])
    assert uids(filled, "label.class:covid") == ["1", "3"]
    assert uids(filled, "covid") == ["1", "3"]
    filled.replace_labels("1", {})
    assert uids(filled, "covid") == ["3"]
    grown = new("2", study="9.2", description="Kidney", frames=20, labels={"a": "nodule"})
    filled.replace_series(dataclasses.replace(grown, pack=PackRecord("packs/2b", 1, "e" * 64)), "packs/2")
    assert uids(filled, "kidney frames:>10 nodule") == ["2"]
    assert uids(filled, "contrast") == []
    filled.add_series("heads", new("4", description="glass"))
    assert uids(filled, "glass") == ["1", "3", "4"]


def test_what_is_deleted_is_not_found(filled, database_url):
    assert uids(filled, "glass") == ["1", "3"]
    with filled.session() as session:
        session.execute(delete(Label))
        session.execute(delete(SeriesRow).where(SeriesRow.uid == "1"))
    assert uids(filled, "glass") == ["3"]
    assert uids(filled, "modality:CT") == ["2"]
    assert filled.searching.facets()[0] == 2
    with create_engine(database_url).connect() as connection:
        for table in ("search_rows", "search_texts"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 2


def test_pages_do_not_shift_while_series_arrive(catalog):
    catalog.add_together("c", [new(f"{n:03}", study_date=f"20{n % 7 + 10}0101") for n in range(50)])
    for order in Order:
        seen: list[str] = []
        cursor = None
        whole = [
            record.series.uid
            for record in catalog.searching.search(parse("modality:CT"), order=order, limit=1000).records
        ]
        for number in range(100):
            found = catalog.searching.search(parse("modality:CT"), order=order, limit=7, after=cursor)
            seen += [record.series.uid for record in found.records]
            catalog.add_series("c", new(f"{order}-{number}", study_date="20130101"))
            cursor = found.next
            if cursor is None:
                break
        assert seen == whole


def test_orders(filled):
    def order(name, query=""):
        return [
            record.series.uid for record in filled.searching.search(parse(query), order=Order(name)).records
        ]

    assert order("newest") == ["3", "2", "1"]
    assert order("oldest") == ["1", "2", "3"]
    assert order("date") == ["2", "1", "3"]
    assert order("age") == ["1", "2", "3"]
    filled.label([(Selection(series=("3",)), {"finding": "liver"})])
    assert order("relevance", "liver") == ["2", "3"]
    assert order("newest", "liver") == ["3", "2"]


def test_cursors_of_other_queries_are_refused(catalog):
    catalog.add_together("c", [new(str(n)) for n in range(5)])
    search = catalog.searching.search
    token = search(parse("modality:CT"), limit=2).next
    assert search(parse("modality:CT"), limit=2, after=token).records
    for query, order, text in [
        ("modality:MR", Order.NEWEST, token),
        ("modality:CT", Order.OLDEST, token),
        ("modality:CT", Order.NEWEST, token[:-4]),
        ("modality:CT", Order.NEWEST, ""),
        ("modality:CT", Order.NEWEST, "é"),
        ("modality:CT", Order.NEWEST, "W10"),
        ("modality:CT", Order.NEWEST, "x" * 1000),
    ]:
        with pytest.raises(InvalidRequestError):
            search(parse(query), order=order, after=text)
    with pytest.raises(InvalidRequestError):
        search(limit=5000)


def test_a_selection_can_be_a_query(filled):
    def selected(selection):
        return sorted(item.series.uid for group in filled.selected(selection) for item in group)

    assert selected(Selection(query="glass")) == ["1", "3"]
    assert selected(Selection("chests", query="glass")) == ["1"]
    assert selected(Selection(series=("1", "2"), query="-glass")) == ["2"]
    assert selected(Selection(query="modality:XA")) == []
    assert selected(Selection.parse('chests query="age:>60 OR \\"liver contrast\\""')) == ["1", "2"]
    assert filled.label([(Selection(query="glass"), {"seen": "yes"})]) == [2]
    with pytest.raises(QuerySyntaxError):
        selected(Selection(query="modalty:CT"))


def test_more_chunks_than_one(catalog, database_url):
    """Numbers of series have gaps, and lie in chunks that are read apart."""
    catalog.add_series("c", new("1"))
    with catalog.session() as session:
        row = session.query(SeriesRow).one()
        for number in (CHUNK - 1, CHUNK, 40 * CHUNK + 5):
            values = {c.key: getattr(row, c.key) for c in SeriesRow.__table__.columns}
            facts = row.facts | {"uid": f"n{number}"}
            session.add(SeriesRow(**values | {"id": number, "uid": f"n{number}", "facts": facts}))
        session.flush()
        rows = session.query(SeriesRow).filter(SeriesRow.uid != "1").all()
        index_series(session, [(r, new(r.uid, modality="MR").series, Details()) for r in rows])
    assert len(uids(catalog, "modality:MR")) == 3
    assert catalog.searching.facets(parse("modality:MR"))[0] == 3
    catalog.label([(Selection(series=(f"n{40 * CHUNK + 5}",)), {"a": "b"})])
    assert uids(catalog, "has:label") == [f"n{40 * CHUNK + 5}"]


def test_threads_see_whole_moments(catalog):
    """Every answer is of one moment, whatever other threads read and write meanwhile."""
    catalog.add_together("c", [new(f"{n}") for n in range(20)])
    wrong: list[object] = []

    def look() -> None:
        for _ in range(15):
            found = catalog.searching.search(parse("modality:CT"), facets=["modality"], limit=1000)
            counted = sum(item.count for item in found.facets["modality"])
            if not found.total == counted == len(found.records) or found.total % 5:
                wrong.append((found.total, counted))

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(8):
        catalog.add_together("c", [new(f"x{number}-{n}") for n in range(5)])
    for reader in readers:
        reader.join()
    assert wrong == []


def test_texts_with_odd_characters(catalog):
    texts = [
        "Über T1_weighted",
        "мозг",
        "脑 CT",
        "1e5 3d 0x1f",
        "a\x00b",
        "٣ ² ½",
        "straße 'q' & | ! :*",
        "한국",
    ]
    catalog.add_together("c", [new(f"{n}", description=text, modality=None) for n, text in enumerate(texts)])
    for number, text in enumerate(texts):
        for word in words(text):
            assert str(number) in uids(catalog, quoted(word)), word
        assert str(number) in uids(catalog, quoted(text.replace("\x00", " "))), text


# --- against a plain reading of the query ---------------------------------------------------------------

WORDS = ["lung", "liver", "glass", "ground", "t1"]
text_of = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)


@dataclass
class Item:
    modality: str | None
    age: int | None
    thickness: float | None
    kvp: float | None
    description: str
    label: str | None
    uid: str = field(default="")

    def new(self) -> NewSeries:
        attributes = {}
        if self.age is not None:
            attributes["PatientAge"] = f"{self.age:03}Y"
        if self.thickness is not None:
            attributes["SliceThickness"] = self.thickness
        if self.kvp is not None:
            attributes["KVP"] = self.kvp
        labels = {} if self.label is None else {"class": self.label}
        return new(
            self.uid,
            modality=self.modality,
            description=self.description or None,
            attributes=attributes,
            labels=labels,
        )


items = st.builds(
    Item,
    st.sampled_from([None, "CT", "MR", "US"]),
    st.none() | st.integers(0, 120),
    st.sampled_from([None, 0.5, 1.0, 1.5, 5.0]),
    st.sampled_from([None, 80.0, 100.0, 120.0]),
    text_of,
    st.sampled_from([None, "lung", "liver", "ground glass"]),
)
numbers = st.sampled_from(["0.5", "1", "1.5", "60", "80", "100"])
number_tests = st.one_of(
    st.builds(Is, numbers),
    st.builds(Compare, st.sampled_from([">", ">=", "<", "<="]), numbers),
    st.builds(Between, numbers, numbers),
    st.just(Present()),
)
leaves = st.one_of(
    st.builds(Text, st.lists(st.sampled_from(WORDS), min_size=1, max_size=2).map(" ".join)),
    st.builds(Text, st.sampled_from(["l", "li", "gro", "lung gl"]), st.just(True)),
    st.builds(
        Term,
        st.just("modality"),
        st.lists(st.sampled_from(["CT", "MR", "XX"]).map(Is), min_size=1, max_size=2).map(tuple),
    ),
    st.builds(Term, st.sampled_from(["age", "thickness", "KVP"]), number_tests.map(lambda test: (test,))),
    st.builds(
        Term,
        st.just("label.class"),
        st.sampled_from([Is("lung"), Is("glass"), Is("l", prefix=True), Present()]).map(lambda t: (t,)),
    ),
    st.builds(
        Term, st.just("description"), st.sampled_from(["lung", "ground glass"]).map(Is).map(lambda t: (t,))
    ),
)
nodes = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda found: And(tuple(found))),
        st.lists(inner, min_size=2, max_size=3).map(lambda found: Or(tuple(found))),
        st.builds(Not, inner),
    ),
    max_leaves=6,
)


def in_a_row(text: str, wanted: str, prefix: bool) -> bool:
    padded = f" {' '.join(words(text))} "
    return f" {wanted}{'' if prefix else ' '}" in padded


def plainly(node, item: Item) -> bool:
    match node:
        case And():
            return all(plainly(inner, item) for inner in node.items)
        case Or():
            return any(plainly(inner, item) for inner in node.items)
        case Not():
            return not plainly(node.node, item)
        case Text():
            others = f"{item.modality or ''} dicom"
            labels = "" if item.label is None else f"class {item.label}"
            age = "" if item.age is None else f"{item.age:03}Y"
            return any(
                in_a_row(text, node.value, node.prefix) for text in (item.description, labels, others, age)
            )
        case Term(key="modality"):
            return any(test.value == item.modality for test in node.tests)
        case Term(key="description"):
            return in_a_row(item.description, node.tests[0].value, False)
        case Term(key="label.class"):
            (test,) = node.tests
            if isinstance(test, Present):
                return item.label is not None
            return item.label is not None and in_a_row(item.label, test.value, test.prefix)
    value = {"age": item.age, "thickness": item.thickness, "KVP": item.kvp}[node.key]
    (test,) = node.tests
    if value is None:
        return False
    match test:
        case Present():
            return True
        case Is():
            return value == float(test.value)
        case Between():
            return float(test.low) <= value <= float(test.high)
        case Compare():
            wanted = float(test.value)
            return {">": value > wanted, ">=": value >= wanted, "<": value < wanted, "<=": value <= wanted}[
                test.operator
            ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(items, min_size=1, max_size=12), st.lists(nodes, min_size=5, max_size=12))
def test_a_search_finds_what_a_plain_reading_finds(catalog, several, asked):
    with catalog.session() as session:
        session.execute(delete(Label))
        session.execute(delete(SeriesRow))
    for number, item in enumerate(several):
        item.uid = str(number)
    catalog.add_together("c", [item.new() for item in several])
    for node in asked:
        expected = [item.uid for item in several if plainly(node, item)]
        assert uids(catalog, str(node)) == sorted(expected), str(node)
