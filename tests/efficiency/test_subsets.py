"""Subsets: nested, proportional, independent of order; validation counted and where it stops."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.efficiency.subsets import (
    cases_sha256,
    draw_splits,
    has_validation,
    merge_by_largest_remainder,
    patient_classes,
    prefix_size,
    subset_of,
    subset_sha256,
)
from medssl.errors import StudyError

SIZES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 40), min_size=1, max_size=8)


def make_cases(sizes: dict[str, int], test: int = 2, extra: int = 3, seed: int = 0) -> pd.DataFrame:
    """One case a patient, `test` more patients of each class for the test, and `extra` cases."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, size in sizes.items():
        for number in range(size + test):
            patient = f"{name}{number:03d}"
            role = "dev" if number < size else "test"
            rows.append((patient, name, role))
    rows += [rows[i] for i in rng.integers(0, len(rows), extra)]
    frame = pd.DataFrame(rows, columns=["patient_key", "label", "role"])
    frame["volume_uid"] = [f"v{i:04d}" for i in range(len(frame))]
    frame["pixel_sha256"] = [hashlib.sha256(u.encode()).hexdigest() for u in frame["volume_uid"]]
    return frame


@given(SIZES)
@settings(max_examples=150, deadline=None)
def test_every_prefix_of_the_merge_is_within_one_patient_of_proportional(
    sizes: dict[str, int],
) -> None:
    sequence = merge_by_largest_remainder(sizes)
    total = sum(sizes.values())
    assert {name: sequence.count(name) for name in sizes} == sizes
    for n in range(total + 1):
        for name, size in sizes.items():
            assert abs(sequence[:n].count(name) - n * size / total) < 1


@given(st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_two_classes_are_merged_by_the_larger_remainder(first: int, second: int) -> None:
    sizes, taken, expected = {"a": first, "b": second}, {"a": 0, "b": 0}, []
    for n in range(1, first + second + 1):
        chosen = max("ab", key=lambda c: (n * sizes[c] - taken[c] * (first + second), c == "a"))
        taken[chosen] += 1
        expected.append(chosen)
    assert merge_by_largest_remainder(sizes) == expected


@given(st.integers(6, 30), st.integers(6, 30), st.integers(0, 4), st.randoms())
@settings(max_examples=25, deadline=None)
def test_subsets_are_nested_and_do_not_depend_on_the_order_of_rows(
    first: int, second: int, draw: int, random: object
) -> None:
    cases = make_cases({"0": first, "1": second})
    shuffled = cases.sample(frac=1, random_state=random.randint(0, 2**31))  # type: ignore[attr-defined]
    splits = draw_splits(cases, "classification", 5)
    assert splits.equals(draw_splits(shuffled, "classification", 5))
    seen: dict[str, str] = {}
    for fraction in (0.25, 0.5, 0.75, 1.0):
        subset = subset_of(splits, cases, fraction, draw)
        assert subset_sha256(subset) == subset_sha256(subset_of(splits, shuffled, fraction, draw))
        labelled = subset[subset["split"] != "test"]
        patients = set(labelled["patient_key"])
        assert set(seen) <= patients
        seen = dict.fromkeys(patients, "")
        assert len(patients) == prefix_size(fraction, first + second)
        test = subset.loc[subset["split"] == "test", "patient_key"]
        assert set(test) == set(cases.loc[cases["role"] == "test", "patient_key"])


def test_patients_of_a_class_stand_in_the_order_of_the_documented_hash() -> None:
    cases = make_cases({"0": 9, "1": 6})
    name = cases_sha256(cases)
    splits = draw_splits(cases, "classification", 3)
    for draw in range(3):
        rows = splits[(splits["draw"] == draw) & (splits["patient_class"] == "1")]
        expected = sorted(
            rows["patient_key"],
            key=lambda p: hashlib.sha256(f"{name}|{draw}|{p}".encode()).hexdigest(),
        )
        assert rows.sort_values("rank")["patient_key"].tolist() == expected


def test_draws_differ_and_editing_the_cases_deals_anew() -> None:
    cases = make_cases({"0": 20, "1": 20})
    splits = draw_splits(cases, "classification", 2)
    first, second = (subset_of(splits, cases, 0.3, draw) for draw in range(2))
    assert subset_sha256(first) != subset_sha256(second)
    assert cases_sha256(cases) != cases_sha256(cases.assign(label=cases["label"].replace("1", "2")))


def test_a_patient_counts_as_his_rarest_class() -> None:
    cases = pd.DataFrame(
        {
            "patient_key": ["p", "p", "q", "r", "r"],
            "label": ["0", "1", "0", "0", "0"],
        }
    )
    assert patient_classes(cases, "classification").to_dict() == {"p": "1", "q": "0", "r": "0"}
    masks = cases.assign(label=["1,2", "1", "1", "1", ""])
    assert patient_classes(masks, "segmentation").to_dict() == {"p": "2", "q": "1", "r": ""}


def test_every_fifth_patient_of_a_class_validates_where_each_class_has_five() -> None:
    cases = make_cases({"0": 20, "1": 10}, extra=0)
    splits = draw_splits(cases, "classification", 1)
    whole = subset_of(splits, cases, 1.0, 0)
    val = whole[whole["split"] == "val"]
    assert val["label"].value_counts().to_dict() == {"0": 4, "1": 2}
    # 12 patients: 8 and 4, too few of class 1: nobody validates, all train.
    small = subset_of(splits, cases, 0.4, 0)
    assert set(small["split"]) == {"train", "test"}
    assert (small["split"] == "train").sum() == 12
    chosen = splits[(splits["role"] == "dev") & (splits["rank"] < 12)]
    assert chosen["patient_class"].value_counts()["1"] == 4
    assert not has_validation(chosen)


def test_a_fraction_without_a_class_is_refused() -> None:
    cases = make_cases({"0": 60, "1": 3})
    splits = draw_splits(cases, "classification", 1)
    with pytest.raises(StudyError, match=r"fraction 0\.05 .*none of class 1"):
        subset_of(splits, cases, 0.05, 0)


def test_no_patient_stands_on_two_sides() -> None:
    cases = make_cases({"0": 15, "1": 12, "2": 9}, extra=20)
    splits = draw_splits(cases, "classification", 3)
    for draw in range(3):
        subset = subset_of(splits, cases, 0.5, draw)
        assert (subset.groupby("patient_key")["split"].nunique() == 1).all()
