"""Queries: reading and writing them, their errors, and what tests mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imarium.errors import QuerySyntaxError
from imarium.model.query import (
    EVERYTHING,
    MOST_CHARACTERS,
    OPERATORS,
    And,
    Between,
    Compare,
    Is,
    Not,
    Or,
    Present,
    Term,
    Text,
    from_json,
    to_json,
)
from imarium.model.query_fields import FIELDS, Kind, find_field, nearest
from imarium.model.query_parser import parse
from imarium.model.query_values import intervals, meets
from imarium.model.words import words

values = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,10}", fullmatch=True)
tests = st.one_of(
    st.builds(Is, values, st.booleans(), st.booleans()),
    st.builds(Compare, st.sampled_from(OPERATORS), values),
    st.builds(Between, values, st.none() | values),
    st.builds(Between, st.none(), values),
    st.just(Present()),
)
leaves = st.one_of(
    st.builds(Term, keys, st.lists(tests, min_size=1, max_size=3).map(tuple)),
    st.builds(Text, values.filter(words), st.booleans()),
)


def _several(kind):
    return lambda inner: st.lists(inner, min_size=2, max_size=3).map(lambda found: kind(tuple(found)))


nodes = st.recursive(
    leaves,
    lambda inner: st.one_of(_several(And)(inner), _several(Or)(inner), st.builds(Not, inner)),
    max_leaves=8,
) | st.just(EVERYTHING)


@given(nodes)
def test_a_printed_query_is_read_as_the_same(node):
    assert parse(str(node)) == node


@given(nodes)
def test_a_query_as_json_comes_back(node):
    assert from_json(to_json(node)) == node


@given(st.text(max_size=60) | st.text('ab:"()-*.,=<> \\ANDORT', max_size=40))
def test_any_text_is_a_query_or_a_syntax_error_with_a_place(text):
    found = parsed(text)
    if isinstance(found, QuerySyntaxError):
        assert found.position is not None
        assert 0 <= found.position <= len(text)
        assert found.marked(text).endswith("^")
    else:
        assert parse(str(found)) == found


def parsed(text):
    try:
        return parse(text)
    except QuerySyntaxError as error:
        return error


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["and", "or", "not", "text", "key", "tests", "op", "value"]), inner, max_size=3
        )
    ),
)


@given(json_values)
def test_any_json_is_a_query_or_a_syntax_error(data):
    try:
        node = from_json(data)
    except QuerySyntaxError:
        return
    assert parse(str(node)) == node


def test_what_is_read():
    node = parse(
        'modality:CT bodypart:chest age:>60 "ground glass" -contrast (liver OR spleen*) thickness:<=1.5'
    )
    assert node == And(
        (
            Term("modality", (Is("CT"),)),
            Term("bodypart", (Is("chest"),)),
            Term("age", (Compare(">", "60"),)),
            Text("ground glass"),
            Not(Text("contrast")),
            Or((Text("liver"), Text("spleen", prefix=True))),
            Term("thickness", (Compare("<=", "1.5"),)),
        )
    )
    assert parse(
        'date:2019..2021 label.class:=covid code:icd10:C34 modality:CT,MR model:"Somatom Go"*'
    ) == And(
        (
            Term("date", (Between("2019", "2021"),)),
            Term("label.class", (Is("covid", exact=True),)),
            Term("code", (Is("icd10:C34"),)),
            Term("modality", (Is("CT"), Is("MR"))),
            Term("model", (Is("Somatom Go", prefix=True),)),
        )
    )
    assert parse("a AND b OR NOT c") == Or((And((Text("a"), Text("b"))), Not(Text("c"))))
    assert parse("date:..2020 kvp:120.. x:*") == And(
        (
            Term("date", (Between(None, "2020"),)),
            Term("kvp", (Between("120", None),)),
            Term("x", (Present(),)),
        )
    )
    assert parse("  ") == EVERYTHING
    assert parse('"OR"') == Text("OR")
    assert parse(r'"a\"b\\"') == Text('a"b\\')


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("modality:", 9),
        ("modality: CT", 9),
        ("(a b", 0),
        ("a b)", 3),
        ("a ()", 2),
        ('x "abc', 2),
        ("a OR", 4),
        ("OR a", 0),
        ("a - b", 3),
        ("age:>", 5),
        ("age:..", 4),
        ("ct*mr", 3),
        ("a !!", 2),
        ('modality:"CT"MR', 13),
        ("modality:CT,", 12),
        ("(" * 40 + "a" + ")" * 40, 25),
        ("-" * 40 + "a", 25),
        ("a " * 300, 400),
        ("a" * (MOST_CHARACTERS + 1), MOST_CHARACTERS),
        ("a\x00", 0),
    ],
)
def test_an_error_says_where(text, position):
    with pytest.raises(QuerySyntaxError) as caught:
        parse(text)
    assert caught.value.position == position


def test_the_place_of_an_error_under_its_line():
    error = QuerySyntaxError("wrong", 6)
    assert error.marked("abc\ndefg h\nxyz") == "defg h\n  ^"
    assert QuerySyntaxError("wrong").marked("abc") == ""


def test_json_that_is_no_query():
    for data in (
        {"and": [{"and": []}]},
        {"or": []},
        {"text": "!!"},
        {"text": "a", "prefix": 1},
        {"key": "a", "tests": []},
        {"key": "a b", "tests": [{"op": "present"}]},
        {"key": "a", "tests": [{"op": "between"}]},
        {"key": "a", "tests": [{"op": "is", "value": True}]},
        {"key": "a", "tests": [{"op": "like", "value": "x"}]},
        {"not": {"text": "a"}, "text": "b"},
    ):
        with pytest.raises(QuerySyntaxError):
            from_json(data)
    assert from_json({"key": "age", "tests": [{"op": ">", "value": 60}]}) == parse("age:>60")
    nested = {"text": "a"}
    for _ in range(40):
        nested = {"not": nested}
    with pytest.raises(QuerySyntaxError):
        from_json(nested)


def term(text):
    node = parse(text)
    assert isinstance(node, Term)
    return node


def test_numbers_dates_and_ages():
    def of(text, kind):
        ((low, high),) = intervals(term(text), kind)
        return low, high

    assert of("date:2019", Kind.DATE) == (20190101, 20191231)
    assert of("date:2019-02", Kind.DATE) == (20190201, 20190228)
    assert of("date:20200229", Kind.DATE) == (20200229, 20200229)
    assert of("date:2019..2021-03", Kind.DATE) == (20190101, 20210331)
    assert of("date:>2019", Kind.DATE)[0] > 20191231
    assert of("date:<2019", Kind.DATE)[1] < 20190101
    assert of("date:<=2019", Kind.DATE)[1] == 20191231
    assert of("x:>60", Kind.NUMBER)[0] > 60
    assert of("x:60", Kind.NUMBER) == (60, 60)
    low, high = of("age:18m", Kind.AGE)
    assert low <= 1.5 <= high
    for text, kind in (
        ("x:abc", Kind.NUMBER),
        ("x:nan", Kind.NUMBER),
        ("date:201", Kind.DATE),
        ("date:2019-13", Kind.DATE),
        ("x:6*", Kind.NUMBER),
        ("age:old", Kind.AGE),
    ):
        with pytest.raises(QuerySyntaxError) as caught:
            intervals(term(text), kind)
        assert caught.value.position == 0


@pytest.mark.parametrize(
    ("query", "value", "whole", "expected"),
    [
        ("x:siemens", "SIEMENS Healthineers", False, True),
        ("x:siemens", "SIEMENS Healthineers", True, False),
        ("x:=siemens", "SIEMENS Healthineers", False, False),
        ("x:=siemens*", "SIEMENS Healthineers", False, True),
        ("x:heal*", "SIEMENS Healthineers", False, True),
        ("x:hea", "SIEMENS Healthineers", False, False),
        ('x:"ground glass"', "glass ground", False, False),
        ("x:ganglios", "Gánglios", False, True),
        ("x:a,b", "b", False, True),
        ("x:*", "", False, True),
        ("x:>5", "10", False, True),
        ("x:>5", "ten", False, False),
        ("x:1..3", "2.5", False, True),
        ("x:+", "+", False, True),
        ("x:+", "-", False, False),
    ],
)
def test_texts_that_meet_tests(query, value, whole, expected):
    assert meets(value, term(query).tests, whole=whole) is expected


def test_words_are_folded():
    assert words("T1_Gánglios-STRASSE/Straße  １２") == ["t1", "ganglios", "strasse", "strasse", "12"]
    assert words("--") == []
    assert words("x" * 500) == ["x" * 100]


def test_names_of_attributes():
    assert find_field("Body_Part").name == "bodypart"
    assert find_field("SLICETHICKNESS").name == "thickness"
    assert find_field("nothing") is None
    assert nearest("modalty") == "modality"
    assert nearest("EchoTim", ["EchoTime"]) == "EchoTime"
    assert nearest("qqqqqq") is None
    names = [name.lower() for field in FIELDS for name in (field.name, *field.aliases)]
    assert len(names) == len(set(names))
