"""Objects on a disk or in a bucket."""

from imarium.store.objects import ObjectStore, open_local

__all__ = ["ObjectStore", "open_local"]
