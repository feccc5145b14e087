"""Routes that set labels; all of them need a login."""

from __future__ import annotations

from fastapi import APIRouter

from imarium.faces.http.context import ArchiveDep, NotedDep, SeriesDep, UserDep
from imarium.faces.http.schemas import LabelChanges, LabelledAnswer, LabelsAnswer

router = APIRouter(tags=["labels"])


@router.put("/series/{uid}/labels")
def replace_labels(
    archive: ArchiveDep,
    user: UserDep,  # noqa: ARG001
    record: SeriesDep,
    labels: dict[str, str],
) -> LabelsAnswer:
    """Have a series bear these labels and no others."""
    uid = record.series.uid
    archive.catalog.replace_labels(uid, labels)
    return LabelsAnswer(labels=dict(archive.catalog.get_series(uid).labels))


@router.post("/labels")
def change_labels(
    archive: ArchiveDep,
    user: UserDep,  # noqa: ARG001
    told: NotedDep,
    changes: LabelChanges,
) -> LabelledAnswer:
    """Set and remove labels of all series of selections."""
    counts = archive.catalog.label([(item.selection.selection(), item.labels) for item in changes.items])
    told.details["series"] = sum(counts)
    return LabelledAnswer(series=counts)
