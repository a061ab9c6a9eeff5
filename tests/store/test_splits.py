"""Splits: patient-safe, proportional, and independent of the order of rows."""

from __future__ import annotations

import hashlib

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.errors import StoreError
from medssl.store.splits import patient_strata, split_patients

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


@given(st.integers(10, 60), st.integers(0, 5), st.randoms())
def test_no_patient_is_on_two_sides_and_order_does_not_matter(
    patients: int, seed: int, random: object
) -> None:
    keys = [f"p{i % patients}" for i in range(2 * patients)]
    cases = pd.DataFrame({"patient_key": keys, "label": [i % 2 for i in range(2 * patients)]})
    split = split_patients(cases, SHARES, seed, stratify=None)
    assert split.groupby(cases["patient_key"]).nunique().max() == 1
    shuffled = cases.sample(frac=1, random_state=seed)
    again = split_patients(shuffled, SHARES, seed, stratify=None)
    assert again.sort_index().equals(split.sort_index())
    sizes = cases.assign(split=split).groupby("split")["patient_key"].nunique()
    for name, share in SHARES.items():
        assert abs(sizes[name] - share * patients) <= 1


def test_classes_are_cut_in_the_same_proportion() -> None:
    cases = pd.DataFrame(
        {"patient_key": [f"p{i}" for i in range(100)], "label": ["a"] * 80 + ["b"] * 20}
    )
    split = split_patients(cases, SHARES, 0, stratify="label")
    assert (cases["label"][split == "test"] == "b").sum() == 4
    assert (split == "test").sum() == 20


def test_a_patient_counts_for_his_rarest_class() -> None:
    cases = pd.DataFrame({"patient_key": ["x", "x", "y", "z"], "label": ["a", "b", "a", "a"]})
    assert patient_strata(cases, "label").to_dict() == {"x": "b", "y": "a", "z": "a"}


def test_another_seed_gives_another_split() -> None:
    cases = pd.DataFrame({"patient_key": [f"p{i}" for i in range(40)]})
    first, second = (split_patients(cases, SHARES, seed) for seed in (0, 1))
    assert not first.equals(second)


def test_impossible_splits_are_refused() -> None:
    cases = pd.DataFrame({"patient_key": ["a", "b"]})
    with pytest.raises(StoreError, match="sum to 1"):
        split_patients(cases, {"train": 0.5}, 0)
    with pytest.raises(StoreError, match="too few patients"):
        split_patients(cases, {"train": 0.9, "val": 0.05, "test": 0.05}, 0)


def as_before(
    cases: pd.DataFrame, fractions: dict[str, float], seed: int, label: str | None
) -> list[str]:
    """The split as it was first written, patient by patient: it may never change."""
    if label is None:
        strata = dict.fromkeys(sorted(cases["patient_key"].unique()), "")
    else:
        counts = cases[label].astype(str).value_counts()
        strata = {
            str(patient): min(rows[label].astype(str), key=lambda c: (int(counts[c]), c))
            for patient, rows in cases.groupby("patient_key", observed=True)
        }
    chosen: dict[str, str] = {}
    for stratum in sorted(set(strata.values())):
        patients = sorted(
            (p for p in strata if strata[p] == stratum),
            key=lambda p: hashlib.sha256(f"{seed}|{p}".encode()).hexdigest(),
        )
        bounds, total = [0], 0.0
        for share in fractions.values():
            total += share
            bounds.append(round(total * len(patients)))
        for name, start, stop in zip(fractions, bounds[:-1], bounds[1:], strict=True):
            chosen.update(dict.fromkeys(patients[start:stop], name))
    return [chosen[p] for p in cases["patient_key"]]


@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from("abc")), min_size=60, max_size=120),
    st.integers(0, 9),
    st.sampled_from([None, "label"]),
)
def test_the_split_of_a_patient_is_what_it_always_was(
    rows: list[tuple[int, str]], seed: int, label: str | None
) -> None:
    cases = pd.DataFrame({"patient_key": [f"p{n}" for n, _ in rows], "label": [c for _, c in rows]})
    try:
        split = split_patients(cases, SHARES, seed, label)
    except StoreError:
        return
    assert split.tolist() == as_before(cases, SHARES, seed, label)
    categorical = cases.astype("category")
    assert split_patients(categorical, SHARES, seed, label).tolist() == split.tolist()
    assert patient_strata(categorical, label).to_dict() == patient_strata(cases, label).to_dict()
