"""Which private attributes stay (PS3.15 E.3.10)."""

from __future__ import annotations

from dataclasses import dataclass

import imarium.formats.dicom.guard  # isort: skip  # noqa: F401 - before anything that imports pydicom

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from imarium.deid.policy import Action, Policy
from imarium.deid.standard import safe_private


@dataclass(frozen=True, slots=True)
class PrivateDecision:
    """What is done to a private attribute that is not simply removed."""

    action: Action
    vr: str | None
    """VR by the table, empty if unknown; None for the creator of a block."""


class PrivateBlocks:
    """The private blocks of one data set, told apart by their creators (PS3.5 section 7.8)."""

    def __init__(self, dataset: Dataset, policy: Policy) -> None:
        self._decisions: dict[int, PrivateDecision] = {}
        creators: dict[tuple[int, int], str] = {}
        retained = "safe-private" in policy.retain
        rules = {(rule.group, rule.creator, rule.element): rule.action for rule in policy.private}
        if not retained and not rules:
            return
        private = [tag for tag in dataset.keys() if tag.is_private]  # noqa: SIM118 - iterates over elements
        for tag in private:
            if tag.is_private_creator:
                creators[tag.group, tag.element] = _creator(dataset, tag)
        for tag in private:
            if tag.is_private_creator or tag.element < 0x1000:
                continue
            creator = creators.get((tag.group, tag.element >> 8))
            if creator is None:
                continue
            key = (tag.group, creator, tag.element & 0xFF)
            safe = safe_private().get(key) if retained else None
            action = rules.get(key, Action.CLEAN if safe else Action.REMOVE)
            if action is Action.REMOVE:
                continue
            self._decisions[tag] = PrivateDecision(action, safe.vr if safe else "")
            block = BaseTag(tag.group << 16 | tag.element >> 8)
            self._decisions[block] = PrivateDecision(Action.KEEP, None)

    def rule(self, tag: BaseTag) -> PrivateDecision | None:
        """The decision; None for an attribute that is removed."""
        return self._decisions.get(tag)


def _creator(dataset: Dataset, tag: BaseTag) -> str:
    try:
        return str(dataset[tag].value or "").strip(" \0")
    except Exception:
        return ""
