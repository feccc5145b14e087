"""Routes that set labels, for annotators."""

from __future__ import annotations

from fastapi import APIRouter

from imarium.access import Action
from imarium.faces.http.auditing import NotedDep
from imarium.faces.http.callers import ActorDep, ArchiveDep
from imarium.faces.http.context import SeriesDep
from imarium.faces.http.schemas import LabelChanges, LabelledAnswer, LabelsAnswer

router = APIRouter(tags=["labels"])


@router.put("/series/{uid}/labels")
def replace_labels(
    archive: ArchiveDep,
    actor: ActorDep,
    record: SeriesDep,
    labels: dict[str, str],
) -> LabelsAnswer:
    """Have a series bear these labels and no others."""
    uid = record.series.uid
    archive.permissions.check(actor, Action.ANNOTATE, record.collection_id)
    archive.catalog.replace_labels(uid, labels)
    return LabelsAnswer(labels=dict(archive.catalog.get_series(uid).labels))


@router.post("/labels")
def change_labels(
    archive: ArchiveDep, actor: ActorDep, told: NotedDep, changes: LabelChanges
) -> LabelledAnswer:
    """Set and remove labels of all series of selections."""
    counts = archive.catalog.label(
        [(item.selection.selection(), item.labels) for item in changes.items],
        within=archive.permissions.within(actor),
        labelled=archive.permissions.within(actor, Action.ANNOTATE),
    )
    told.details["series"] = sum(counts)
    return LabelledAnswer(series=counts)
