"""The clean, pseudonymised store: voxels, manifest, labels. See `open_store`."""

from medssl.store.store import Store, open_store

__all__ = ["Store", "open_store"]
