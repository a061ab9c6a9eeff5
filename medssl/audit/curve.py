"""The curve once more: every cell's metric and its replicates, from the predictions alone."""

from __future__ import annotations

from functools import lru_cache

from medssl.audit.study_files import CASES, PLAN, DamagedFile, StudyFiles, predictions_path
from medssl.config import parse_config
from medssl.efficiency.analysis import savings_of
from medssl.efficiency.claim import ClaimOutcome, judge_claim
from medssl.efficiency.config import ClaimConfig
from medssl.efficiency.curve import MetricGrid, metric_grid
from medssl.efficiency.savings import Savings
from medssl.errors import ConfigError, StudyError


def recompute_grid(study: StudyFiles) -> MetricGrid:
    """The grid of the plan's metric; see `recompute_grid_of`."""
    return recompute_grid_of(study, study.plan.metric)


@lru_cache(maxsize=3)
def recompute_grid_of(study: StudyFiles, metric: str) -> MetricGrid:
    """The grid of one metric; the plan's seed gives the replicates that the study had.

    Raises:
        DamagedFile: a file that it takes is missing or damaged, or a cell was tested on other
            cases than the sealed test set.
    """
    plan = study.plan
    frames = {cell: study.predictions(cell) for cell in study.cells_there}
    if not frames:
        raise DamagedFile("predictions", "no cell has predictions")
    sealed = study.cases.loc[study.cases["role"] == "test", "volume_uid"]
    for cell, frame in frames.items():
        tested = frame.loc[frame["split"] == "test", "volume_uid"]
        if set(tested) != set(sealed):
            raise DamagedFile(predictions_path(cell), f"its test cases are not those of {CASES}")
    planned = {(subset.fraction, subset.draw) for subset in plan.subsets}
    if any((cell.fraction, cell.draw) not in planned for cell in study.cells):
        raise DamagedFile(PLAN, "key subsets: not every fraction and draw is there")
    if plan.reference_fraction not in plan.fractions:
        raise DamagedFile(PLAN, "key reference_fraction: not one of the fractions")
    return metric_grid(plan.model_dump(), frames, metric)


@lru_cache(maxsize=2)
def recompute_savings(study: StudyFiles, arm: str | None = None) -> Savings | None:
    """The label-savings factor of `arm`, by default of the one that the study says it of."""
    return savings_of(recompute_grid(study), study.plan.model_dump(), arm)


def savings_of_claim(study: StudyFiles) -> Savings | None:
    """The label-savings factor of the arm that the claim to judge is of."""
    claim = claim_to_judge(study)
    return recompute_savings(study, None if claim is None else claim.arm)


def recompute_claim(study: StudyFiles) -> ClaimOutcome | None:
    """What the claim's rule says; None where there is no claim.

    Raises:
        DamagedFile: the plan's claim is none that the plan's grid could answer.
    """
    claim = claim_to_judge(study)
    if claim is None:
        return None
    try:
        check_claim(claim, study)
    except (StudyError, ConfigError) as error:
        raise DamagedFile(PLAN, f"key claim: {error}") from error
    return judge_claim(claim, recompute_grid(study), savings_of_claim(study))


def check_claim(claim: ClaimConfig, study: StudyFiles) -> None:
    """That the study has the cells that a claim compares.

    Raises:
        StudyError: it has not; the message names what is there.
    """
    plan = study.plan
    for arm in (claim.arm, claim.versus):
        if arm not in plan.arms:
            raise StudyError(f"the study has no arm {arm}; there are: {', '.join(plan.arms)}")
    for fraction in (claim.frac, claim.vs_frac):
        if fraction not in plan.fractions:
            there = ", ".join(f"{f:g}" for f in plan.fractions)
            raise StudyError(f"the study has no fraction {fraction:g}; there are: {there}")
    if claim.metric != plan.metric:
        raise StudyError(f"the study measures {plan.metric}, the claim {claim.metric}")


def claim_to_judge(study: StudyFiles) -> ClaimConfig | None:
    """The auditor's claim, else the one that was frozen with the plan; None where there is none.

    Raises:
        DamagedFile: the plan's is none.
    """
    return study.brought.claim or planned_claim(study)


def planned_claim(study: StudyFiles) -> ClaimConfig | None:
    """The claim that was frozen with the plan.

    Raises:
        DamagedFile: it is not one.
    """
    if study.plan.claim is None:
        return None
    try:
        return parse_config(ClaimConfig, study.plan.claim.model_dump(), source="claim")
    except ConfigError as error:
        raise DamagedFile(PLAN, f"key claim: {error}") from error
