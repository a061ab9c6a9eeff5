"""Whether a quality report still says what its store holds.

The page's head has two digests: of the part files by name, size and time, which costs next to
nothing to compare; and of the rows, whatever parts they stand in, which is computed where the first
differs. So a run that reads a broken series once more, and writes the same row into another part,
leaves the page as it is.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.report.quality_facts import batches, leading_bits
from medssl.store.parts import part_files

_FORMAT = "1"  # of the page: raise it, and pages are written anew
_PARTS = "medssl-store-parts"
_ROWS = "medssl-store-rows"
_WORDS = {
    "manifest": (
        *("site", "modality", "contrast", "body_part", "manufacturer", "model", "sex", "age_band"),
        *("group_quality", "units", "outcome", "corrections", "notes"),
    ),
    "rejected": ("kind", "reason", "detail", "n_files"),
}
_KEYS = {"manifest": ("volume_uid", "patient_key", "pixel_sha256"), "rejected": ("source_key",)}


def state_of_store(root: Path, page: Path) -> dict[str, str] | None:
    """The digests that a page of the store is to carry; None where `page` is up to date."""
    written = _written(page)
    parts = _parts(root)
    if written.get(_PARTS) == parts:
        return None
    rows = _rows(root)
    if written.get(_ROWS) == rows:
        return None
    return {_PARTS: parts, _ROWS: rows}


def _parts(root: Path) -> str:
    digest = hashlib.sha256(_FORMAT.encode())
    for folder in _WORDS:
        for part in part_files(root, folder):
            stat = part.stat()
            digest.update(f"{folder}/{part.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _rows(root: Path) -> str:
    """A digest of what the rows say, in any order: the sum of a hash of each."""
    digest = hashlib.sha256(_FORMAT.encode())
    for folder, words in _WORDS.items():
        total, number = np.uint64(0), 0
        for rows in batches(root, folder, [*_KEYS[folder], *words]):
            keyed = {key: leading_bits(rows.pop(key)) for key in _KEYS[folder]}
            hashes = pd.util.hash_pandas_object(rows.assign(**keyed), index=False)
            with np.errstate(over="ignore"):
                total = total + hashes.to_numpy(np.uint64).sum(dtype=np.uint64)
            number += len(rows)
        digest.update(f"{folder} {number} {int(total)}\n".encode())
    return digest.hexdigest()


def _written(page: Path) -> dict[str, str]:
    try:
        with page.open(encoding="utf-8") as file:
            head = file.read(2000)
    except (OSError, UnicodeDecodeError):
        return {}
    return dict(re.findall(r'<meta name="(medssl-store-[a-z]+)" content="([0-9a-f]{64})">', head))
