"""Temperature scaling against a grid search and against what made the logits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from medssl.transfer.calibration import LEAST, calibration, fitted_temperature, scaled
from medssl.transfer.classification_metrics import auc_macro, ece


def drawn(number: int, classes: int, times: float, seed: int = 0) -> pd.DataFrame:
    """Labels drawn from known probabilities, whose logits are then multiplied by `times`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=1.5, size=(number, classes))
    y = [rng.choice(classes, p=row) for row in softmax(logits, axis=1)]
    columns = {f"logit_{c}": times * logits[:, c] for c in range(classes)}
    return pd.DataFrame({"y_true": y, "split": "val", **columns})


@pytest.mark.parametrize(("classes", "times"), [(2, 4.0), (4, 0.3), (3, 1.0)])
def test_the_temperature_undoes_what_was_multiplied(classes: int, times: float) -> None:
    frame = drawn(20_000, classes, times)
    assert fitted_temperature(frame) == pytest.approx(times, rel=0.05)


def test_no_temperature_of_a_grid_has_a_smaller_loss() -> None:
    frame = drawn(200, 3, 2.0, seed=1)
    logits = frame[["logit_0", "logit_1", "logit_2"]].to_numpy()

    def loss(temperature: float) -> float:
        return log_loss(frame["y_true"], softmax(logits / temperature, axis=1), labels=range(3))

    grid = np.geomspace(0.05, 20, 2000)
    best = min(grid, key=loss)
    found = fitted_temperature(frame)
    assert loss(found) <= loss(best) + 1e-9
    assert found == pytest.approx(best, rel=0.01)


def test_cases_that_are_all_right_end_at_the_bound() -> None:
    y = np.array([0, 1, 0, 1])
    frame = pd.DataFrame({"y_true": y, "logit_0": 1.0 - y, "logit_1": y * 1.0})
    assert fitted_temperature(frame) == pytest.approx(LEAST, rel=1e-3)


def test_scaling_calibrates_and_keeps_the_order() -> None:
    val, test = drawn(5000, 2, 5.0), drawn(5000, 2, 5.0, seed=1).assign(split="test")
    both = pd.concat([val, test], ignore_index=True)
    told = calibration(both, fitted_temperature(val))
    after = scaled(test, told.temperature)
    assert told.ece_before == ece(test) > 0.1
    assert told.ece_after == ece(after) < 0.03
    assert auc_macro(after) == pytest.approx(auc_macro(test))
    p = softmax(val[["logit_0", "logit_1"]].to_numpy(), axis=1)
    assert told.nll_before == pytest.approx(log_loss(val["y_true"], p))
    assert told.nll_after < told.nll_before
