"""Content items of structured reports (PS3.15 E.3.4): which go, by the concept that names them."""

from __future__ import annotations

import imarium.formats.dicom.guard  # isort: skip  # noqa: F401 - before anything that imports pydicom

from pydicom.dataset import Dataset

from imarium.deid.policy import Action, Policy
from imarium.deid.standard import content_items


def item_action(item: Dataset, policy: Policy) -> Action:
    """REMOVE for an item that goes, DUMMY for one whose values do, CLEAN for all others.

    Items whose concept no table lists are cleaned: text loses what identifies, names of persons go, dates and
    UIDs follow the policy.
    """
    rows = content_items().get(_concept(item), ())
    kind = str(item.get("ValueType") or "").strip()
    own = tuple(row for row in rows if row.value_type == kind) or rows
    columns = policy.columns()
    kept = [any(column in row.options for column in columns) for row in own]
    if all(kept):
        return Action.CLEAN
    return Action.DUMMY if all(row.basic == "D" for row in own) else Action.REMOVE


def _concept(item: Dataset) -> tuple[str, str]:
    try:
        names = item.get("ConceptNameCodeSequence")
        if not names:
            return "", ""
        code = names[0]
        value = code.get("CodeValue") or code.get("LongCodeValue") or ""
        return str(code.get("CodingSchemeDesignator") or "").strip(), str(value).strip()
    except Exception:
        return "", ""
