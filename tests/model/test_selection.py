"""Selections: their text and their JSON, both strict."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imarium.errors import InvalidRequestError
from imarium.model import Selection
from imarium.model.selection import MOST_UIDS

TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=40)
KEY = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", fullmatch=True)
SELECTIONS = st.builds(
    Selection,
    collection=st.none() | TEXT,
    series=st.lists(TEXT, max_size=4).map(tuple),
    studies=st.lists(TEXT, max_size=4).map(tuple),
    modality=st.none() | TEXT,
    body_part=st.none() | TEXT,
    labels=st.dictionaries(KEY, TEXT, max_size=4),
)


@given(SELECTIONS)
def test_text_and_json_come_back(selection):
    assert Selection.parse(str(selection)) == selection
    assert Selection.from_json(json.loads(json.dumps(selection.to_json()))) == selection
    assert hash(Selection.parse(str(selection))) == hash(selection)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        selection = Selection.parse(text)
    except InvalidRequestError:
        return
    assert Selection.parse(str(selection)) == selection


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["collection", "series", "studies", "modality", "labels", "x"]),
                inner,
                max_size=3,
            )
        ),
    )
)
def test_any_json_is_read_or_refused(data):
    try:
        selection = Selection.from_json(data)
    except InvalidRequestError:
        return
    assert Selection.from_json(selection.to_json()) == selection


def test_what_people_write():
    selection = Selection.parse("chest modality=CT label.class=covid study=1.3 study=1.2")
    assert selection == Selection("chest", (), ("1.2", "1.3"), "CT", labels={"class": "covid"})
    assert Selection.parse("collection='my chest'") == Selection.parse("'my chest'") == Selection("my chest")
    assert Selection.parse("collection=a=b") == Selection("a=b")
    assert Selection.parse("  ") == Selection()
    assert Selection().is_everything
    assert Selection().to_json() == {}
    assert not selection.is_everything
    assert selection.to_json() == {
        "collection": "chest",
        "studies": ["1.2", "1.3"],
        "modality": "CT",
        "labels": {"class": "covid"},
    }


def test_order_and_repetition_do_not_matter():
    one = Selection(series=("2", "1", "2"), labels={"b": "1", "a": "2"})
    assert one == Selection(series=("1", "2"), labels={"a": "2", "b": "1"})
    assert str(one) == "series=1 series=2 label.a=2 label.b=1"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("colection=x", "colection"),
        ("chest abdomen", "one collection"),
        ("chest collection=abdomen", "one collection"),
        ("modality=CT modality=MR", "one modality"),
        ("label.a=1 label.a=2", "one label.a"),
        ("label.=1", "key"),
        ("label.1a=1", "key"),
        ("labels=1", "labels"),
        ("modality=", "modality"),
        ("label.a=", "label a"),
        ("'open", "quote"),
        ("open\\", "backslash"),
        ("modality='a\x07b'", "modality"),
        ("label.a='a\x07b'", "label a"),
        ("collection=" + 201 * "x", "collection"),
        ("label.a=" + 501 * "x", "label a"),
    ],
)
def test_what_makes_no_sense_is_refused(text, says):
    with pytest.raises(InvalidRequestError, match=says):
        Selection.parse(text)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "chest",
        {"name": "x"},
        {"collection": 3},
        {"series": "1.2"},
        {"studies": [1]},
        {"labels": [["a", "b"]]},
        {"labels": {"a": 1}},
        {"modality": "\ud800"},
    ],
)
def test_json_that_makes_no_sense_is_refused(data):
    with pytest.raises(InvalidRequestError):
        Selection.from_json(data)


def test_the_number_of_uids_is_bounded():
    with pytest.raises(InvalidRequestError, match="at most"):
        Selection(series=tuple(map(str, range(MOST_UIDS + 1))))
