"""Several binary labels: what is not known has no part in loss or metric."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from medssl.config import parse_config
from medssl.errors import ConfigError, TrainingError
from medssl.predict.config import PredictConfig
from medssl.predict.predict import predict
from medssl.store import open_store
from medssl.transfer.cases import labelled_cases
from medssl.transfer.config import FinetuneConfig
from medssl.transfer.finetune import finetune
from medssl.transfer.metrics import all_metrics, metric_value, weighted_metric
from medssl.transfer.multilabel import Multilabel
from medssl.transfer.objectives import MultilabelObjective
from medssl.transfer.task_config import MultilabelTask

from .conftest import ball_scan, write_scans
from .test_finetune import configured
from .test_objectives import Fixed

TASK = {"name": "multilabel", "labels": ["large", "odd"], "dropout": 0.0}


def two_label_store(root: Path, cases: int = 24) -> Path:
    """Whether the ball is large, not known of every fifth; and whether the number is odd."""
    scans, labels = [], []
    for number in range(cases):
        volume, mask, _ = ball_scan(number)
        scans.append((volume, mask, f"p{number:02}"))
        row = {"volume_uid": f"{number:032x}", "patient_key": f"p{number:02}", "kind": "class"}
        if number % 5:
            labels.append({**row, "name": "large", "value": str(int(number % 4 >= 2))})
        if number % 7:
            labels.append({**row, "name": "odd", "value": ["no", "yes"][number % 2]})
    write_scans(root, scans, labels)
    return root


def frame(cases: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    columns = {}
    for label in ("a", "b"):
        y = rng.integers(0, 2, cases).astype(float)
        columns[f"logit/{label}"] = np.round(y + rng.normal(size=cases), 1)
        columns[f"y_true/{label}"] = np.where(rng.random(cases) < 0.3, np.nan, y)
    return pd.DataFrame({"patient_key": "p", **columns})


def test_a_case_has_at_least_one_of_the_labels(tmp_path: Path) -> None:
    store = open_store(two_label_store(tmp_path / "s"))
    cases = labelled_cases(store, MultilabelTask(labels=("odd", "large")))
    assert cases.classes == ("odd", "large")
    numbers = [int(uid, 16) for uid in cases.frame["volume_uid"]]
    assert numbers == [n for n in range(24) if n % 5 or n % 7]
    assert cases.unlabelled == 1
    for number, row in zip(numbers, cases.frame.itertuples(index=False), strict=True):
        _, _, odd, large = row
        assert np.isnan(odd) if number % 7 == 0 else odd == number % 2
        assert np.isnan(large) if number % 5 == 0 else large == (number % 4 >= 2)


def test_a_label_of_three_values_is_refused(tmp_path: Path) -> None:
    volume, mask, _ = ball_scan(0)
    labels = [
        {"volume_uid": f"{i:032x}", "patient_key": f"p{i}", "name": "x", "kind": "class",
         "value": str(i)}
        for i in range(3)
    ]  # fmt: skip
    write_scans(tmp_path / "s", [(volume, mask, f"p{i}") for i in range(3)], labels)
    with pytest.raises(ConfigError, match="label x has 3 different values"):
        labelled_cases(open_store(tmp_path / "s"), MultilabelTask(labels=("x",)))


def test_labels_that_are_not_known_have_no_part_in_the_loss() -> None:
    logits = torch.tensor([[1.0, -2.0], [0.5, 3.0], [-1.0, 0.2]])
    target = torch.tensor([[1.0, torch.nan], [torch.nan, torch.nan], [1.0, 0.0]])
    batch = {"image": torch.zeros(3, 1, 1, 2, 2, 2), "target": target}
    network = Fixed(logits)
    output = MultilabelObjective(network)(batch, 0)
    p = 1 / (1 + np.exp(-np.array([1.0, -1.0, 0.2])))
    assert output["loss"].item() == pytest.approx(log_loss([1, 1, 0], p), rel=1e-5)
    assert output["accuracy"].item() == pytest.approx(1 / 3)
    output["loss"].backward()
    gradient = network.logits.grad
    assert gradient is not None
    assert ((gradient == 0) == target.isnan()).all()
    nothing = {**batch, "target": torch.full((3, 2), torch.nan)}
    assert MultilabelObjective(network)(nothing, 0)["loss"] == 0


def test_auc_is_of_the_cases_whose_label_is_known() -> None:
    one = frame()
    expected = {}
    for label in ("a", "b"):
        known = one[f"y_true/{label}"].notna()
        expected[f"auc/{label}"] = roc_auc_score(
            one.loc[known, f"y_true/{label}"], one.loc[known, f"logit/{label}"]
        )
    expected["auc_macro"] = np.mean(list(expected.values()))
    assert all_metrics(one) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["auc_macro", "auc/a", "auc/b"])
def test_weights_are_repeated_rows(name: str) -> None:
    one = frame(12)
    weights = np.random.default_rng(1).multinomial(12, np.full(12, 1 / 12), size=20)
    positive = int(np.flatnonzero(one["y_true/a"] == 1)[0])
    weights[0] = 12 * (np.arange(12) == positive)
    values = weighted_metric(name, one, weights.astype(np.float32))
    for value, drawn in zip(values, weights, strict=True):
        repeated = one.loc[np.repeat(np.arange(12), drawn)]
        assert value == pytest.approx(metric_value(name, repeated), nan_ok=True)
    assert np.isnan(values[0])


def test_a_run_predicts_every_label(tmp_path: Path) -> None:
    store = two_label_store(tmp_path / "store")
    values = configured(store, "classification", steps=30).model_dump(mode="json")
    values["split"] = {"test": 0.4, "val": 0.2}
    values["select_by"] = "auc/large"
    config = parse_config(FinetuneConfig, {**values, "task": TASK})
    result = finetune(config, tmp_path / "run")
    predictions = pd.read_parquet(result.predictions)
    assert {"y_true/large", "logit/large", "y_true/odd", "logit/odd"} <= set(predictions)
    assert {"test/auc/large", "test/auc/odd_lo", "test/auc_macro_hi"} <= result.metrics.keys()
    assert result.metrics["test/auc/large"] > 0.8  # type: ignore[operator]
    predict(PredictConfig(run=result.run, input=store, out=tmp_path / "predicted"))
    table = pd.read_csv(tmp_path / "predicted" / "predictions.csv").set_index("input")
    assert "predicted" not in table
    for label in ("large", "odd"):
        found = table.loc[predictions["volume_uid"], f"probability_{label}"].to_numpy()
        np.testing.assert_allclose(found, expit(predictions[f"logit/{label}"]), atol=2e-6)
    with pytest.raises(ConfigError, match="select_by: multilabel has no metric auc/none"):
        parse_config(FinetuneConfig, {**values, "task": TASK, "select_by": "auc/none"})


def test_a_label_without_both_values_in_training_is_refused(tmp_path: Path) -> None:
    path = two_label_store(tmp_path / "store", cases=6)
    values = configured(path, "classification").model_dump(mode="json")
    config = parse_config(FinetuneConfig, {**values, "task": TASK})
    cases = labelled_cases(open_store(path), config.task).frame.assign(split="train")
    cases.loc[cases["y_true/large"] == 1, "split"] = "test"
    assert config.model is not None
    with pytest.raises(TrainingError, match="both values of large;"):
        Multilabel(config, config.model, open_store(path), cases, ("large", "odd"), 0)
