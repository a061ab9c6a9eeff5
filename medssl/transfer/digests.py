"""Which voxels a run was given, as one hash for each part of the split."""

from __future__ import annotations

import hashlib

import pandas as pd

from medssl.store import Store
from medssl.transfer.channels import Channels, volumes_of_cases


def data_digests(
    store: Store, cases: pd.DataFrame, channels: Channels | None = None
) -> dict[str, str]:
    """SHA-256 of each part's sorted lines `volume_uid pixel_sha256`, of all channels.

    Args:
        cases: volume_uid, patient_key and split.
    """
    digests = {}
    for part, rows in volumes_of_cases(store, cases, channels).groupby("split"):
        pixels = store.manifest.loc[rows["volume_uid"], "pixel_sha256"]
        listed = "\n".join(sorted(pixels.index + " " + pixels))
        digests[str(part)] = hashlib.sha256(listed.encode()).hexdigest()
    return digests
