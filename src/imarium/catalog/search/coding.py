"""Codes and their hierarchy: a parent code of ICD-10-CM finds its children."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from imarium.errors import InvalidRequestError
from imarium.model.details import Concept, scheme_of
from imarium.model.query import Is, Present, Test
from imarium.model.query_values import meets
from imarium.model.words import folded

ICD = "ICD10CM"

_GROUP = re.compile(r"[A-Z][0-9][0-9A-Z]-[A-Z][0-9][0-9A-Z]|[0-9]{1,2}")
_CODE = re.compile(r"[A-Z][0-9][0-9A-Z](\.?[0-9A-Z]{1,4})?")


class Code(NamedTuple):
    """A concept of the catalog."""

    number: int
    kind: str
    scheme: str
    code: str
    meaning: str


def code_meets(item: Code, tests: Sequence[Test]) -> bool:
    """Whether a concept meets one of the tests: by its code, with or without scheme, or by its meaning."""
    return any(_meets(item, test) for test in tests)


def _meets(item: Code, test: Test) -> bool:
    if isinstance(test, Present):
        return True
    if not isinstance(test, Is):
        return False
    name, colon, code = test.value.partition(":")
    scheme = scheme_of(name) if colon else None
    if scheme is not None and scheme != item.scheme:
        return False
    wanted, found = folded(test.value if scheme is None else code), folded(item.code)
    if found == wanted or (test.prefix and found.startswith(wanted)):
        return True
    if item.scheme == ICD and not test.exact and below(item.code, wanted.upper()):
        return True
    return scheme is None and meets(item.meaning, [test])


def below(code: str, parent: str) -> bool:
    """Whether a code of ICD-10-CM is below another one, or below a block (C30-C39) or a chapter (2).

    The letters and digits of a code begin with those of all codes above it; only blocks and chapters have to
    be looked up.
    """
    if _CODE.fullmatch(parent):
        return _plain(code).startswith(_plain(parent))
    return _GROUP.fullmatch(parent) is not None and code in _descendants(parent)


def _plain(code: str) -> str:
    return code.replace(".", "").upper()


@lru_cache(64)
def _descendants(group: str) -> frozenset[str]:
    import simple_icd_10_cm as icd  # noqa: PLC0415 - reads 97,000 codes, which takes two seconds

    return frozenset(icd.get_descendants(group)) if icd.is_valid_item(group) else frozenset()


def completed(concept: Concept) -> Concept:
    """A concept that people give, with the meaning that ICD-10-CM has for it.

    Raises InvalidRequestError for a code that ICD-10-CM does not have.
    """
    if concept.scheme != ICD:
        return concept
    import simple_icd_10_cm as icd  # noqa: PLC0415 - see above

    code = concept.code.upper()
    if not icd.is_valid_item(code):
        raise InvalidRequestError(f"ICD-10-CM has no code {concept.code!r}")
    code = icd.add_dot(code) if icd.is_category_or_subcategory(code) else code
    return Concept(concept.kind, concept.scheme, code, icd.get_description(code)[:300])
