"""Which passwords are taken."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imarium.access.passwords import LONGEST, Passwords, check_password, generated_password
from imarium.errors import InvalidRequestError


@pytest.mark.parametrize(
    "password",
    [
        "",
        "short",
        "aaaaaaaaaaaaaaaa",
        "abababababab",
        "1234567890",
        "0987654321zyxw",
        "qwertyuiop",
        "QWERTYuiop123",
        "password123",
        "P@ssw0rd!2024",
        "passwordpassword",
        "Welcome2024!",
        "letmein12345",
        "imarium-admin",
        "ann.example1",
        "Radiology2025",
        "x" * (LONGEST + 1),
    ],
)
def test_what_is_easy_to_guess_is_refused(password):
    with pytest.raises(InvalidRequestError):
        check_password(password, "ann.example")


@pytest.mark.parametrize(
    "password",
    ["four plain words here", "kX8#vq2!Lm", "blue-otter-stone", "žluťoučký kůň", "密码很长很长的一个句子啊"],
)
def test_what_is_not_is_taken(password):
    assert check_password(password, "ann.example")


def test_what_is_made_up_is_good():
    for _ in range(200):
        check_password(generated_password(), "admin")


@given(st.text(max_size=60), st.text(max_size=20))
def test_any_text_is_taken_or_refused(password, name):
    with suppress(InvalidRequestError):
        assert len(check_password(password, name)) >= 10


def test_letters_that_look_alike_are_the_same_however_they_are_typed():
    passwords = Passwords()
    composed, decomposed = "cafés sont bons ici", "cafe\u0301s sont bons ici"
    kept = passwords.hash(check_password(decomposed, "ann"))
    assert passwords.matches(kept, composed)
    assert passwords.matches(kept, decomposed)
    assert not passwords.matches(kept, "cafes sont bons ici")
    assert not passwords.matches("", "")
    assert not passwords.matches(None, "")
