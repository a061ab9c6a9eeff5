"""L7: every scan shows something."""

from __future__ import annotations

import numpy as np

from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import CASES, StudyFiles
from medssl.audit.wording import counted, key, listed
from medssl.errors import MedsslError
from medssl.store import Store


def run(study: StudyFiles) -> Finding:
    store, cases = study.brought.store, study.cases
    evidence = [study.evidence(CASES)]
    if store is None:
        return Finding(Status.NOT_RUN, "needs voxels: --store", evidence)
    blank: dict[str, list[str]] = {"test": [], "dev": []}
    missing, other = [], []
    pixels = store.columns("pixel_sha256")["pixel_sha256"]
    for uid, role, expected in zip(
        cases["volume_uid"], cases["role"], cases["pixel_sha256"], strict=True
    ):
        if uid not in pixels.index:
            missing.append(uid)
        elif str(pixels[uid]) != expected:
            other.append(uid)
        else:
            try:
                if is_constant(store, uid):
                    blank[role].append(uid)
            except (MedsslError, OSError):
                missing.append(uid)
    told = [
        f"{counted(uids, 'scan')} of one value {where} ({listed(map(key, uids), ', ')})"
        for where, uids in (("in the test set", blank["test"]), ("in development", blank["dev"]))
        if uids
    ]
    if missing:
        told.append(f"{counted(missing, 'scan')} not readable in the store")
    if other:
        told.append(f"the store has other voxels now for {listed(map(key, other), ', ')}")
    status = Status.PASS
    if blank["test"]:
        status = Status.FAIL
    elif missing or other:
        status = Status.INCONCLUSIVE
    elif blank["dev"]:
        status = Status.WARN
    seen = f"{counted(len(cases) - len(missing) - len(other), 'scan')} looked at, none of one value"
    return Finding(status, "; ".join(told) or seen, evidence)


def is_constant(store: Store, volume_uid: str) -> bool:
    """Whether the measured voxels of a volume (padding apart) have fewer than two values."""
    stored, _ = store.read_stored(volume_uid)
    if stored.size and stored.dtype.kind != "f" and stored.min() == stored.max():
        return True
    measured = stored[store.valid(volume_uid)]
    measured = measured[np.isfinite(measured)]
    return not len(measured) or bool(measured.min() == measured.max())


CHECK = Check("L7", "no blank or constant image", "FAIL in test, else WARN", run)
