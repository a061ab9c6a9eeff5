"""Weighted metrics against repeated rows, and the bootstrap against a slow loop."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from medssl.errors import MedsslError
from medssl.transfer.intervals import bootstrap_interval, paired_difference, patient_weights
from medssl.transfer.metrics import metric_names, metric_value, weighted_metric
from medssl.transfer.weighted import weighted_auc, weighted_average_precision


def classified(
    patients: int = 30, num_classes: int = 2, seed: int = 0, ties: bool = False
) -> pd.DataFrame:
    """One to four cases a patient, who may have several classes."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    y = rng.integers(0, num_classes, len(owner))
    logits = rng.normal(size=(len(owner), num_classes)) + 0.8 * np.eye(num_classes)[y]
    if ties:
        logits = logits.round()
    return pd.DataFrame(
        {
            "volume_uid": [f"{i:04}" for i in range(len(owner))],
            "patient_key": [f"p{i:03}" for i in owner],
            "y_true": y,
            **{f"logit_{c}": logits[:, c] for c in range(num_classes)},
        }
    )


def segmented(patients: int = 12, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(patients), 2)
    counts = ("tp", "fp", "fn", "lesion_tp", "lesion_fp", "lesion_fn")
    columns = {f"{k}_{c}": rng.integers(0, 3, len(owner)) for c in (1, 2) for k in counts}
    for c in (1, 2):
        absent = rng.random(len(owner)) < 0.2
        columns[f"nsd_{c}"] = np.where(absent, np.nan, rng.random(len(owner)))
        columns[f"hd95_mm_{c}"] = np.where(absent, np.nan, 40 * rng.random(len(owner)))
    uids = [f"{i:04}" for i in range(len(owner))]
    return pd.DataFrame({"volume_uid": uids, "patient_key": [f"p{i}" for i in owner], **columns})


FRAMES = {
    "two classes": classified(),
    "two classes, ties": classified(ties=True),
    "three classes": classified(num_classes=3, seed=1),
    "segmentation": segmented(),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_a_weighted_metric_is_the_metric_of_repeated_rows(kind: str) -> None:
    frame = FRAMES[kind]
    weights = patient_weights(frame, 25, seed=3)
    for name in metric_names(frame):
        expected = [
            metric_value(name, frame.loc[np.repeat(frame.index, row.astype(int))])
            for row in weights
        ]
        np.testing.assert_allclose(
            weighted_metric(name, frame, weights), expected, atol=1e-9, err_msg=name
        )


def test_weighted_auc_of_one_sided_resamples_is_undefined() -> None:
    positive = np.array([True, False, True])
    weights = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    areas = weighted_auc(positive, np.array([2.0, 1.0, 0.0]), weights)
    np.testing.assert_array_equal(areas, [np.nan, np.nan, 1.0])
    areas = weighted_average_precision(positive, np.array([2.0, 1.0, 0.0]), weights)
    np.testing.assert_array_equal(areas, [1.0, np.nan, 1.0])


def test_patients_are_drawn_whole_and_within_their_class() -> None:
    frame = classified(patients=40, seed=5)
    weights = patient_weights(frame, 50, seed=0)
    counts = frame["y_true"].value_counts()
    rare = int(counts.index[counts.argmin()])
    has_rare = frame.groupby("patient_key")["y_true"].agg(lambda y: rare in set(y))
    for row in weights:
        by_patient = pd.Series(row).groupby(frame["patient_key"])
        assert (by_patient.nunique() == 1).all()
        drawn = by_patient.first()
        assert drawn[has_rare].sum() == has_rare.sum()
        assert drawn[~has_rare].sum() == (~has_rare).sum()
    assert weights.std(axis=0).min() > 0


def test_the_draw_does_not_depend_on_the_order_of_rows() -> None:
    frame = classified()
    shuffled = frame.sample(frac=1, random_state=1)
    weights = pd.DataFrame(patient_weights(frame, 20, seed=7), columns=frame["volume_uid"])
    other = pd.DataFrame(patient_weights(shuffled, 20, seed=7), columns=shuffled["volume_uid"])
    pd.testing.assert_frame_equal(weights, other[weights.columns])


def test_interval_agrees_with_a_slow_loop_over_resampled_patients() -> None:
    frame = classified(patients=60, seed=2)
    groups = [rows for _, rows in frame.groupby("patient_key")]
    rare = frame["y_true"].value_counts().idxmin()
    strata = [[g for g in groups if (rare in set(g["y_true"])) == side] for side in (True, False)]
    rng = np.random.default_rng(11)
    values = []
    for _ in range(1000):
        drawn = [s[i] for s in strata for i in rng.integers(0, len(s), len(s))]
        y = np.concatenate([g["y_true"] for g in drawn])
        scores = np.concatenate([g["logit_1"] - g["logit_0"] for g in drawn])
        wins = scores[y == 1][:, None] - scores[y == 0][None]
        values.append((wins > 0).mean() + 0.5 * (wins == 0).mean())
    interval = bootstrap_interval(frame, "auc_macro")
    low, high = np.quantile(values, [0.025, 0.975])
    assert interval.low == pytest.approx(low, abs=0.012)
    assert interval.high == pytest.approx(high, abs=0.012)
    assert interval.low < interval.value < interval.high
    assert interval.patients == 60


def calibrated(cases: int, seed: int) -> pd.DataFrame:
    """Binary cases whose probabilities are exactly right, each of a patient of his own."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 2, cases)
    return pd.DataFrame(
        {
            "volume_uid": [f"{i:04}" for i in range(cases)],
            "patient_key": [f"p{i:04}" for i in range(cases)],
            "y_true": (rng.random(cases) < 1 / (1 + np.exp(-logit))).astype(int),
            "logit_0": 0.0,
            "logit_1": logit,
        }
    )


def test_the_interval_of_ece_is_about_its_value_though_resampling_inflates_it() -> None:
    above = 0
    for seed in range(20):
        frame = calibrated(100, seed)
        weights = patient_weights(frame, 200, seed=0)
        resampled = weighted_metric("ece", frame, weights)
        interval = bootstrap_interval(frame, "ece", resamples=200)
        above += np.quantile(resampled, 0.025) > interval.value
        assert 0 <= interval.low <= interval.value <= interval.high <= 1
        moved = np.maximum(resampled - resampled.mean() + interval.value, 0)
        assert interval.low == pytest.approx(np.quantile(moved, 0.025))
        assert interval.high == pytest.approx(np.quantile(moved, 0.975))
    assert above  # what plain percentiles do


def test_clustering_by_patient_widens_the_interval_of_copied_cases() -> None:
    one = classified(patients=40, seed=4).drop_duplicates("patient_key")
    many = pd.concat([one.assign(volume_uid=one["volume_uid"] + f"-{k}") for k in range(6)])
    alone = many.assign(patient_key=many["volume_uid"])
    clustered = bootstrap_interval(many, "auc_macro")
    as_if_independent = bootstrap_interval(alone, "auc_macro")
    width = clustered.high - clustered.low
    assert width > 1.8 * (as_if_independent.high - as_if_independent.low)
    expected = bootstrap_interval(one, "auc_macro")
    assert width == pytest.approx(expected.high - expected.low, abs=1e-9)


def test_a_paired_difference_is_narrower_than_the_two_intervals() -> None:
    first = classified(patients=80, seed=6)
    second = first.assign(logit_1=first["logit_1"] + 0.05).sample(frac=1, random_state=0)
    worse = second.assign(
        logit_1=second["logit_1"] + np.random.default_rng(0).normal(0, 0.2, len(second))
    )
    difference = paired_difference(first, worse, "auc_macro")
    assert difference.value == pytest.approx(
        metric_value("auc_macro", first) - metric_value("auc_macro", worse)
    )
    single = bootstrap_interval(first, "auc_macro")
    assert difference.high - difference.low < 0.5 * (single.high - single.low)
    itself = paired_difference(first, second, "auc_macro")
    assert itself.low == itself.high == itself.value == 0.0


def test_a_paired_difference_of_other_cases_is_refused() -> None:
    frame = classified()
    with pytest.raises(MedsslError, match="same cases"):
        paired_difference(frame, frame.iloc[1:], "auc_macro")
    with pytest.raises(MedsslError, match="same cases"):
        paired_difference(frame, frame.assign(y_true=1 - frame["y_true"]), "auc_macro")


def test_two_thousand_resamples_of_a_test_set_take_a_moment() -> None:
    frame = classified(patients=150, seed=8)
    began = time.process_time()
    bootstrap_interval(frame, "auc_macro", resamples=2000)
    assert time.process_time() - began < 2.0


def test_weighted_auc_is_the_same_by_pairs_and_by_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(80) < 0.4
    scores = rng.integers(0, 12, 80).astype(np.float64)  # with ties
    weights = rng.integers(0, 4, (30, 80)).astype(np.float64)
    by_pairs = weighted_auc(positive, scores, weights)
    monkeypatch.setattr("medssl.transfer.weighted._MOST_PAIRS", 0)
    assert weighted_auc(positive, scores, weights) == pytest.approx(by_pairs, abs=1e-12)
