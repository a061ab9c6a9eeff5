"""Subgroups against pandas, and what is too small to be told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from medssl.transfer.intervals import bootstrap_interval
from medssl.transfer.metrics import metric_names
from medssl.transfer.subgroups import (
    GROUPED_BY,
    LEAST_PATIENTS,
    NOT_KNOWN,
    Subgroup,
    subgroup_table,
    subgroups_of,
)


def study(patients: int = 60) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions of two volumes a patient, in another order than the manifest's."""
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(patients), 2)
    y = rng.integers(0, 2, len(owner))
    uids = [f"{i:032x}" for i in range(len(owner))]
    predictions = pd.DataFrame(
        {
            "volume_uid": uids,
            "patient_key": [f"p{i}" for i in owner],
            "y_true": y,
            "logit_0": 0.0,
            "logit_1": rng.normal(size=len(owner)) + y,
        }
    )
    manifest = pd.DataFrame(
        {
            "volume_uid": uids,
            "manufacturer": np.where(owner < LEAST_PATIENTS - 1, "SIEMENS", "GE"),
            "sex": np.where(owner % 3 == 0, "", np.where(owner % 3 == 1, "F", "M")),
            "age_band": np.where(owner < LEAST_PATIENTS, "40-44", None),
            "site": "",
            "modality": ["CT", "MR"] * patients,
        },
        index=uids,
    )
    return predictions.sample(frac=1, random_state=1, ignore_index=True), manifest


def found() -> dict[tuple[str, str], Subgroup]:
    return {(group.column, group.value): group for group in subgroups_of(*study())}


def test_a_groups_metrics_are_those_of_its_cases_alone() -> None:
    predictions, manifest = study()
    groups = found()
    joined = predictions.merge(manifest, on="volume_uid")
    for column, value in (("sex", "F"), ("modality", "MR"), ("manufacturer", "GE")):
        rows = joined[joined[column] == value]
        group = groups[column, value]
        auc = group.metrics["auc_macro"]
        assert auc.value == pytest.approx(roc_auc_score(rows["y_true"], rows["logit_1"]))
        assert auc == bootstrap_interval(rows[predictions.columns], "auc_macro")
        assert auc.low < auc.value < auc.high
        assert (group.cases, group.patients) == (len(rows), rows["patient_key"].nunique())
        assert list(group.metrics) == metric_names(predictions)


def test_every_case_is_in_one_group_of_each_column() -> None:
    groups = found().values()
    by_column = {c: sum(g.cases for g in groups if g.column == c) for c in GROUPED_BY}
    assert by_column == {"manufacturer": 120, "sex": 120, "age_band": 120, "site": 0,
                         "modality": 120}  # fmt: skip
    assert [g.value for g in groups if g.column == "sex"] == ["F", "M", NOT_KNOWN]


def test_nine_patients_are_listed_without_a_number_and_ten_with_one() -> None:
    groups = found()
    nine, ten = groups["manufacturer", "SIEMENS"], groups["age_band", "40-44"]
    assert (nine.patients, nine.cases, nine.metrics) == (9, 18, {})
    assert ten.patients == 10
    assert np.isfinite(ten.metrics["auc_macro"].low)
    assert nine.record()["metrics"] == {}


def test_the_table_has_a_row_for_each_group_and_metric() -> None:
    groups = list(found().values())
    names = ["auc_macro", "brier"]
    table = subgroup_table(groups, names)
    assert len(table) == len(groups) * 2
    few = table[table["value"] == "SIEMENS"]
    assert few[["estimate", "low", "high"]].isna().all(axis=None)
    assert (few["patients"] == 9).all()
    ge = table[(table["value"] == "GE") & (table["metric"] == "brier")].iloc[0]
    assert ge["estimate"] == found()["manufacturer", "GE"].metrics["brier"].value


def test_what_a_group_does_not_define_is_null() -> None:
    predictions, manifest = study()
    manifest["sex"] = np.where(manifest.index.isin(
        predictions.loc[predictions["y_true"] == 1, "volume_uid"]), "F", "M")  # fmt: skip
    (record,) = (g.record() for g in subgroups_of(predictions, manifest) if g.value == "F")
    assert record["metrics"]["auc_macro"] == {"value": None, "low": None, "high": None}
    assert record["metrics"]["brier"]["value"] is not None


def test_segmentation_is_told_over_all_classes() -> None:
    predictions, manifest = study()
    counts = {f"{k}_{c}": 1 for k in ("tp", "fp", "fn") for c in (1, 2)}
    masks = predictions[["volume_uid", "patient_key"]].assign(**counts)
    group = subgroups_of(masks, manifest)[0]
    assert list(group.metrics) == ["dice_mean"]
