"""Objects on a disk or in a bucket."""

from imarium.store.objects import ObjectStore, open_local, open_store

__all__ = ["ObjectStore", "open_local", "open_store"]
