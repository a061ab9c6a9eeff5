"""Ordered classes: their loss, rank, metrics and a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from medssl.config import parse_config
from medssl.errors import ConfigError
from medssl.models.ordered import OrderedHead
from medssl.store import open_store
from medssl.transfer.cases import labelled_cases
from medssl.transfer.config import FinetuneConfig
from medssl.transfer.finetune import finetune
from medssl.transfer.metrics import metric_names, metric_value, weighted_metric
from medssl.transfer.objectives import OrdinalObjective
from medssl.transfer.ordinal_metrics import ORDINAL_METRICS
from medssl.transfer.task_config import OrdinalTask

from .test_finetune import configured
from .test_objectives import Fixed


def frame(cases: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, cases)
    columns = {f"logit_{c}": rng.normal(size=cases) for c in range(4)}
    rank = np.clip(y + rng.integers(-1, 2, cases), 0, 3).astype(float)
    return pd.DataFrame({"patient_key": "p", "y_true": y, **columns, "y_rank": rank})


def test_the_loss_sums_the_binary_cross_entropies_of_the_thresholds() -> None:
    torch.manual_seed(0)
    head = OrderedHead(2, 4)
    embedding, target = torch.randn(5, 2), torch.tensor([0, 1, 2, 3, 3])
    batch = {"image": torch.zeros(5, 1, 1, 2, 2, 2), "target": target}
    given = OrdinalObjective(Fixed(head(embedding).detach()))(batch, 0)
    score, thresholds = head.score(embedding)[:, 0].tolist(), head.thresholds().tolist()
    expected = []
    for s, y in zip(score, target.tolist(), strict=True):
        total = 0.0
        for k, threshold in enumerate(thresholds):
            p = 1 / (1 + np.exp(threshold - s))
            total -= np.log(p) if y > k else np.log(1 - p)
        expected.append(total)
    assert given["loss"].item() == pytest.approx(np.mean(expected), rel=1e-4)


def test_ordinal_metrics_stand_beside_those_of_classes() -> None:
    one = frame()
    assert {"auc_macro", "bacc", *ORDINAL_METRICS} <= set(metric_names(one))
    y, rank = one["y_true"].to_numpy(), one["y_rank"].to_numpy(int)
    assert metric_value("rank_mae", one) == pytest.approx(np.mean(np.abs(y - rank)))
    seen = np.zeros((4, 4))
    np.add.at(seen, (y, rank), 1)
    chance = np.outer(seen.sum(1), seen.sum(0)) / len(y)
    penalty = np.square(np.subtract.outer(np.arange(4), np.arange(4)))
    kappa = 1 - (penalty * seen).sum() / (penalty * chance).sum()
    assert metric_value("kappa_quadratic", one) == pytest.approx(kappa)
    assert kappa == pytest.approx(cohen_kappa_score(y, rank, weights="quadratic"))


@pytest.mark.parametrize("name", ORDINAL_METRICS)
def test_weights_are_repeated_rows(name: str) -> None:
    one = frame(10)
    weights = np.random.default_rng(1).multinomial(10, np.full(10, 0.1), size=20)
    same = int(np.flatnonzero(one["y_true"] == one["y_rank"])[0])
    weights[0] = 10 * (np.arange(10) == same)
    values = weighted_metric(name, one, weights.astype(np.float32))
    for value, drawn in zip(values, weights, strict=True):
        repeated = one.loc[np.repeat(np.arange(10), drawn)]
        assert value == pytest.approx(metric_value(name, repeated), nan_ok=True)


def test_an_order_that_is_not_known_has_to_be_told(ball_store: Path) -> None:
    store = open_store(ball_store)
    with pytest.raises(ConfigError, match="from the lowest to the highest"):
        labelled_cases(store, OrdinalTask(label="size"))
    task = OrdinalTask(label="size", classes=("small", "large"))
    assert labelled_cases(store, task).classes == ("small", "large")


def test_a_run_predicts_probabilities_and_their_median(ball_store: Path, tmp_path: Path) -> None:
    task = {"name": "ordinal", "label": "size", "classes": ["small", "large"], "dropout": 0.0}
    values = configured(ball_store, "classification", steps=40).model_dump(mode="json")
    result = finetune(parse_config(FinetuneConfig, {**values, "task": task}), tmp_path / "run")
    predictions = pd.read_parquet(result.predictions)
    p = np.exp(predictions[["logit_0", "logit_1"]].to_numpy())
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(predictions["y_rank"], (p[:, 0] < 0.5).astype(float))
    assert {"test/rank_mae", "test/kappa_quadratic", "test/auc_macro"} <= result.metrics.keys()
    assert result.metrics["test/auc_macro"] > 0.8  # type: ignore[operator]
    with pytest.raises(ConfigError, match="select_by: ordinal has no metric r2"):
        parse_config(FinetuneConfig, {**values, "task": task, "select_by": "r2"})
