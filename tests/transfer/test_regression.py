"""Regression: targets, the standardised loss, predictions in the label's units, metrics."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn import metrics as sk

from medssl.config import parse_config
from medssl.errors import ConfigError, MedsslError
from medssl.models.weights import read_metadata
from medssl.predict.config import PredictConfig
from medssl.predict.predict import predict
from medssl.store import open_store
from medssl.transfer.cases import labelled_cases
from medssl.transfer.config import FinetuneConfig
from medssl.transfer.finetune import finetune
from medssl.transfer.intervals import bootstrap_interval
from medssl.transfer.metrics import all_metrics, metric_value, weighted_metric
from medssl.transfer.objectives import RegressionObjective
from medssl.transfer.regression_metrics import REGRESSION_METRICS
from medssl.transfer.task_config import RegressionTask

from .conftest import LARGE, SMALL, ball_scan, write_scans
from .test_finetune import MODEL
from .test_objectives import Fixed


def radius_store(root: Path, values: list[str]) -> Path:
    """Scans whose label is ten times the radius of the ball in them, but for what `values` say."""
    scans, labels = [], []
    for number, value in enumerate(values):
        volume, mask, _ = ball_scan(number)
        scans.append((volume, mask, f"p{number:02}"))
        labels.append(
            {"volume_uid": f"{number:032x}", "patient_key": f"p{number:02}", "name": "radius",
             "kind": "class", "value": value}
        )  # fmt: skip
    write_scans(root, scans, labels)
    return root


def radius_of(number: int) -> str:
    return f"{10 * (LARGE if number % 4 >= 2 else SMALL) + 0.5 * (number % 3):g}"


def frame(cases: int = 40, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y = np.round(rng.normal(50, 12, cases))  # ties
    return pd.DataFrame(
        {
            "volume_uid": [f"{i:04}" for i in range(cases)],
            "patient_key": [f"p{i // 2}" for i in range(cases)],
            "split": "test",
            "y_true": y,
            "y_pred": np.round(0.6 * y + rng.normal(20, 8, cases)),
        }
    )


def test_labels_are_numbers_and_the_others_are_left_out(tmp_path: Path) -> None:
    store = open_store(radius_store(tmp_path / "s", ["30", "4.25", "unknown", "-1e1", "inf"]))
    cases = labelled_cases(store, RegressionTask(label="radius"))
    assert cases.frame["y_true"].tolist() == [30.0, 4.25, -10.0]
    assert cases.classes == ()
    assert cases.unlabelled == 2


@pytest.mark.parametrize("values", [["a", "b"], ["5", "5", "x"]])
def test_labels_that_do_not_vary_are_no_regression(tmp_path: Path, values: list[str]) -> None:
    store = open_store(radius_store(tmp_path / "s", values))
    with pytest.raises(ConfigError, match=f"label radius: .* of its {len(values)} values"):
        labelled_cases(store, RegressionTask(label="radius"))


@pytest.mark.parametrize("loss", ["huber", "mse"])
def test_the_loss_is_that_of_the_standardised_label(loss: str) -> None:
    outputs = np.array([0.3, -1.0, 4.0], dtype=np.float32)
    target = np.array([50.0, 62.0, 20.0], dtype=np.float32)
    batch = {"image": torch.zeros(3, 1, 1, 2, 2, 2), "target": torch.from_numpy(target)[:, None]}
    network = Fixed(torch.from_numpy(outputs)[:, None])
    given = RegressionObjective(network, 40.0, 10.0, loss)(batch, 0)  # type: ignore[arg-type]
    expected = []
    for output, label in zip(outputs, target, strict=True):
        error = abs(output - (label - 40.0) / 10.0)
        square = error**2
        expected.append(square if loss == "mse" else 0.5 * square if error <= 1 else error - 0.5)
    assert given["loss"].item() == pytest.approx(np.mean(expected), rel=1e-5)
    assert given["absolute_error"].item() == pytest.approx(
        np.abs(outputs * 10 + 40 - target).mean(), rel=1e-5
    )


def test_metrics_are_those_of_scikit_learn_and_scipy() -> None:
    one = frame()
    y, predicted = one["y_true"], one["y_pred"]
    expected = {
        "mae": sk.mean_absolute_error(y, predicted),
        "rmse": np.sqrt(sk.mean_squared_error(y, predicted)),
        "r2": sk.r2_score(y, predicted),
        "pearson": np.corrcoef(y, predicted)[0, 1],
        "spearman": np.corrcoef(stats.rankdata(y), stats.rankdata(predicted))[0, 1],
    }
    assert all_metrics(one) == pytest.approx(expected)
    with pytest.raises(MedsslError, match="no metric auc_macro"):
        metric_value("auc_macro", one)


@pytest.mark.parametrize("name", list(REGRESSION_METRICS))
def test_weights_are_repeated_rows(name: str) -> None:
    one = frame(12)
    rng = np.random.default_rng(1)
    weights = rng.multinomial(12, np.full(12, 1 / 12), size=20).astype(np.float32)
    weights[0] = 0
    weights[0, 3] = 12  # one case alone: nothing varies
    values = weighted_metric(name, one, weights)
    for value, drawn in zip(values, weights.astype(int), strict=True):
        repeated = one.loc[np.repeat(np.arange(12), drawn)]
        assert value == pytest.approx(metric_value(name, repeated), nan_ok=True)
    assert np.isfinite(values[1:]).all()


def test_intervals_hold_the_value() -> None:
    for name in REGRESSION_METRICS:
        interval = bootstrap_interval(frame(), name, resamples=200)
        assert interval.low < interval.value < interval.high
        assert interval.patients == 20


def test_a_run_learns_the_size_and_predicts_in_its_units(tmp_path: Path) -> None:
    store = radius_store(tmp_path / "store", [radius_of(n) for n in range(24)])
    values = {
        "store": str(store),
        "task": {"name": "regression", "label": "radius", "dropout": 0.0},
        "model": MODEL,
        "augment": {
            "patch": {"size": [24, 24, 24], "spacing_mm": 1.0},
            "spatial": {"scale": [1.0, 1.0]},
        },
        "optim": {"lr": 0.01, "warmup_steps": 2},
        "runtime": {"num_workers": 0, "threads": 1, "checkpoint_every": 60, "log_every": 10},
        "steps": 120,
        "batch_size": 4,
        "validate_every": 40,
        "split": {"test": 0.3, "val": 0.2},
    }
    result = finetune(parse_config(FinetuneConfig, values), tmp_path / "run")
    predictions = pd.read_parquet(result.predictions)
    test = predictions[predictions["split"] == "test"]
    assert result.metrics["test/mae"] == pytest.approx(
        np.abs(test["y_true"] - test["y_pred"]).mean()
    )
    # The mean alone is off by about 10.
    assert result.metrics["test/mae"] < 6  # type: ignore[operator]
    assert result.metrics["test/spearman"] > 0.6  # type: ignore[operator]
    about = read_metadata(result.model)
    trained = pd.read_parquet(result.run / "cases.parquet").query("split == 'train'")
    labels = pd.to_numeric(open_store(store).class_labels("radius").loc[trained["volume_uid"]])
    assert float(about["target_mean"]) == pytest.approx(labels.mean())
    assert float(about["target_std"]) == pytest.approx(labels.std(ddof=0))
    assert json.loads(about["classes"]) == []
    page = (result.run / "report.html").read_text()
    assert "spearman" in page
    assert "size alone" not in page

    predict(PredictConfig(run=result.run, input=store, out=tmp_path / "predicted"))
    table = pd.read_csv(tmp_path / "predicted" / "predictions.csv").set_index("input")
    assert list(table.columns)[-1] == "predicted"
    found = table.loc[predictions["volume_uid"], "predicted"].to_numpy()
    np.testing.assert_allclose(found, predictions["y_pred"], rtol=1e-4)
