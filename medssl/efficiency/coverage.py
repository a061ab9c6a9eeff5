"""How often the intervals hold the truth: tried on simulated studies, told beside a real one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from itertools import product
from typing import Any

import numpy as np

from medssl.efficiency.claim import ClaimVerdict, judge_claim
from medssl.efficiency.config import ClaimConfig
from medssl.efficiency.curve import MetricGrid
from medssl.efficiency.savings import label_savings
from medssl.efficiency.simulation import Regime, simulated_grid
from medssl.efficiency.statistics import LEVEL, Floats, percentiles, standard_error

TABLE = "coverage.json"
PROMISED, TOO_LOW = 0.95, 0.93
MARGIN = 0.02

# The grid that is tried. Claims are tried where they are just false, by a hair of the margin.
REGIMES = tuple(
    Regime(draws, patients, cases, sd)
    for draws, patients, cases, sd in product(
        (5, 10, 20), (40, 100, 300), (1, 3), (0.0, 0.01, 0.03)
    )
)
_FEW, _MANY = 0.1, 0.4
_CLAIM = ClaimConfig(
    arm="ssl_ft", frac=_FEW, versus="scratch", vs_frac=_MANY, metric="auc_macro", margin=MARGIN
)
# Rows scratch, ssl_ft; columns few, many labels. Just not near enough; just too flat to tell.
_TOO_FAR = np.array([[0.65, 0.80], [0.80 - MARGIN, 0.84]])
_TOO_FLAT = np.array([[0.78, 0.78 + MARGIN], [0.84, 0.86]])

# A pretrained arm that needs four times fewer labels everywhere; octaves of labels.
LSF_TRUTH = 4.0
LSF_LABELS: Floats = 25.0 * 2.0 ** np.arange(6, dtype=np.float64)
LSF_REFERENCE = 4
LSF_PER_OCTAVE = 0.04


def coverage_of(regime: Regime, studies: int, replicates: int) -> dict[str, Any]:
    """What became of `studies` simulated studies of one regime.

    Returns:
        `theta`, `delta`: share of 95 % intervals that hold the true mean of scratch at few labels,
        and the true difference there; `se_ratio`: mean bootstrap standard error of that difference
        over its standard deviation between studies; `false_support`: share of studies that call a
        claim SUPPORTED whose arm is worse by just the margin; `false_telling`: share that find a
        curve steep enough to tell which rises by just the margin.
    """
    held: dict[str, list[bool]] = {"theta": [], "delta": []}
    deltas, errors, supported, telling = [], [], [], []
    for study in range(studies):
        grid = _simulated(regime, _TOO_FAR, replicates, study)
        ours, theirs = (grid.replicates(arm, _FEW) for arm in ("ssl_ft", "scratch"))
        held["theta"].append(_holds(theirs, _TOO_FAR[0, 0]))
        held["delta"].append(_holds(ours - theirs, _TOO_FAR[1, 0] - _TOO_FAR[0, 0]))
        deltas.append(grid.theta("ssl_ft", _FEW) - grid.theta("scratch", _FEW))
        errors.append(standard_error(ours - theirs))
        supported.append(judge_claim(_CLAIM, grid, None).verdict is ClaimVerdict.SUPPORTED)
        flat = _simulated(regime, _TOO_FLAT, replicates, study + 1_000_000)
        conditions = {c.id: c.holds for c in judge_claim(_CLAIM, flat, None).conditions}
        telling.append(conditions["can_tell"])
    return {
        "regime": asdict(regime),
        "studies": studies,
        "replicates": replicates,
        **{name: round(float(np.mean(values)), 4) for name, values in held.items()},
        "se_ratio": round(float(np.mean(errors) / np.std(deltas, ddof=1)), 3),
        "false_support": round(float(np.mean(supported)), 4),
        "false_telling": round(float(np.mean(telling)), 4),
    }


def savings_coverage(regime: Regime, studies: int, replicates: int) -> dict[str, Any]:
    """Of intervals of the label-savings factor, whose truth is `LSF_TRUTH`, on six octaves.

    Returns:
        `coverage`; `open`: share without an upper bound; `median_width` of the others, in octaves
        (log2 of upper over lower bound); `median` of the factors that are not censored.
    """
    octaves = np.arange(len(LSF_LABELS))
    scratch = 0.62 + LSF_PER_OCTAVE * octaves
    theta = np.stack([scratch, scratch + LSF_PER_OCTAVE * math.log2(LSF_TRUTH)])
    fractions = [float(n / LSF_LABELS[-1]) for n in LSF_LABELS]
    held, widths, factors = [], [], []
    for study in range(studies):
        grid = simulated_grid(
            regime, theta, ["scratch", "ssl_ft"], fractions, LSF_LABELS, replicates, study
        )
        found = label_savings(
            grid.theta_AF[0],
            grid.theta_AF[1],
            grid.replicates_AFB[0],
            grid.replicates_AFB[1],
            LSF_LABELS,
            LSF_REFERENCE,
        )
        held.append(found.lo <= LSF_TRUTH <= found.hi)
        widths.append(math.log2(found.hi / found.lo) if found.lo > 0 else math.inf)
        if found.censored == "none":
            factors.append(found.value)
    closed = [width for width in widths if math.isfinite(width)]
    return {
        "regime": asdict(regime),
        "studies": studies,
        "replicates": replicates,
        "truth": LSF_TRUTH,
        "coverage": round(float(np.mean(held)), 4),
        "open": round(1 - len(closed) / studies, 4),
        "median_width": round(float(np.median(closed)), 3) if closed else None,
        "median": round(float(np.median(factors)), 3) if factors else None,
    }


def measured_coverage() -> dict[str, Any]:
    """The table that docs/make_coverage.py made."""
    table: dict[str, Any] = json.loads(files(__package__).joinpath(TABLE).read_text())
    return table


def coverage_note(
    draws: int, patients: int, cases_per_patient: float, draw_sd: float | None
) -> dict[str, Any]:
    """The tried regime nearest to a study, what its intervals covered, and a sentence of it.

    Near: by the logarithms of draws, patients and cases a patient, and by the spread between draws
    (0.01 counts as much as a factor of two). Of regimes equally near, the one that covered least.
    """

    def distance(row: Mapping[str, Any]) -> tuple[float, float]:
        r = row["regime"]
        far = abs(math.log2(max(draws, 1) / r["draws"]))
        far += abs(math.log2(max(patients, 1) / r["patients"]))
        far += abs(math.log2(max(cases_per_patient, 1.0) / r["cases_per_patient"]))
        far += 0.0 if draw_sd is None else abs(draw_sd - r["draw_sd"]) / 0.01
        return round(far, 9), row["delta"]

    row = min(measured_coverage()["intervals"], key=distance)
    r = row["regime"]
    covered = min(row["theta"], row["delta"])
    note = (
        f"In {row['studies']} simulated studies of areas under the ROC curve with {r['draws']} "
        f"draws, {r['patients']} test patients of {r['cases_per_patient']} case(s) and a standard "
        f"deviation of "
        f"{r['draw_sd']:g} between draws, the regime nearest to this study, "
        f"{100 * row['delta']:.0f} % of the 95 % intervals of a difference held the truth, "
        f"and {100 * row['theta']:.0f} % of those of a mean."
    )
    if covered < TOO_LOW:
        note += " The intervals here are therefore narrower than they should be."
    return {
        "regime": r,
        "coverage": row["delta"],
        "coverage_of_mean": row["theta"],
        "studies": row["studies"],
        "low": covered < TOO_LOW,
        "note": note,
    }


def _simulated(regime: Regime, theta: Floats, replicates: int, seed: int) -> MetricGrid:
    arms, labels = ["scratch", "ssl_ft"], np.array([40.0, 160.0])
    return simulated_grid(regime, theta, arms, [_FEW, _MANY], labels, replicates, seed)


def _holds(replicates: Floats, truth: float) -> bool:
    lo, hi = percentiles(replicates, LEVEL)
    return bool(lo <= truth <= hi)
