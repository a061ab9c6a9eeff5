"""Splits that never put one patient on two sides."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pandas as pd

from medssl.errors import StoreError


def split_patients(
    cases: pd.DataFrame,
    fractions: Mapping[str, float],
    seed: int,
    stratify: str | None = None,
) -> pd.Series[str]:
    """Give every case the split of its patient.

    Patients are put in the order of a hash of the seed and their key, so the split depends on no
    file order, library version or other patient's presence in another class. With `stratify`, each
    class (a patient's rarest) is cut in the same proportions.

    Args:
        cases: has patient_key, and the column `stratify` where that is given.
        fractions: split name to its share of patients, summing to 1.

    Returns:
        The split's name for each row, with the index of `cases`.

    Raises:
        StoreError: the shares do not sum to 1, or a split would be empty.
    """
    if abs(sum(fractions.values()) - 1.0) > 1e-6 or any(f < 0 for f in fractions.values()):
        raise StoreError(f"split fractions {dict(fractions)} do not sum to 1")
    strata = patient_strata(cases, stratify)
    chosen: dict[str, str] = {}
    for stratum in sorted(strata.unique()):
        patients = ordered_patients(strata.index[strata == stratum].tolist(), salt=str(seed))
        bounds, total = [], 0.0
        for share in fractions.values():
            total += share
            bounds.append(round(total * len(patients)))
        start = 0
        for name, stop in zip(fractions, bounds, strict=True):
            chosen.update(dict.fromkeys(patients[start:stop], name))
            start = stop
    empty = [name for name, f in fractions.items() if f > 0 and name not in chosen.values()]
    if empty:
        raise StoreError(f"too few patients ({len(chosen)}) for a split {', '.join(empty)}")
    return cases["patient_key"].map(chosen)


def patient_strata(cases: pd.DataFrame, label: str | None) -> pd.Series[str]:
    """The class of each patient: the rarest, over all cases, of those that he has."""
    if label is None:
        return pd.Series("", index=pd.Index(sorted(cases["patient_key"].unique())))
    counts = cases[label].astype(str).value_counts()
    rank = {c: (int(counts[c]), c) for c in counts.index}
    classes = cases.assign(_class=cases[label].astype(str)).groupby("patient_key")["_class"]
    return classes.agg(lambda seen: min(seen, key=lambda c: rank[c])).sort_index()


def ordered_patients(patients: list[str], salt: str) -> list[str]:
    """Patients in the order of SHA-256(salt | key): random, yet the same everywhere."""
    return sorted(patients, key=lambda p: hashlib.sha256(f"{salt}|{p}".encode()).hexdigest())
