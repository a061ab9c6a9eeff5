"""What the control arms say: nothing may be learnt from permuted labels, little from more steps."""

from __future__ import annotations

from typing import Any

from medssl.efficiency.curve import MetricGrid
from medssl.efficiency.statistics import BASELINE, LEVEL, percentiles

PERMUTED, DOUBLED = "permuted_labels", "scratch_2x"
CHANCE = 0.5


def permuted_labels(grid: MetricGrid, level: float = LEVEL) -> list[dict[str, Any]]:
    """{fraction, value, lo, hi, holds} of the arm trained on permuted labels.

    `holds`: the interval contains an area of 0.5. If not, something other than the labels tells the
    classes apart: a leak. None where no cell is there; empty without the arm, or where the metric
    is no area.
    """
    if PERMUTED not in grid.arms or not grid.metric.startswith("auc"):
        return []
    rows = []
    for fraction in grid.fractions:
        lo, hi = percentiles(grid.replicates(PERMUTED, fraction), level)
        value = grid.theta(PERMUTED, fraction)
        holds = None if lo != lo else lo <= CHANCE <= hi
        rows.append({"fraction": fraction, "value": value, "lo": lo, "hi": hi, "holds": holds})
    return rows


def doubled_steps(grid: MetricGrid, level: float = LEVEL) -> list[dict[str, Any]]:
    """{fraction, gain, lo, hi}: what training from scratch gains by twice the steps.

    A gain of the margin or more says that scratch was stopped too early to compare with. Empty
    without the arm.
    """
    if DOUBLED not in grid.arms:
        return []
    rows = []
    for fraction in grid.fractions:
        gained = grid.replicates(DOUBLED, fraction) - grid.replicates(BASELINE, fraction)
        lo, hi = percentiles(gained, level)
        gain = grid.theta(DOUBLED, fraction) - grid.theta(BASELINE, fraction)
        rows.append({"fraction": fraction, "gain": gain, "lo": lo, "hi": hi})
    return rows
