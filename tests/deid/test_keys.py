"""The key file, and what is derived from a key."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imarium.deid.keys import Substitutes, make_key, read_key, subkeys
from imarium.errors import StorageError

KEY = b"k" * 32
SOME = Substitutes(subkeys(KEY, "c"))


def test_a_key_file_is_its_owners_alone(tmp_path):
    path = tmp_path / "deep" / "key"
    key = make_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key(path) == key
    with pytest.raises(StorageError, match="cannot be written"):
        make_key(path)
    os.chmod(path, 0o640)
    with pytest.raises(StorageError, match="may be read by others"):
        read_key(path)


@pytest.mark.parametrize("content", [b"", b"imarium-deid-key-1 abcd\n", b"\xff" * 40, b"x" * 5000])
def test_what_is_no_key_file(tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(StorageError):
        read_key(path)
    with pytest.raises(StorageError):
        read_key(tmp_path / "missing")


def test_subkeys_differ_by_purpose_and_collection():
    keys = [subkeys(KEY, name) for name in ("", "c", "d")] + [subkeys(b"l" * 32, "c")]
    all_of_them = [getattr(one, name) for one in keys for name in one.__slots__]
    assert len(set(all_of_them)) == len(all_of_them)
    assert repr(keys[0]) == "Subkeys()", "keys do not get into logs"


@given(st.text(alphabet="0123456789.", min_size=1, max_size=64))
def test_uids_are_valid_and_the_same_for_the_same(original):
    uid = SOME.uid(original)
    if original.startswith("1.2.840.10008."):
        assert uid == original
    else:
        assert re.fullmatch(r"2\.25\.(0|[1-9]\d*)", uid)
        assert len(uid) <= 64
        assert uid == SOME.uid(original) != Substitutes(subkeys(KEY, "d")).uid(original)


@given(st.text(min_size=1), st.integers(-5000, 5000), st.integers(1, 5000))
def test_shifts_are_within_their_bounds_and_never_none(identity, earliest, width):
    latest = earliest + width
    some = Substitutes(subkeys(KEY, ""), "S-", earliest, latest)
    if width == 1 and earliest <= 0 <= latest:
        return
    days = some.days(identity)
    assert earliest <= days <= latest
    assert days != 0
    assert days == some.days(identity)


def test_pseudonyms():
    assert re.fullmatch(r"S-[0-9a-f]{16}", SOME.subject("id 1"))
    assert len({SOME.subject(f"id {number}") for number in range(5000)}) == 5000
