"""Splits that never put one patient on two sides."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from medssl.errors import StoreError

_AT_ONCE = 100_000


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
        cases: has patient_key, and the column `stratify` where that is given; either may be
            categorical, which spares memory where there are millions of rows.
        fractions: split name to its share of patients, summing to 1.

    Returns:
        The split's name for each row, with the index of `cases`.

    Raises:
        StoreError: the shares do not sum to 1, or a split would be empty.
    """
    if abs(sum(fractions.values()) - 1.0) > 1e-6 or any(f < 0 for f in fractions.values()):
        raise StoreError(f"split fractions {dict(fractions)} do not sum to 1")
    row_patient, patients = _factorized(cases["patient_key"])
    strata, num_strata = _strata_codes(cases, row_patient, len(patients), stratify)
    # In the order of strata, and within each in that of the hashes.
    order = np.lexsort((_hash_ranks(patients, str(seed)), strata))
    ends = np.searchsorted(strata[order], np.arange(num_strata + 1))
    chosen = np.full(len(patients), len(fractions) - 1, dtype=np.int8)
    for first, last in pairwise(int(end) for end in ends):
        start, total = first, 0.0
        for number, share in enumerate(fractions.values()):
            total += share
            stop = min(first + round(total * (last - first)), last)
            chosen[order[start:stop]] = number
            start = stop
    sizes = np.bincount(chosen, minlength=len(fractions))
    empty = [name for (name, f), n in zip(fractions.items(), sizes, strict=True) if f > 0 and not n]
    if empty:
        raise StoreError(f"too few patients ({len(patients)}) for a split {', '.join(empty)}")
    names = pd.Series(list(fractions)).array
    return pd.Series(names.take(chosen[row_patient]), index=cases.index)


def patient_strata(cases: pd.DataFrame, label: str | None) -> pd.Series[str]:
    """The class of each patient: the rarest, over all cases, of those that he has."""
    row_patient, patients = _factorized(cases["patient_key"])
    if label is None:
        return pd.Series("", index=patients).sort_index()
    codes, classes = _by_rarity(cases[label])
    rarest = classes[_rarest(row_patient, len(patients), codes)]
    return pd.Series(rarest, index=patients).sort_index()


def _factorized(keys: pd.Series[str]) -> tuple[npt.NDArray[np.intp], pd.Index[str]]:
    """The number of each row's patient, and the patients."""
    codes, patients = pd.factorize(keys)
    if isinstance(patients, pd.CategoricalIndex):  # its categories may hold more than occur
        patients = patients.categories.take(patients.codes)
    return codes, pd.Index(patients)


def _hash_ranks(patients: pd.Index[str], salt: str) -> npt.NDArray[np.int64]:
    """The place of each patient in the order of SHA-256(salt | key)."""
    start = hashlib.sha256(f"{salt}|".encode())
    digests = bytearray()
    for first in range(0, len(patients), _AT_ONCE):
        for patient in np.asarray(patients[first : first + _AT_ONCE], dtype=object):
            digest = start.copy()
            digest.update(patient.encode())
            digests += digest.digest()
    # Bytes compare as their hexadecimal digits do. NumPy ignores zero bytes at the end, which only
    # matters to texts of different lengths.
    order = np.argsort(np.frombuffer(digests, dtype="S32"), kind="stable")
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def _strata_codes(
    cases: pd.DataFrame, row_patient: npt.NDArray[np.intp], patients: int, label: str | None
) -> tuple[npt.NDArray[np.int64], int]:
    """The stratum of each patient, numbered in the order of its name, and how many there are."""
    if label is None:
        return np.zeros(patients, dtype=np.int64), 1
    codes, classes = _by_rarity(cases[label])
    places = np.argsort(np.argsort(classes))
    return places[_rarest(row_patient, patients, codes)], len(classes)


def _by_rarity(labels: pd.Series[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.object_]]:
    """Each row's class as a number, the rarest being 0 (of two, the first by name); the classes."""
    codes, classes = pd.factorize(labels.astype(str))
    names = np.asarray(classes, dtype=object)
    counts = np.bincount(codes, minlength=len(names))
    order = sorted(range(len(names)), key=lambda c: (int(counts[c]), names[c]))
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[order] = np.arange(len(names))
    return ranks[codes], names[order]


def _rarest(
    row_patient: npt.NDArray[np.intp], patients: int, codes: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """The lowest code among the rows of each patient."""
    lowest = np.full(patients, np.iinfo(np.int64).max, dtype=np.int64)
    np.minimum.at(lowest, row_patient, codes)
    return lowest
