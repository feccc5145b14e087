"""Routes for selections that a user keeps; all of them need a login, and show the user's own alone."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from imarium.faces.http.callers import ActorDep, ArchiveDep
from imarium.faces.http.schemas import SelectionBody
from imarium.faces.http.search_schemas import SavedChange, SavedItem, SavedList

router = APIRouter(tags=["saved selections"])

Name = Annotated[str, Path(max_length=100)]


@router.get("/saved")
def list_saved(archive: ArchiveDep, actor: ActorDep) -> SavedList:
    """All selections that the user keeps."""
    return SavedList(items=[SavedItem.of(record) for record in archive.catalog.saving.list(actor.name)])


@router.get("/saved/{name}")
def get_saved(archive: ArchiveDep, actor: ActorDep, name: Name) -> SavedItem:
    """One of them; manifests and labels take its `selection`."""
    return SavedItem.of(archive.catalog.saving.get(actor.name, name))


@router.put("/saved/{name}")
def put_saved(archive: ArchiveDep, actor: ActorDep, name: Name, body: SelectionBody) -> SavedItem:
    """Keep a selection, in place of one that had the name."""
    return SavedItem.of(archive.catalog.saving.save(actor.name, name, body.selection()))


@router.post("/saved/{name}/series")
def change_saved(archive: ArchiveDep, actor: ActorDep, name: Name, body: SavedChange) -> SavedItem:
    """Put series into the list of a kept selection, and take others out; it is made if missing."""
    return SavedItem.of(archive.catalog.saving.change(actor.name, name, body.add, body.remove))


@router.delete("/saved/{name}", status_code=204, response_class=Response)
def remove_saved(archive: ArchiveDep, actor: ActorDep, name: Name) -> Response:
    """Forget it."""
    archive.catalog.saving.remove(actor.name, name)
    return Response(status_code=204)
