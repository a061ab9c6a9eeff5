"""The claim's rule: what has to hold before a claim of saved labels is called supported."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from medssl.efficiency.config import ClaimConfig
from medssl.efficiency.curve import MetricGrid
from medssl.efficiency.savings import Censored, Savings
from medssl.efficiency.statistics import LEVEL, lower_bound

LEAST_DRAWS = 5


class ClaimVerdict(StrEnum):
    SUPPORTED = "SUPPORTED"
    UNSUPPORTED = "UNSUPPORTED"
    VACUOUS = "VACUOUS"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True)
class Condition:
    """One part of the rule; `bound` is what is compared, `observed` the value it belongs to."""

    id: str
    rule: str
    observed: float
    bound: float
    holds: bool


@dataclass(frozen=True)
class ClaimOutcome:
    claim: ClaimConfig
    verdict: ClaimVerdict
    conditions: list[Condition]


def judge_claim(claim: ClaimConfig, grid: MetricGrid, savings: Savings | None) -> ClaimOutcome:
    """VACUOUS before INCONCLUSIVE before UNSUPPORTED; SUPPORTED where every condition holds.

    With theta the mean over draws and margin the claim's, bounds being one-sided at 95 %:
    (i) the lower bound of theta_arm(frac) - theta_versus(vs_frac) exceeds -margin;
    (ii) the lower bound of theta_versus(vs_frac) - theta_versus(frac) exceeds the margin, else the
    curve is too flat to tell anything; (iii) where min_lsf is set, the label-savings factor reaches
    it and its lower bound exceeds 1. Under five draws the verdict is at most INCONCLUSIVE. A curve
    whose gain cannot be computed, its cells missing, is not called flat.
    """
    conditions = [_near_enough(claim, grid), _can_tell(claim, grid)]
    if claim.min_lsf is not None:
        conditions.append(_saves_labels(claim.min_lsf, savings))
    conditions.append(_enough_draws(claim, grid))
    holds = {condition.id: condition.holds for condition in conditions}
    can_tell = conditions[1]
    if not can_tell.holds and not math.isnan(can_tell.bound):
        verdict = ClaimVerdict.VACUOUS
    elif not holds["enough_draws"]:
        verdict = ClaimVerdict.INCONCLUSIVE
    else:
        supported = all(holds.values())
        verdict = ClaimVerdict.SUPPORTED if supported else ClaimVerdict.UNSUPPORTED
    return ClaimOutcome(claim, verdict, conditions)


def _near_enough(claim: ClaimConfig, grid: MetricGrid) -> Condition:
    observed = grid.theta(claim.arm, claim.frac) - grid.theta(claim.versus, claim.vs_frac)
    bound = lower_bound(
        grid.replicates(claim.arm, claim.frac) - grid.replicates(claim.versus, claim.vs_frac),
        LEVEL,
    )
    few, many = _percent(claim.frac), _percent(claim.vs_frac)
    rule = (
        f"{claim.arm} at {few} is at most {claim.margin:g} worse than {claim.versus} at {many}: "
        f"the lower bound of the difference exceeds {-claim.margin:g}"
    )
    return Condition("near_enough", rule, observed, bound, bound > -claim.margin)


def _can_tell(claim: ClaimConfig, grid: MetricGrid) -> Condition:
    observed = grid.theta(claim.versus, claim.vs_frac) - grid.theta(claim.versus, claim.frac)
    bound = lower_bound(
        grid.replicates(claim.versus, claim.vs_frac) - grid.replicates(claim.versus, claim.frac),
        LEVEL,
    )
    few, many = _percent(claim.frac), _percent(claim.vs_frac)
    rule = (
        f"{claim.versus} gains from {few} to {many} of the labels: the "
        f"lower bound of its gain exceeds {claim.margin:g}"
    )
    return Condition("can_tell", rule, observed, bound, bound > claim.margin)


def _saves_labels(min_lsf: float, savings: Savings | None) -> Condition:
    rule = f"the label-savings factor is at least {min_lsf:g} and its lower bound exceeds 1"
    if savings is None:
        return Condition("saves_labels", rule, math.nan, math.nan, False)
    known = savings.censored in (Censored.NONE, Censored.AT_LEAST)
    holds = known and savings.value >= min_lsf and savings.lo > 1
    return Condition("saves_labels", rule, savings.value, savings.lo, holds)


def _enough_draws(claim: ClaimConfig, grid: MetricGrid) -> Condition:
    draws = grid.complete_draws(
        (claim.arm, claim.frac), (claim.versus, claim.vs_frac), (claim.versus, claim.frac)
    )
    rule = f"at least {LEAST_DRAWS} draws have all cells that the claim compares"
    return Condition("enough_draws", rule, float(draws), float(draws), draws >= LEAST_DRAWS)


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
