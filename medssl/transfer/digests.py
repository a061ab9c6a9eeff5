"""Which voxels a run was given, as one hash for each part of the split."""

from __future__ import annotations

import hashlib

import pandas as pd

from medssl.store import Store


def data_digests(store: Store, cases: pd.DataFrame) -> dict[str, str]:
    """SHA-256 of each part's sorted lines `volume_uid pixel_sha256`."""
    digests = {}
    for part, rows in cases.groupby("split"):
        pixels = store.manifest.loc[rows["volume_uid"], "pixel_sha256"]
        listed = "\n".join(sorted(pixels.index + " " + pixels))
        digests[str(part)] = hashlib.sha256(listed.encode()).hexdigest()
    return digests
