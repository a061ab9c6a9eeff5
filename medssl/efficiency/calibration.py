"""Whether probabilities mean what they say: Brier score and adaptive ECE of each arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from medssl.efficiency.cells import Cell
from medssl.efficiency.curve import metric_grid
from medssl.efficiency.statistics import BASELINE, LEVEL, percentiles

MEASURES = ("brier", "ece")


def calibration_rows(
    plan: dict[str, Any], frames: Mapping[Cell, pd.DataFrame], level: float = LEVEL
) -> list[dict[str, Any]]:
    """{arm, fraction, measure, value, lo, hi, delta, delta_lo, delta_hi}: smaller is better.

    Means over draws, intervals by the crossed bootstrap of the curve. `delta` is the arm's value
    minus that of scratch, None for scratch itself. ECE is in bins of equal numbers
    (`medssl.transfer.classification_metrics.ece`). Empty for segmentation.
    """
    if plan["task"]["kind"] != "classification":
        return []
    rows = []
    for measure in MEASURES:
        grid = metric_grid(plan, frames, measure)
        for arm in grid.arms:
            for fraction in grid.fractions:
                ours = grid.replicates(arm, fraction)
                value = grid.theta(arm, fraction)
                lo, hi = percentiles(ours, level)
                row: dict[str, Any] = {"arm": arm, "fraction": fraction, "measure": measure}
                row |= {"value": value, "lo": lo, "hi": hi}
                row |= dict.fromkeys(("delta", "delta_lo", "delta_hi"))
                if arm != BASELINE:
                    change = ours - grid.replicates(BASELINE, fraction)
                    row["delta"] = value - grid.theta(BASELINE, fraction)
                    row["delta_lo"], row["delta_hi"] = percentiles(change, level)
                rows.append(row)
    return rows
