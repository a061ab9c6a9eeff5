"""The threshold comes from the validation part alone, by a search over all, and new scans are
answered at it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import confusion_matrix, recall_score, roc_curve

from medssl.models.weights import read_metadata, read_weights, save_weights
from medssl.predict.config import PredictConfig
from medssl.predict.predict import predict
from medssl.transfer.ensemble import write_ensemble
from medssl.transfer.finetune import finetune
from medssl.transfer.intervals import patient_weights
from medssl.transfer.metrics import metric_names, metric_value, weighted_metric
from medssl.transfer.operating_point import (
    SLACK,
    chosen_threshold,
    joint_threshold,
    threshold_told,
    with_operating_point,
)

from .test_finetune import configured


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


def called(frame: pd.DataFrame) -> pd.DataFrame:
    return with_operating_point(frame, chosen_threshold(frame))


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_is_better_on_the_validation_part(seed: int) -> None:
    frame = called(predictions(seed))
    score = frame["logit_1"] - frame["logit_0"]
    val = frame["split"] == "val"
    y = frame["y_true"]

    def youden(answers: pd.Series) -> float:
        return answers[val & (y == 1)].mean() - answers[val & (y == 0)].mean()

    best = max(youden(score >= threshold) for threshold in score[val])
    assert youden(frame["called"]) == pytest.approx(best)
    # One threshold for all parts.
    assert score[frame["called"] == 1].min() > score[frame["called"] == 0].max()
    chosen = score[val & (frame["called"] == 1)].min()
    assert ((score >= chosen) == (frame["called"] == 1)).all()


def test_the_test_part_has_no_say() -> None:
    frame = predictions()
    turned = frame.assign(y_true=frame["y_true"].where(frame["split"] == "val", 0))
    pd.testing.assert_series_equal(called(frame)["called"], called(turned)["called"])


def test_sensitivity_and_specificity_agree_with_scikit_learn() -> None:
    frame = called(predictions(3)).query("split == 'test'").reset_index(drop=True)
    y, answers = frame["y_true"], frame["called"]
    assert metric_value("sensitivity", frame) == pytest.approx(recall_score(y, answers))
    expected = recall_score(y, answers, pos_label=0)
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
    assert chosen_threshold(frame) is None
    assert called(frame) is frame
    assert "sensitivity" not in metric_names(frame)


def test_averaged_probabilities_are_read_where_the_distances_from_all_thresholds_add_up() -> None:
    rng = np.random.default_rng(0)
    thresholds = rng.normal(scale=2, size=3)
    scores = rng.normal(scale=2, size=(500, 3))
    joint = joint_threshold(list(thresholds))
    assert joint is not None
    assert expit(joint) == pytest.approx(expit(thresholds).mean())
    averaged = expit(scores).mean(axis=1)
    distances = (expit(scores) - expit(thresholds)).sum(axis=1)
    np.testing.assert_array_equal(averaged >= expit(joint), distances >= 0)
    # Probabilities that a float64 rounds to 1.
    assert joint_threshold([45.0, 45.0]) == pytest.approx(45.0)
    assert joint_threshold([0.3]) == 0.3


def test_where_one_of_several_networks_has_no_threshold_there_is_none() -> None:
    assert joint_threshold([0.3, None]) is None
    assert joint_threshold([]) is None
    assert threshold_told([0.3, None]).startswith("a probability of 0.5: one of the folds")
    assert threshold_told([None]).startswith("a probability of 0.5: this run")
    assert threshold_told([math.log(3)]) == "a probability of 0.75, chosen on the validation part"
    assert threshold_told([math.log(3), 0.0]).endswith("chose: 0.75, 0.5")


def answers(run: Path, store: Path, out: Path) -> pd.DataFrame:
    """predictions.csv of a whole store, by volume."""
    predict(PredictConfig(run=run, input=store, out=out))
    return pd.read_csv(out / "predictions.csv").set_index("input")


def test_new_scans_are_answered_at_the_threshold_that_was_reported(
    ball_store: Path, tmp_path: Path
) -> None:
    config = configured(
        ball_store, "classification", steps=10, validate_every=10, temperature_scaling=True
    )
    result = finetune(config, tmp_path / "run")
    frame = pd.read_parquet(result.predictions)
    val, test = (frame[frame["split"] == part] for part in ("val", "test"))
    false, found, thresholds = roc_curve(val["y_true"], val["logit_1"] - val["logit_0"])
    best = thresholds[(found - false).argmax()] - SLACK
    about = read_metadata(result.model)
    assert json.loads(about["temperature"]) != 1
    assert json.loads(about["threshold"]) == pytest.approx(best, rel=1e-12)

    classes = json.loads(about["classes"])
    told = answers(result.run, ball_store, tmp_path / "out")
    decided = told["predicted"].loc[val["volume_uid"]].map(classes.index)
    np.testing.assert_array_equal(decided, val["called"])
    told = told.loc[test["volume_uid"]]
    counts = confusion_matrix(test["y_true"], told["predicted"].map(classes.index))
    np.testing.assert_array_equal(counts, confusion_matrix(test["y_true"], test["called"]))
    assert counts[1, 1] / counts[1].sum() == result.metrics["test/sensitivity"]
    assert counts[0, 0] / counts[0].sum() == result.metrics["test/specificity"]
    probabilities = softmax(test[["logit_0", "logit_1"]].to_numpy(), axis=1)
    np.testing.assert_allclose(told[f"probability_{classes[1]}"], probabilities[:, 1], atol=2e-6)
    kept = json.loads((tmp_path / "out" / "predictions.json").read_text())["threshold"]
    assert kept == pytest.approx(expit(best))
    assert (
        f"{expit(best):.4g}, chosen on the validation part"
        in (result.run / "report.html").read_text()
    )

    # A run of weights that keep no threshold: the likeliest class, which is another for some.
    del about["threshold"]
    save_weights(result.model, read_weights(result.model), about)
    likeliest = answers(result.run, ball_store, tmp_path / "old").loc[test["volume_uid"]]
    assert (likeliest["predicted"].map(classes.index) == probabilities.argmax(axis=1)).all()
    assert (likeliest["predicted"] != told["predicted"]).any()


def test_folds_are_answered_at_the_mean_of_their_thresholds(
    ball_store: Path, tmp_path: Path
) -> None:
    split = {"source": "folds", "folds": 2, "val": 0.4}
    config = configured(ball_store, "classification", steps=4, validate_every=4, split=split)
    run = finetune(config, tmp_path / "run").run
    members = [run / "folds" / n / "checkpoints" / "model.safetensors" for n in "01"]
    kept = [json.loads(read_metadata(path)["threshold"]) for path in members]
    mean = expit(kept).mean()
    assert f"{mean:.4g}, the mean of" in (run / "report.html").read_text()
    told = answers(run, ball_store, tmp_path / "out")
    probability = told["probability_small"]
    assert probability.between(mean - 1e-5, mean + 1e-5).sum() == 0  # as far as digits tell
    np.testing.assert_array_equal(told["predicted"] == "small", probability >= mean)
    about = read_metadata(members[0])
    save_weights(members[0], read_weights(members[0]), {**about, "threshold": "null"})
    write_ensemble(run, members)
    told = answers(run, ball_store, tmp_path / "half")
    np.testing.assert_array_equal(told["predicted"] == "small", told["probability_small"] > 0.5)
    assert ((probability >= mean) != (probability > 0.5)).any()
    assert json.loads((tmp_path / "half" / "predictions.json").read_text())["threshold"] is None
