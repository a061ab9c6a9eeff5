"""The threshold comes from the validation part alone, by a search over all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import recall_score

from medssl.transfer.intervals import patient_weights
from medssl.transfer.metrics import metric_names, metric_value, weighted_metric
from medssl.transfer.operating_point import with_operating_point


def predictions(seed: int = 0, classes: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, 90)
    columns = {f"logit_{c}": rng.normal(size=90) + 1.5 * (y == c) for c in range(classes)}
    return pd.DataFrame(
        {
            "volume_uid": [f"{i}" for i in range(90)],
            "patient_key": [f"p{i // 2}" for i in range(90)],
            "split": ["val"] * 40 + ["test"] * 50,
            "y_true": y,
            **columns,
        }
    ).assign(logit_0=lambda f: f["logit_0"] + 1)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_is_better_on_the_validation_part(seed: int) -> None:
    frame = with_operating_point(predictions(seed))
    score = frame["logit_1"] - frame["logit_0"]
    val = frame["split"] == "val"
    y = frame["y_true"]

    def youden(called: pd.Series) -> float:
        return called[val & (y == 1)].mean() - called[val & (y == 0)].mean()

    best = max(youden(score >= threshold) for threshold in score[val])
    assert youden(frame["called"]) == pytest.approx(best)
    # One threshold for all parts.
    assert score[frame["called"] == 1].min() > score[frame["called"] == 0].max()
    chosen = score[val & (frame["called"] == 1)].min()
    assert ((score >= chosen) == (frame["called"] == 1)).all()


def test_the_test_part_has_no_say() -> None:
    frame = predictions()
    turned = frame.assign(y_true=frame["y_true"].where(frame["split"] == "val", 0))
    pd.testing.assert_series_equal(
        with_operating_point(frame)["called"], with_operating_point(turned)["called"]
    )


def test_sensitivity_and_specificity_agree_with_scikit_learn() -> None:
    frame = with_operating_point(predictions(3)).query("split == 'test'").reset_index(drop=True)
    y, called = frame["y_true"], frame["called"]
    assert metric_value("sensitivity", frame) == pytest.approx(recall_score(y, called))
    expected = recall_score(y, called, pos_label=0)
    assert metric_value("specificity", frame) == pytest.approx(expected)
    weights = patient_weights(frame, 10, seed=0)
    for name in ("sensitivity", "specificity"):
        repeated = [
            metric_value(name, frame.loc[np.repeat(frame.index, row.astype(int))])
            for row in weights
        ]
        np.testing.assert_allclose(weighted_metric(name, frame, weights), repeated)


@pytest.mark.parametrize(
    "frame",
    [
        predictions(classes=3),
        predictions().query("split == 'test'"),
        predictions().query("split == 'test' or y_true == 1"),
        pd.DataFrame({"split": ["val"], "tp_1": [1], "fp_1": [0], "fn_1": [0]}),
    ],
    ids=["three classes", "no validation part", "one class in it", "masks"],
)
def test_without_a_choice_there_is_no_threshold(frame: pd.DataFrame) -> None:
    assert with_operating_point(frame) is frame
    assert "sensitivity" not in metric_names(frame)
