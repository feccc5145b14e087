"""Which action a policy takes on an attribute.

In order: what the policy says of the attribute; Table E.1-1 with the policy's options; groups of overlays and
curves; Imarium's list of further attributes that identify; and for what no list names, its VR.

Where the table leaves a choice (X/Z, X/D, Z/D, X/Z/D), the action removes as much as the attribute's type in
the object's IOD allows: type 3 is removed, type 2 emptied, type 1 gets a dummy value. Where the type is not
known (another edition, nested in a sequence) an attribute gets the last of the choices, which is valid for
every type, and a sequence the first, since its items cannot be told to be harmless.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import imarium.formats.dicom.guard  # isort: skip  # noqa: F401 - before anything that imports pydicom

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from imarium.deid._words import words
from imarium.deid.policy import Action, Dates, Override, Policy, Unlisted
from imarium.deid.standard import MODIFIED_DATES, Attribute, attributes, beyond, iod_type

TEXT_VRS = frozenset({"LO", "SH", "ST", "LT", "UC", "UT"})
DATE_VRS = frozenset({"DA", "DT", "TM"})
NUMBER_VRS = frozenset(
    {"DS", "IS", "FL", "FD", "SL", "SS", "UL", "US", "SV", "UV", "AT", "US or SS", "OF", "OD", "OL", "OV"}
)
BYTES_VRS = frozenset({"OB", "OW", "OB or OW", "US or OW", "US or SS or OW", "UN"})

_ACTIONS = {
    "X": Action.REMOVE,
    "Z": Action.EMPTY,
    "D": Action.DUMMY,
    "U": Action.REMAP,
    "U*": Action.REMAP,
    "K": Action.KEEP,
    "C": Action.CLEAN,
}
_BY_TYPE = {1: "D", 2: "Z", 3: "X"}
OVERLAY_DATA, CURVE_DATA = 0x60003000, 0x50003000

TECHNICAL = frozenset(
    tag
    for keyword in words(
        "AcquisitionContrast AlgorithmName AlgorithmVersion CodeMeaning CodeValue CodingSchemeDesignator "
        "CodingSchemeVersion LongCodeValue ContextIdentifier MappingResource ConvolutionKernel "
        "DetectorManufacturerName DetectorManufacturerModelName FilterType GeneratorType "
        "IsotopeNumber Manufacturer ManufacturerModelName MIMETypeOfEncapsulatedDocument "
        "PulseSequenceName ReceiveCoilName ReconstructionMethod ScatterCorrectionMethod "
        "AttenuationCorrectionMethod SegmentLabel SequenceName SoftwareVersions TransmitCoilName "
        "XRayTubeCurrent ChannelLabel StackID UnitName CollimatorGridName RandomsCorrectionMethod "
        "RescaleType ModalityLUTType Radiopharmaceutical RadiopharmaceuticalRoute ContrastBolusRoute "
        "FrameLabel DimensionDescriptionLabel EnergyWindowName LossyImageCompressionMethod"
    )
    if (tag := tag_for_keyword(keyword)) is not None
)
"""Text that pixels need to be understood: searched for what the object names, but not for patterns, and kept
where unlisted text is removed."""

_CLASSES = ("ClassUID", "SchemeUID", "SyntaxUID", "ContextUID", "ResourceUID")


class Decisions:
    """The actions of one policy; remembers what it decided."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._columns = policy.columns()
        self._memory: dict[tuple[int, str, str], Action] = {}
        self._overridden: Mapping[int, Override] = policy.attributes

    def override(self, tag: int) -> Override | None:
        """What the policy says of the attribute by name."""
        return self._overridden.get(tag)

    def action(self, tag: int, vr: str, sop_class: str) -> Action:
        """The action for a public attribute; `sop_class` is empty inside sequences."""
        key = (tag, vr, sop_class)
        if key not in self._memory:
            self._memory[key] = self._decide(tag, vr, sop_class)
        return self._memory[key]

    def kept(self) -> frozenset[int]:
        """Attributes of Table E.1-1 and beyond that the policy keeps as they are."""
        named = {int(tag, 16) for tag in attributes() if _exact(tag)} | set(beyond())
        return frozenset(tag for tag in named if self._kept(tag))

    def _kept(self, tag: int) -> bool:
        override = self._overridden.get(tag)
        if override is not None:
            return override.action is Action.KEEP
        row = attributes().get(f"{tag:08X}")
        return row is not None and any(row.options.get(column) == "K" for column in self._columns)

    def _decide(self, tag: int, vr: str, sop_class: str) -> Action:
        override = self._overridden.get(tag)
        if override is not None:
            return override.action
        group = tag >> 16
        if tag & 0xFFFF == 0 or group in (0x0000, 0x0002) or group < 0x0008:
            return Action.REMOVE
        row = attributes().get(f"{tag:08X}")
        if row is not None:
            return self._listed(row, tag, vr, sop_class)
        if 0x5000 <= group <= 0x50FF:
            return Action.REMOVE
        if 0x6000 <= group <= 0x60FF:
            # A bitmap cannot be cleaned of text, and an overlay without its bitmap is none.
            kept = self._overridden.get(OVERLAY_DATA)
            if kept is None or kept.action is not Action.KEEP:
                return Action.REMOVE
        further = beyond().get(tag)
        if further is not None:
            return _ACTIONS[further]
        return self._unlisted(tag, vr)

    def _listed(self, row: Attribute, tag: int, vr: str, sop_class: str) -> Action:
        chosen = {row.options[column] for column in self._columns if column in row.options}
        if vr in DATE_VRS and MODIFIED_DATES in self._columns and MODIFIED_DATES in row.options:
            return Action.CLEAN  # a date that device identity keeps would tell by how much all others moved
        if "K" in chosen:
            return Action.KEEP
        if "C" in chosen:
            return Action.CLEAN
        choices = row.basic.split("/")
        if len(choices) == 1:
            return _ACTIONS[choices[0]]
        kind = iod_type(sop_class, tag) if sop_class else None
        if vr == "SQ":
            # U*: the items stay, and the UIDs in them are replaced.
            if choices[-1] == "U*" or (kind == 1 and "D" in choices):
                return Action.KEEP
            return _ACTIONS[choices[0] if kind in (None, 3) else "Z"]
        if kind is None:
            return _ACTIONS[choices[-1]]
        wanted = _BY_TYPE[kind]
        # A type 2 attribute whose choices are X/D gets a dummy, one of X/Z that is of type 1 cannot be.
        return _ACTIONS[wanted if wanted in choices else choices[-1]]

    def _unlisted(self, tag: int, vr: str) -> Action:
        dates = self.policy.dates.mode
        if not keyword_for_tag(tag) and not 0x6000 <= tag >> 16 <= 0x60FF:
            return Action.REMOVE
        if vr in TEXT_VRS:
            keep = self.policy.unlisted is Unlisted.CLEAN or tag in TECHNICAL
            return Action.CLEAN if keep else Action.REMOVE
        if vr in DATE_VRS:
            return {Dates.REMOVE: Action.EMPTY, Dates.SHIFT: Action.CLEAN, Dates.KEEP: Action.KEEP}[dates]
        if vr == "UI":
            return Action.KEEP if "uids" in self.policy.retain or names_class(tag) else Action.REMAP
        if vr == "AS":
            return Action.KEEP if "patient-characteristics" in self.policy.retain else Action.REMOVE
        if vr == "PN":
            return Action.EMPTY
        if vr in ("AE", "UR"):
            return Action.REMOVE
        return Action.KEEP


@cache
def names_class(tag: int) -> bool:
    """Whether a UID attribute names a kind of thing (a SOP class, a coding scheme), not a thing."""
    return keyword_for_tag(tag).endswith(_CLASSES)


def _exact(tag: str) -> bool:
    return tag != "private" and "x" not in tag
