"""Folds: every patient tests once, nobody stands on two sides, classes stay even."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from medssl.errors import ConfigError, TrainingError
from medssl.store import open_store
from medssl.transfer.config import SplitConfig
from medssl.transfer.folds import cases_of_fold, deal_folds, fold_cases, keep_folds
from medssl.transfer.task_config import MultilabelTask, RegressionTask

from .conftest import ball_scan, write_scans


def many_cases(patients: int = 60, seed: int = 0) -> pd.DataFrame:
    """One to three cases a patient; a quarter of the patients are of class 1."""
    rng = np.random.default_rng(seed)
    rows = [
        {"volume_uid": f"{rng.integers(10**9):09}-{p}-{c}", "patient_key": f"p{p:03}",
         "y_true": int(p % 4 == 0)}
        for p in range(patients)
        for c in range(rng.integers(1, 4))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def split_of(**values: object) -> SplitConfig:
    return SplitConfig.model_validate({"source": "folds", **values})


def test_every_patient_tests_once_and_stands_on_one_side() -> None:
    cases = many_cases()
    folds = deal_folds(cases, ("a", "b"), split_of(folds=5, val=0.2))
    tested = folds[folds["split"] == "test"]
    assert sorted(tested["volume_uid"]) == sorted(cases["volume_uid"])
    assert (tested.groupby("patient_key")["fold"].nunique() == 1).all()
    for fold in range(5):
        part = cases_of_fold(folds, fold)
        assert sorted(part["volume_uid"]) == sorted(cases["volume_uid"])
        assert (part.groupby("patient_key")["split"].nunique() == 1).all()
        patients = part.drop_duplicates("patient_key").groupby("split")
        # 60 patients, 15 of them of class 1: 48 learn or validate, 12 of those.
        counts = patients["y_true"].agg(["size", "sum"])
        assert counts.loc["val", "size"] == pytest.approx(0.2 * 48, abs=2)
        assert counts.loc["val", "sum"] == pytest.approx(0.2 * 12, abs=1)
        assert counts.loc["test", "sum"] == 3


@pytest.mark.parametrize("classes", [("a", "b"), None])
def test_the_folds_are_scikit_learns(classes: tuple[str, ...] | None) -> None:
    cases = many_cases(seed=1)
    folds = deal_folds(cases, classes, split_of(folds=4, val=0.0, seed=7))
    ordered = cases.sort_values("volume_uid")
    kind = GroupKFold if classes is None else StratifiedGroupKFold
    expected = kind(4, shuffle=True, random_state=7).split(
        ordered, ordered["y_true"], ordered["patient_key"]
    )
    for fold, (_, testing) in enumerate(expected):
        part = cases_of_fold(folds, fold)
        ours = set(part.loc[part["split"] == "test", "volume_uid"])
        assert ours == set(ordered["volume_uid"].iloc[testing])
        assert set(part["split"]) == {"train", "test"}


def test_the_order_of_cases_does_not_matter_and_the_seed_does() -> None:
    cases = many_cases()
    folds = deal_folds(cases, ("a", "b"), split_of())
    shuffled = cases.sample(frac=1.0, random_state=3)
    pd.testing.assert_frame_equal(folds, deal_folds(shuffled, ("a", "b"), split_of()))
    assert not folds.equals(deal_folds(cases, ("a", "b"), split_of(seed=1)))


def test_too_few_patients_of_a_class_are_told_before_anything_is_trained() -> None:
    cases = many_cases(patients=12)
    with pytest.raises(TrainingError, match="3 patients of class b cannot be dealt into 5 folds"):
        deal_folds(cases, ("a", "b"), split_of())
    with pytest.raises(TrainingError, match="12 patients of all cannot be dealt into 13 folds"):
        deal_folds(cases, None, split_of(folds=13))


def test_a_table_that_is_there_has_to_be_the_same(tmp_path: Path) -> None:
    folds = deal_folds(many_cases(), ("a", "b"), split_of())
    path = tmp_path / "folds.parquet"
    keep_folds(path, folds)
    keep_folds(path, folds)
    pd.testing.assert_frame_equal(
        pd.read_parquet(path).astype(str), folds.astype(str), check_dtype=False
    )
    with pytest.raises(ConfigError, match="holds other folds"):
        keep_folds(path, deal_folds(many_cases(), ("a", "b"), split_of(seed=1)))


def test_targets_of_any_task_go_along() -> None:
    cases = many_cases(12).drop(columns="y_true")
    cases = cases.assign(**{"y_true/a": np.where(np.arange(len(cases)) % 3, 1.0, np.nan)})
    folds = deal_folds(cases, None, split_of(folds=3, val=0.2))
    given = cases.set_index("volume_uid")["y_true/a"]
    for number in range(3):
        fold = cases_of_fold(folds, number).set_index("volume_uid")["y_true/a"]
        pd.testing.assert_series_equal(fold, given.loc[fold.index])


@pytest.mark.parametrize("rare", ["label", "number"])
def test_a_fold_that_has_nothing_to_learn_is_told_before_anything_is_trained(
    tmp_path: Path, rare: str
) -> None:
    volume, _, _ = ball_scan(0)
    names = {"label": ("rare", "common"), "number": ("age",)}[rare]
    labels = [
        {"volume_uid": f"{i:032x}", "patient_key": f"p{i}", "name": name, "kind": "class",
         "value": str(int(i == 3 or (name == "common" and i % 2)))}
        for i in range(12)
        for name in names
    ]  # fmt: skip
    write_scans(tmp_path / "s", [(volume, np.zeros(0), f"p{i}") for i in range(12)], labels)
    task = MultilabelTask(labels=names) if rare == "label" else RegressionTask(label="age")
    store = open_store(tmp_path / "s")
    with pytest.raises(
        TrainingError, match=r"fold \d \(from 0\): .* one value alone of (rare|y_true)"
    ):
        fold_cases(store, task, split_of(folds=3, val=0.0))
