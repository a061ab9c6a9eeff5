"""The same scan under two patients: what would let a model be tested on what it learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from medssl.report.quality_facts import Facts, Keys, batches

NEAR_BITS = 7  # of 256; eight bands of 32 bits: two hashes this near agree in one band at least
_SHOWN = 20
_ALL_PAIRS = 64  # in a band's bucket; in larger ones each is compared with its neighbours
_PICTURED = {"near": 4, "equal": 2}  # groups, two volumes of each
_COLUMNS = ("volume_uid", "patient_key", "modality", "units", "site", "group_quality")

Pairs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Twins:
    """Groups of volumes that are one scan.

    Attributes:
        equal: sets of volumes with equal voxels under several patients.
        equal_volumes: how many volumes stand in them.
        near: pairs of volumes under two patients that look the same to the perceptual hash.
        repeated: volumes that are there once more under the same patient.
        rows: the volumes of the groups shown, with `group` ("equal 1", "near 3") and manifest
            columns.
    """

    equal: int
    equal_volumes: int
    near: int
    repeated: int
    rows: pd.DataFrame

    @property
    def pictured(self) -> list[int]:
        """Which of `rows` are worth a picture: the first two volumes of a few groups."""
        if self.rows.empty:
            return []
        kind = self.rows["group"].str.split().str[0]
        number = self.rows["group"].str.split().str[1].astype(int)
        few = number <= kind.map(_PICTURED)
        first_two = self.rows.groupby("group").cumcount() < 2
        return list(self.rows.index[few & first_two])


def find_twins(root: Path, facts: Facts, columns: Sequence[str] = ()) -> Twins:
    """Search all volumes; memory grows by some 80 bytes a volume.

    Args:
        columns: further columns of the manifest that the rows should have.
    """
    order = np.lexsort((facts.patient, facts.pixels))
    pixels, patient = facts.pixels[order], facts.patient[order]
    starts = np.flatnonzero(np.append(True, pixels[1:] != pixels[:-1])) if len(order) else order
    sizes = np.diff(np.append(starts, len(order)))
    across = _several_patients(patient, starts)
    same_person = (pixels[1:] == pixels[:-1]) & (patient[1:] == patient[:-1])
    near = _near_pairs(facts)
    groups = [order[s : s + n] for s, n in zip(starts[across], sizes[across], strict=True)]
    shown = {f"equal {i + 1}": group[:6] for i, group in enumerate(groups[:_SHOWN])}
    shown |= {f"near {i + 1}": pair for i, pair in enumerate(near[:_SHOWN])}
    return Twins(
        equal=len(groups),
        equal_volumes=int(sizes[across].sum()),
        near=len(near),
        repeated=int(same_person.sum()),
        rows=_rows(root, shown, [*dict.fromkeys((*_COLUMNS, *columns))]),
    )


def _near_pairs(facts: Facts) -> Pairs:
    """Pairs of two patients within NEAR_BITS, but for those whose voxels are equal; (pairs, 2)."""
    known = np.flatnonzero(facts.looks.any(axis=1))
    looks = facts.looks[known]
    bands = np.ascontiguousarray(looks).view(np.uint32)
    found = []
    for band in range(bands.shape[1]):
        order = np.argsort(bands[:, band])
        values = bands[order, band]
        starts = np.flatnonzero(np.append(True, values[1:] != values[:-1])) if len(order) else order
        sizes = np.diff(np.append(starts, len(order)))
        several = _several_patients(facts.patient[known[order]], starts)
        for start, size in zip(starts[several], sizes[several], strict=True):
            bucket = order[start : start + size]
            bucket = bucket[np.lexsort((bucket, looks[bucket, 0]))]  # the likeliest side by side
            first, second = _couples(len(bucket))
            found.append(_near_of(looks, bucket[first], bucket[second], facts, known))
    if not found:
        return np.zeros((0, 2), dtype=np.int64)
    return np.unique(np.concatenate(found), axis=0)


def _several_patients(patient: Keys, starts: Pairs) -> npt.NDArray[np.bool_]:
    if not len(starts):
        return np.zeros(0, dtype=bool)
    return np.asarray(np.minimum.reduceat(patient, starts) != np.maximum.reduceat(patient, starts))


def _couples(number: int) -> tuple[Pairs, Pairs]:
    if number <= _ALL_PAIRS:
        first, second = np.triu_indices(number, 1)
        return first, second
    steps = [(np.arange(number - step), np.arange(step, number)) for step in (1, 2, 3)]
    return np.concatenate([s[0] for s in steps]), np.concatenate([s[1] for s in steps])


def _near_of(looks: Keys, first: Pairs, second: Pairs, facts: Facts, known: Pairs) -> Pairs:
    a, b = known[first], known[second]
    other = (facts.patient[a] != facts.patient[b]) & (facts.pixels[a] != facts.pixels[b])
    first, second, a, b = first[other], second[other], a[other], b[other]
    bits = np.bitwise_count(looks[first] ^ looks[second]).sum(axis=1)
    pairs = np.sort(np.stack([a, b], axis=1), axis=1)
    return np.asarray(pairs[bits <= NEAR_BITS])


def _rows(root: Path, shown: dict[str, Pairs], columns: list[str]) -> pd.DataFrame:
    wanted = {int(at) for group in shown.values() for at in group}
    found: list[pd.DataFrame] = []
    passed = 0
    if wanted:
        places = np.array(sorted(wanted))
        for rows in batches(root, "manifest", columns):
            here = places[(places >= passed) & (places < passed + len(rows))]
            found.append(rows.iloc[here - passed].assign(at=here))
            passed += len(rows)
    if not found:
        return pd.DataFrame(columns=["group", *columns])
    table = pd.concat(found).set_index("at")
    groups = [table.loc[list(group)].assign(group=name) for name, group in shown.items()]
    return pd.concat(groups).reset_index(drop=True)
