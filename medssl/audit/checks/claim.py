"""C2: the claim by its own rule, judged again from the predictions."""

from __future__ import annotations

from medssl.audit.curve import planned_claim, recompute_claim, savings_of_claim
from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import PLAN, StudyFiles, predictions_path
from medssl.efficiency.claim import ClaimVerdict, Condition
from medssl.efficiency.savings import Censored, Savings

_STATUS = {
    ClaimVerdict.SUPPORTED: Status.PASS,
    ClaimVerdict.UNSUPPORTED: Status.UNSUPPORTED,
    ClaimVerdict.VACUOUS: Status.VACUOUS,
    ClaimVerdict.INCONCLUSIVE: Status.INCONCLUSIVE,
}

_SIGNS = {Censored.AT_LEAST: "≥ ", Censored.AT_MOST: "≤ ", Censored.UNDEFINED: "unknown, "}


def run(study: StudyFiles) -> Finding:
    evidence = [study.evidence(PLAN)]
    outcome = recompute_claim(study)
    if outcome is None:
        return Finding(Status.NOT_RUN, "the plan states no claim; --claim gives one", evidence)
    evidence += [study.evidence(predictions_path(cell)) for cell in study.cells_there]
    savings = savings_of_claim(study)
    told = "; ".join(_told(condition, savings) for condition in outcome.conditions)
    status = _STATUS[outcome.verdict]
    if outcome.claim != planned_claim(study):
        told = f"this claim is not the one that the plan was frozen with; {told}"
        status = Status.WARN if status is Status.PASS else status
    return Finding(status, told, evidence)


def _told(condition: Condition, savings: Savings | None) -> str:
    holds = "holds" if condition.holds else "does not hold"
    if condition.id == "enough_draws":
        return f"{condition.observed:.0f} draws: {holds}"
    sign = ""
    if condition.id == "saves_labels" and savings is not None:
        sign = _SIGNS.get(savings.censored, "")
    return (
        f"{condition.rule} ({sign}{condition.observed:.3f}, bound {condition.bound:.3f}): {holds}"
    )


CHECK = Check(
    "C2",
    "the claim's rule (near enough, a curve that can tell, the savings that are claimed)",
    "UNSUPPORTED, VACUOUS, INCONCLUSIVE; supported, but not the plan's claim: WARN",
    run,
)
