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
    row = content_items().get(_concept(item))
    if row is None:
        return Action.CLEAN
    chosen = {row.options[column] for column in policy.columns() if column in row.options}
    if chosen:
        return Action.CLEAN
    return Action.DUMMY if row.basic == "D" else Action.REMOVE


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
