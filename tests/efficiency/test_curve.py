"""The grid of metrics: one resampling of patients for all cells, whatever the order of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from medssl.efficiency.cells import Cell, cells_of_plan, grid
from medssl.efficiency.curve import metric_grid
from medssl.efficiency.statistics import draw_weights
from medssl.errors import StudyError
from medssl.transfer.intervals import patient_weights

PLAN: dict[str, Any] = {
    "arms": {"scratch": {}, "ssl_ft": {}},
    "fractions": [0.5, 1.0],
    "draws": 3,
    "subsets": [
        {"fraction": f, "draw": d, "cases": 10 * f + d, "patients": 5 * f + d}
        for f in (0.5, 1.0)
        for d in range(3)
    ],
    "statistics": {"replicates": 60, "seed": 4, "level": 0.95},
}


@pytest.fixture
def frames() -> dict[Cell, pd.DataFrame]:
    rng = np.random.default_rng(0)
    cases = pd.DataFrame(
        {
            "volume_uid": [f"v{i:02d}" for i in range(40)],
            "patient_key": [f"p{i // 2:02d}" for i in range(40)],
            "split": "test",
            "y_true": np.repeat(np.arange(20) % 2, 2),
        }
    )
    return {
        cell: cases.assign(
            logit_0=0.0, logit_1=cases["y_true"] + rng.normal(0, 1, len(cases))
        ).sample(frac=1, random_state=number)
        for number, cell in enumerate(cells_of_plan(PLAN))
    }


def test_replicates_equal_repeating_rows_and_averaging_draws(
    frames: dict[Cell, pd.DataFrame],
) -> None:
    got = metric_grid(PLAN, frames, "auc_macro")
    some = frames[Cell("scratch", 0.5, 0)].sort_values("volume_uid", ignore_index=True)
    weights = patient_weights(some, 60, 4).astype(int)
    by_draw = draw_weights(60, 3, 5)
    for b in (0, 7, 59):
        for arm in ("scratch", "ssl_ft"):
            areas = []
            for d in range(3):
                frame = frames[Cell(arm, 1.0, d)].sort_values("volume_uid", ignore_index=True)
                drawn = frame.loc[np.repeat(np.arange(40), weights[b])]
                areas.append(roc_auc_score(drawn["y_true"], drawn["logit_1"]))
            assert got.replicates(arm, 1.0)[b] == pytest.approx(np.dot(by_draw[b], areas))
    # Both volumes of a patient are always drawn together.
    assert (weights[:, ::2] == weights[:, 1::2]).all()
    assert got.labels_F == pytest.approx([6, 11])
    assert got.test_patients == 20


def test_missing_cells_are_gaps_and_complete_draws_are_counted(
    frames: dict[Cell, pd.DataFrame],
) -> None:
    del frames[Cell("ssl_ft", 0.5, 1)]
    got = metric_grid(PLAN, frames, "auc_macro")
    assert np.isnan(got.values_AFD[1, 0, 1])
    assert np.isfinite(got.theta("ssl_ft", 0.5))
    assert got.complete_draws(("ssl_ft", 0.5), ("scratch", 0.5)) == 2
    with pytest.raises(StudyError, match="no predictions yet"):
        metric_grid(PLAN, {}, "auc_macro")


def test_cells_go_draw_by_draw_with_no_arm_ahead() -> None:
    cells = grid(["scratch", "ssl_ft"], [1.0, 0.05], 2)
    assert [c.name for c in cells[:4]] == [
        "scratch_0.05_0",
        "ssl_ft_0.05_0",
        "scratch_1_0",
        "ssl_ft_1_0",
    ]
    assert {c.draw for c in cells[:4]} == {0}
