"""Policies in YAML: what they mean, and where they are wrong."""

import pickle
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imarium.deid.policy import Action, Dates, Documents, Faces, PixelText, Policy, Unlisted
from imarium.deid.policy_file import MAXIMUM_BYTES, load, names, parse
from imarium.errors import InvalidRequestError, PolicyError

WHOLE = """\
name: mine
about: all parts
retain: [uids, safe-private]
clean: [descriptors]
dates: {mode: shift, days: [-100, -10], oldest-age: 85}
unlisted: remove
documents: empty
attributes:
  StudyDescription: keep
  (0018,1030): clean
  PatientComments: {replace: none of your business}
private:
  - {creator: ACME, element: "0029,xx10", action: keep}
text: {replacement: "***", patterns: [dates], words: [Springfield]}
pixels: {text: off, faces: remove}
pseudonym-prefix: P_
"""


def test_every_part_of_a_policy():
    policy = parse(WHOLE)
    assert policy.retain == {"uids", "safe-private"}
    assert (policy.dates.mode, policy.dates.earliest, policy.dates.latest) == (Dates.SHIFT, -100, -10)
    assert policy.dates.oldest_age == 85
    assert policy.unlisted is Unlisted.REMOVE
    assert policy.documents is Documents.EMPTY
    assert policy.attributes[0x00081030].action is Action.KEEP
    assert policy.attributes[0x00181030].action is Action.CLEAN
    assert policy.attributes[0x00104000].value == "none of your business"
    assert (policy.private[0].group, policy.private[0].element) == (0x0029, 0x10)
    assert policy.text.words == ("Springfield",)
    assert (policy.pixels.text, policy.pixels.faces) == (PixelText.OFF, Faces.REMOVE)
    assert policy.prefix == "P_"
    assert pickle.loads(pickle.dumps(policy)) == policy, "it goes to other processes"


def test_the_policies_that_come_along():
    assert {"basic", "keep-nothing", "research-longitudinal"} <= set(names())
    for name in names():
        policy = load(name)
        assert policy.name == name
        assert policy.about
    assert load("basic").columns() == ()
    assert "retain_longitudinal_modified_dates" in load("research-longitudinal").columns()


def test_a_policy_from_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(WHOLE)
    assert load(str(path)).name == "mine"
    with pytest.raises(PolicyError, match="there is no policy or file"):
        load(str(tmp_path / "other.yaml"))


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("name: x\nretian: [uids]", 2, "is it 'retain'"),
        ("name: x\nretain: [uid]", 2, "is it 'uids'"),
        ("name: x\nretain: uids", 2, "is a list"),
        ("name: x\n\nattributes:\n  PatientNmae: keep", 4, "is it 'PatientName'"),
        ("name: x\nattributes:\n  PatientName: kep", 3, "is it 'keep'"),
        ("name: x\nattributes:\n  PatientName: keep\n  (0010,0010): remove", 4, "twice"),
        ("name: x\nattributes:\n  (0009,1001): keep", 3, "private"),
        ("name: x\nattributes:\n  SOPClassUID: remove", 3, "cannot be changed"),
        ("name: x\nattributes:\n  TransferSyntaxUID: keep", 3, "no attribute|written anew"),
        ("name: x\nattributes:\n  PatientName: replace", 3, "replace: VALUE"),
        ("name: x\ndates:\n  mode: shift\n  days: [-10, -20]", 4, "fewer than two"),
        ("name: x\ndates:\n  mode: shift\n  days: [-10]", 4, "earliest, latest"),
        ("name: x\ndates:\n  mode: shift\n  days: [-99999999, 1]", 4, "whole number"),
        ("name: x\ndates:\n  days: [-10, -5]", 3, "mode: shift"),
        ("name: x\nname: y", 2, "twice"),
        ("name: X Y", 1, "small letters"),
        ("about: x", 1, "has a name"),
        ("name: x\nprivate:\n  - {creator: A, element: '0028,xx10'}", 3, "odd group"),
        ("name: x\nprivate:\n  - {creator: A}", 3, "element"),
        ("name: x\npixels: {text: maybe}", 2, "one of off, find, blank"),
        ('name: x\ntext: {replacement: "a\\\\b"}', 2, "no backslash"),
        ("name: x\ntext: {words: [a]}", 2, "two letters"),
        ("name: x\nabout: &a y", 2, "anchors"),
        ("name: x\nclean: [*a]", 2, "anchors"),
        ("name: [x", 1, "no YAML"),
        ("- x", 1, "mapping"),
        ("", 1, "empty"),
    ],
)
def test_a_mistake_is_refused_with_its_line(text, line, says):
    with pytest.raises(PolicyError, match=says) as caught:
        parse(text)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"line {line}: ")
    assert isinstance(caught.value, InvalidRequestError)


@pytest.mark.parametrize("text", ["[" * 20_000, "name: x\nabout: \x00", b"\xff\xfe\x00", "a: " * 3000])
def test_what_is_no_policy_at_all(text):
    with pytest.raises(PolicyError):
        parse(text)


def test_policies_in_the_guide_can_be_used():
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "deidentification.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    assert blocks
    for block in blocks:
        parse(block)


def test_a_policy_that_is_too_large():
    with pytest.raises(PolicyError, match="at most"):
        parse("#" * (MAXIMUM_BYTES + 1))


@given(st.lists(st.sampled_from([*WHOLE.splitlines(), "  - x", "&a *a", "a: {b: [c]}", "}"]), max_size=20))
def test_any_mix_of_lines_is_a_policy_or_a_mistake(lines):
    with suppress(PolicyError):
        assert isinstance(parse("\n".join(lines)), Policy)
