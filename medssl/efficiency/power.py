"""What a study can show, told before anything is trained.

The test set's patients and the draws limit which differences stand out, whatever the networks do.
Two arms of equal worth are simulated on a test set like the study's (`medssl.efficiency.simulation`
for areas under the ROC curve; of a mean Dice the variance has a formula), and the standard error of
their difference is turned into the smallest difference that would be found, and the smallest margin
that would be shown, four times in five.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from medssl.efficiency.simulation import Regime, areas_under, simulate_scores
from medssl.efficiency.statistics import minimal_detectable

# What is assumed of networks that do not exist yet.
ASSUMED_AUC = 0.80
ASSUMED_DICE_SD = 0.12
ASSUMED_DRAW_SD = 0.02

# One-sided 5 %, power 80 %: 1.645 + 0.842; the claim's rule compares a one-sided bound.
_MARGIN_IN_SE = 2.487
_FOLDS = 5
_SIMULATED, _MOST_SIMULATED_CASES = 200, 400


@dataclass(frozen=True)
class Variance:
    """Of a difference of two arms, for one patient and for one draw.

    With P test patients and D draws: per_patient / P + per_draw / D.
    """

    per_patient: float
    per_draw: float

    def se(self, patients: int, draws: int) -> float:
        return math.sqrt(self.per_patient / patients + self.per_draw / draws)

    def patients_for(self, se: float, draws: int) -> int | None:
        """The fewest patients whose standard error is `se` or less; None where no number is."""
        left = se**2 - self.per_draw / draws
        return math.ceil(self.per_patient / left - 1e-9) if left > 0 else None

    def draws_for(self, se: float) -> int:
        """The draws that leave half of the variance to the patients."""
        return math.ceil(2 * self.per_draw / se**2 - 1e-9)


def power_of_study(
    cases: pd.DataFrame, kind: str, draws: int, margin: float, seed: int = 0
) -> dict[str, Any]:
    """The entry `power` of plan.json.

    Args:
        cases: cases.parquet: patient_key, role ("test" or "dev"), label.
        kind: "classification" or "segmentation".
        margin: the largest difference that counts as equal.
        seed: of the simulation; the same study has the same entry.

    Returns:
        {assumed, test_patients, draws, margin, mdd, least_margin, margin_shown, proposal, note}:
        `mdd` is the difference at one fraction that would be found, `least_margin` the margin that
        would be shown of arms that are equal. `proposal` is None where the margin would be shown,
        else what repeated cross-validation by patients over all cases would do.
    """
    test = cases[cases["role"] == "test"]
    regime = _regime(test, kind, draws)
    variance = (
        area_variance(regime, ASSUMED_AUC, seed)
        if kind == "classification"
        else dice_variance(regime, ASSUMED_DICE_SD)
    )
    se = variance.se(regime.patients, draws)
    power: dict[str, Any] = {
        "assumed": {
            **({"auc": ASSUMED_AUC} if kind == "classification" else {"dice_sd": ASSUMED_DICE_SD}),
            "draw_sd": regime.draw_sd,
            "cases_per_patient": regime.cases_per_patient,
            "positive_share": round(regime.positive_share, 4),
            "shared": regime.shared,
            "shared_in_arm": regime.shared_in_arm,
        },
        "test_patients": regime.patients,
        "draws": draws,
        "margin": margin,
        "mdd": round(minimal_detectable(se), 4),
        "least_margin": round(_MARGIN_IN_SE * se, 4),
        "margin_shown": _MARGIN_IN_SE * se <= margin,
        "proposal": None,
    }
    if not power["margin_shown"]:
        power["proposal"] = _proposal(variance, margin, draws, int(cases["patient_key"].nunique()))
    return {**power, "note": power_note(power)}


def area_variance(regime: Regime, area: float, seed: int) -> Variance:
    """Of the difference of two arms' areas, both truly `area`, by simulated studies.

    At most 400 cases are simulated: the variance over patients goes with one over their number.
    """
    most = _MOST_SIMULATED_CASES // regime.cases_per_patient
    smaller = replace(regime, patients=min(regime.patients, max(most, 40)))
    theta = np.full((2, 1), area)
    once = np.ones((1, smaller.patients), dtype=np.float32)
    rng = np.random.Generator(np.random.Philox(seed))
    deltas = []
    for _ in range(_SIMULATED):
        scores = simulate_scores(smaller, theta, rng)
        areas = areas_under(scores, smaller.positives, once)[:, 0, :, 0].mean(axis=1)
        deltas.append(areas[1] - areas[0])
    per_draw = _draw_variance(regime)
    total = float(np.var(deltas, ddof=1))
    # Draws are known; what is left is of patients, and at least a little.
    of_patients = max(total - per_draw / regime.draws, 0.05 * total)
    return Variance(of_patients * smaller.patients, per_draw)


def dice_variance(regime: Regime, sd: float) -> Variance:
    """Of the difference of two arms' mean Dice, `sd` being that of one case's Dice.

    The parts of the variance are those of `Regime`; what all cells share cancels in a difference.
    """
    alone = 1 - regime.shared - regime.shared_in_arm
    of_cases = regime.within_patient + (1 - regime.within_patient) / regime.cases_per_patient
    per_patient = 2 * sd**2 * of_cases * (regime.shared_in_arm + alone / regime.draws)
    return Variance(per_patient, _draw_variance(regime))


def power_note(power: dict[str, Any]) -> str:
    """The entry in a sentence or two."""
    assumed = power["assumed"]
    basis = f"areas near {assumed['auc']:g}" if "auc" in assumed else "Dice"
    note = (
        f"With {power['test_patients']} test patients and {power['draws']} draws this study would "
        f"find a difference of {power['mdd']:.3f} or more four times in five, and show a margin of "
        f"{power['least_margin']:.3f} (assumed: {basis}, a standard deviation of "
        f"{assumed['draw_sd']:g} between draws)."
    )
    proposal = power["proposal"]
    if proposal is None:
        return note
    note += f" The margin of {power['margin']:g} is smaller."
    crossed = (
        f"{proposal['repeats']} x {proposal['folds']}-fold cross-validation by patients, which "
        f"tests all {proposal['patients']}, would show {proposal['least_margin']:.3f}"
    )
    if proposal["margin_shown"]:
        return f"{note} {crossed}."
    return (
        f"{note} Even {crossed}; {power['margin']:g} needs {proposal['patients_needed']} tested "
        f"patients and {proposal['draws_needed']} draws."
    )


def _proposal(variance: Variance, margin: float, draws: int, everyone: int) -> dict[str, Any]:
    """Cross-validation by patients, repeated as often as the draws ask for."""
    wanted = margin / _MARGIN_IN_SE
    needed = draws if variance.patients_for(wanted, draws) is not None else 0
    if not needed or (variance.patients_for(wanted, draws) or 0) > everyone:
        needed = max(draws, variance.draws_for(wanted))
    repeats = math.ceil(needed / draws)
    se = variance.se(everyone, repeats * draws)
    return {
        "folds": _FOLDS,
        "repeats": repeats,
        "patients": everyone,
        "mdd": round(minimal_detectable(se), 4),
        "least_margin": round(_MARGIN_IN_SE * se, 4),
        "margin_shown": _MARGIN_IN_SE * se <= margin,
        "patients_needed": variance.patients_for(wanted, repeats * draws),
        "draws_needed": repeats * draws,
    }


def _draw_variance(regime: Regime) -> float:
    """Of the difference of two arms in one draw: the luck that both share cancels."""
    return 2 * (1 - regime.shared) * regime.draw_sd**2


def _regime(test: pd.DataFrame, kind: str, draws: int) -> Regime:
    patients = int(test["patient_key"].nunique())
    share = 0.5
    if kind == "classification":
        # The rarest class limits: of its patients there are fewest.
        by_class = test.groupby("label")["patient_key"].nunique()
        share = float(by_class.min() / max(patients, 1))
    return Regime(
        draws=draws,
        patients=max(patients, 2),
        cases_per_patient=max(1, round(len(test) / max(patients, 1))),
        draw_sd=ASSUMED_DRAW_SD,
        positive_share=min(share, 0.5),
    )
