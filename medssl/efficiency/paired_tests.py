"""Secondary tests of an arm against scratch, over the patients of one test set.

They take the trainings as given: what they say holds for these networks, not for another draw of
labelled patients. The crossed bootstrap (`medssl.efficiency.curve`) is what the claim rests on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from medssl.efficiency.cells import Cell
from medssl.efficiency.curve import test_part
from medssl.efficiency.delong import compare_areas
from medssl.efficiency.statistics import BASELINE, Floats, holm
from medssl.transfer.classification_metrics import ranking_scores, targets_and_logits
from medssl.transfer.segmentation_metrics import dice_by_case
from medssl.transfer.weighted import mean_of_defined


def paired_tests(plan: dict[str, Any], frames: Mapping[Cell, pd.DataFrame]) -> list[dict[str, Any]]:
    """DeLong's test of areas, or Wilcoxon's of each patient's Dice; Holm over an arm's fractions.

    Over the draws that both arms have; a fraction without one is left out.

    Returns:
        {arm, versus, fraction, test: "delong" or "wilcoxon", delta, se, p, p_holm, draws, patients}
        each; se is None for Wilcoxon, whose delta is the median of the patients' differences.
    """
    compare = _delong if plan["task"]["kind"] == "classification" else _wilcoxon
    rows: list[dict[str, Any]] = []
    for arm in (a for a in plan["arms"] if a != BASELINE):
        of_arm = []
        for fraction in (float(f) for f in plan["fractions"]):
            pairs = [
                tuple(frames[Cell(name, fraction, draw)] for name in (arm, BASELINE))
                for draw in range(int(plan["draws"]))
                if all(Cell(name, fraction, draw) in frames for name in (arm, BASELINE))
            ]
            if not pairs:
                continue
            first, second = ([test_part(pair[side]) for pair in pairs] for side in (0, 1))
            found = compare(first, second)
            shared = {"arm": arm, "versus": BASELINE, "fraction": fraction}
            patients = int(first[0]["patient_key"].nunique())
            of_arm.append({**shared, **found, "draws": len(pairs), "patients": patients})
        for row, adjusted in zip(of_arm, holm([row["p"] for row in of_arm]), strict=True):
            row["p_holm"] = adjusted
        rows += of_arm
    return rows


def _delong(first: Sequence[pd.DataFrame], second: Sequence[pd.DataFrame]) -> dict[str, Any]:
    def scores_of(frames: Sequence[pd.DataFrame]) -> Floats:
        return np.stack([ranking_scores(targets_and_logits(frame)[1]).T for frame in frames])

    y = targets_and_logits(first[0])[0]
    first_DCN, second_DCN = scores_of(first), scores_of(second)
    classes = first_DCN.shape[1]
    ranked = np.array([1]) if classes == 1 else np.arange(classes)
    patients = first[0]["patient_key"].to_numpy()
    found = compare_areas(y == ranked[:, None], first_DCN, second_DCN, patients)
    return {"test": "delong", "delta": found.delta, "se": found.se, "p": found.p}


def _wilcoxon(first: Sequence[pd.DataFrame], second: Sequence[pd.DataFrame]) -> dict[str, Any]:
    """Signed ranks of the patients' differences, zeros taking half of each side (zsplit)."""
    difference = _patient_dice(first) - _patient_dice(second)
    known = difference[np.isfinite(difference)]
    delta = float(np.median(known)) if len(known) else float("nan")
    p = float("nan")
    if len(known) > 1:
        p = float(wilcoxon(known, zero_method="zsplit").pvalue) if known.any() else 1.0
    return {"test": "wilcoxon", "delta": delta, "se": None, "p": p}


def _patient_dice(frames: Sequence[pd.DataFrame]) -> Floats:
    """(P,) mean Dice over classes, then over a patient's cases, then over draws; NaN where none."""
    by_draw = []
    for frame in frames:
        dice = pd.Series(mean_of_defined(dice_by_case(frame)))
        by_draw.append(dice.groupby(frame["patient_key"].to_numpy()).mean().to_numpy())
    return mean_of_defined(np.stack(by_draw, axis=1))
