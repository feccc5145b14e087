"""Which action a policy takes."""

from dataclasses import replace

import pytest

from imarium.deid.decisions import Decisions
from imarium.deid.policy import Action, DateRules, Dates, Override, Policy, Unlisted

CT, SR, US = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "88.33", "6.1"))
BASIC = Policy()
SHIFT = Policy(dates=DateRules(Dates.SHIFT))
FULL = Policy(dates=DateRules(Dates.KEEP))
DEVICE = Policy(retain=frozenset({"device-identity"}))
DESCRIBED = Policy(clean=frozenset({"descriptors"}))


@pytest.mark.parametrize(
    ("policy", "tag", "vr", "sop_class", "action"),
    [
        (BASIC, 0x00100010, "PN", CT, Action.EMPTY),
        (BASIC, 0x0020000D, "UI", CT, Action.REMAP),
        (BASIC, 0x00080020, "DA", CT, Action.EMPTY),
        (SHIFT, 0x00080020, "DA", CT, Action.CLEAN),
        (FULL, 0x00080020, "DA", CT, Action.KEEP),
        # Z/D and X/Z/D by the type in the IOD.
        (BASIC, 0x00080023, "DA", CT, Action.EMPTY),
        (BASIC, 0x00080023, "DA", SR, Action.DUMMY),
        (BASIC, 0x00080023, "DA", "", Action.DUMMY),
        (BASIC, 0x00080080, "LO", CT, Action.REMOVE),
        (BASIC, 0x00080080, "LO", "1.2.3", Action.DUMMY),
        (BASIC, 0x00181000, "LO", US, Action.REMOVE),
        # Sequences whose type is not known go.
        (BASIC, 0x00080082, "SQ", CT, Action.REMOVE),
        (BASIC, 0x00081140, "SQ", CT, Action.KEEP),
        # Options.
        (DEVICE, 0x00181000, "LO", CT, Action.KEEP),
        (BASIC, 0x00081030, "LO", CT, Action.REMOVE),
        (DESCRIBED, 0x00081030, "LO", CT, Action.CLEAN),
        (DEVICE, 0x0018700C, "DA", "", Action.KEEP),
        (replace(SHIFT, retain=DEVICE.retain), 0x0018700C, "DA", "", Action.CLEAN),
        # Groups.
        (BASIC, 0x60003000, "OW", CT, Action.REMOVE),
        (BASIC, 0x601E0022, "LO", CT, Action.REMOVE),
        (BASIC, 0x50000022, "LO", CT, Action.REMOVE),
        (BASIC, 0x00080000, "UL", CT, Action.REMOVE),
        (BASIC, 0x00000110, "US", CT, Action.REMOVE),
        # What no table lists.
        (BASIC, 0x00280010, "US", CT, Action.KEEP),
        (BASIC, 0x00200032, "DS", CT, Action.KEEP),
        (BASIC, 0x00080060, "CS", CT, Action.KEEP),
        (BASIC, 0x00181210, "SH", CT, Action.CLEAN),
        (BASIC, 0x00080016, "UI", CT, Action.KEEP),
        (BASIC, 0x0008010C, "UI", CT, Action.KEEP),
        (BASIC, 0x00400510, "UI", CT, Action.REMOVE),
        (Policy(unlisted=Unlisted.REMOVE), 0x00181250, "SH", CT, Action.CLEAN),
        (Policy(unlisted=Unlisted.REMOVE), 0x00082120, "SH", CT, Action.REMOVE),
    ],
)
def test_actions(policy, tag, vr, sop_class, action):
    assert Decisions(policy).action(tag, vr, sop_class) is action


def test_what_a_policy_says_by_name_comes_first():
    policy = Policy(attributes={0x00100010: Override(Action.KEEP), 0x00280010: Override(Action.REMOVE)})
    decisions = Decisions(policy)
    assert decisions.action(0x00100010, "PN", CT) is Action.KEEP
    assert decisions.action(0x00280010, "US", CT) is Action.REMOVE
    assert 0x00100010 in decisions.kept()
    assert policy.names_patients


def test_what_options_keep_is_told():
    assert 0x00181000 in Decisions(DEVICE).kept()
    assert 0x00181000 not in Decisions(BASIC).kept()
