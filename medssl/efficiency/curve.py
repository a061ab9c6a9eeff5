"""From the files of predictions to the grid of metrics, seen and resampled."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from medssl.efficiency.cells import Cell, StudyPaths, cells_of_plan
from medssl.efficiency.statistics import (
    Floats,
    crossed_replicates,
    draw_weights,
    mean_over_draws,
)
from medssl.errors import StudyError
from medssl.transfer.intervals import patient_weights
from medssl.transfer.metrics import family_of, metric_value, weighted_metric
from medssl.transfer.weighted import Weights


@dataclass(frozen=True)
class MetricGrid:
    """One metric over the whole grid; NaN where a cell is missing.

    Attributes:
        values_AFD: each cell's metric on the test set.
        replicates_AFB: the mean over draws under each replicate of the crossed bootstrap.
        labels_F: labelled cases, validation included, mean over draws.
        patients_F: their patients.
    """

    metric: str
    arms: list[str]
    fractions: list[float]
    labels_F: Floats
    patients_F: Floats
    values_AFD: Floats
    replicates_AFB: Floats
    test_patients: int

    @cached_property
    def theta_AF(self) -> Floats:
        """The mean over the draws that are there."""
        return mean_over_draws(self.values_AFD)

    @property
    def draws(self) -> int:
        return int(self.values_AFD.shape[2])

    def theta(self, arm: str, fraction: float) -> float:
        return float(self.theta_AF[self._at(arm, fraction)])

    def replicates(self, arm: str, fraction: float) -> Floats:
        """(B,) replicates of one point of a curve."""
        return np.asarray(self.replicates_AFB[self._at(arm, fraction)])

    def complete_draws(self, *points: tuple[str, float]) -> int:
        """In how many draws all of these points (arm, fraction) have a cell."""
        values = np.stack([self.values_AFD[self._at(*point)] for point in points])
        return int(np.isfinite(values).all(axis=0).sum())

    def _at(self, arm: str, fraction: float) -> tuple[int, int]:
        return self.arms.index(arm), self.fractions.index(fraction)


def read_predictions(paths: StudyPaths, plan: dict[str, Any]) -> dict[Cell, pd.DataFrame]:
    """The predictions that are there, validation and test, by cell.

    Raises:
        StudyError: a file is damaged, or the cells did not predict the same test cases.
    """
    frames: dict[Cell, pd.DataFrame] = {}
    shared: pd.DataFrame | None = None
    for cell in cells_of_plan(plan):
        path = paths.predictions(cell)
        if not path.is_file():
            continue
        try:
            frame = pd.read_parquet(path)
            test = test_part(frame)
            columns = [c for c in ("volume_uid", "patient_key", "y_true") if c in test]
            cases = test[columns]
        except (OSError, ValueError, KeyError) as error:
            raise StudyError(f"{paths.relative(path)} is damaged") from error
        if shared is not None and not cases.equals(shared):
            raise StudyError(
                f"{paths.relative(path)} has other test cases than the cells before it; cells are "
                "only compared on the same ones"
            )
        shared = cases
        frames[cell] = frame
    return frames


def test_part(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the test set, in the order of volume_uid."""
    return frame[frame["split"] == "test"].sort_values("volume_uid", ignore_index=True)


def metric_grid(
    plan: dict[str, Any],
    frames: Mapping[Cell, pd.DataFrame],
    metric: str,
    among: Collection[str] | None = None,
) -> MetricGrid:
    """One metric of every cell, and its replicates under one resampling of the test patients.

    Args:
        among: the test cases, by volume_uid, that the metric is taken of; None: all. Patients are
            resampled over the whole test set all the same, so that groups of cases are paired.

    Raises:
        StudyError: there are no predictions at all.
    """
    if not frames:
        raise StudyError("the study has no predictions yet; medssl label-efficiency run makes them")
    arms, fractions = list(plan["arms"]), [float(f) for f in plan["fractions"]]
    draws, statistics = int(plan["draws"]), plan["statistics"]
    replicates = int(statistics["replicates"])
    some = test_part(next(iter(frames.values())))
    weights_BN = patient_weights(some, replicates, int(statistics["seed"]))
    chosen = (
        np.ones(len(some), bool) if among is None else some["volume_uid"].isin(among).to_numpy()
    )
    weights_BN = weights_BN[:, chosen]
    values = np.full((len(arms), len(fractions), draws), np.nan)
    resampled = np.full((len(arms), len(fractions), draws, replicates), np.nan)
    for cell, frame in frames.items():
        place = arms.index(cell.arm), fractions.index(cell.fraction), cell.draw
        test = test_part(frame)[chosen]
        values[place] = metric_value(metric, test)
        resampled[place] = _resampled(metric, test, weights_BN, float(values[place]))
    # Another stream than that of the patients, so that the two are drawn independently.
    weights_BD = draw_weights(replicates, draws, int(statistics["seed"]) + 1)
    return MetricGrid(
        metric,
        arms,
        fractions,
        _mean_over_subsets(plan, "cases"),
        _mean_over_subsets(plan, "patients"),
        values,
        crossed_replicates(resampled, weights_BD),
        int(some.loc[chosen, "patient_key"].nunique()),
    )


def _resampled(metric: str, test: pd.DataFrame, weights_BN: Weights, value: float) -> Floats:
    """(B,) values under weights; of a metric that resampling inflates, moved back by its bias.

    As `medssl.transfer.intervals` does: by the mean of the resamples less the value.
    """
    resampled = weighted_metric(metric, test, weights_BN)
    if metric not in family_of(test).inflated or not np.isfinite(resampled).any():
        return resampled
    return np.clip(resampled - (np.nanmean(resampled) - value), 0.0, 1.0)


def _mean_over_subsets(plan: dict[str, Any], what: str) -> Floats:
    """(F,) mean over draws of a number in the plan's table of subsets."""
    by_fraction = pd.DataFrame(plan["subsets"]).groupby("fraction")[what].mean()
    return np.asarray(by_fraction.loc[plan["fractions"]], dtype=np.float64)
