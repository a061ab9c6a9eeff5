"""C3: the label-savings factor was measured, not extrapolated, and does not hang on one method."""

from __future__ import annotations

from medssl.audit.curve import savings_of_claim
from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import PLAN, StudyFiles, predictions_path
from medssl.efficiency.savings import Censored

APART = 1.5

_CENSORED = {
    Censored.AT_LEAST: "at least",
    Censored.AT_MOST: "at most",
    Censored.UNDEFINED: "unknown, near",
}


def run(study: StudyFiles) -> Finding:
    evidence = [study.evidence(PLAN)]
    savings = savings_of_claim(study)
    if savings is None:
        return Finding(Status.NOTE, "no two whole curves to read a factor from", evidence)
    evidence += [study.evidence(predictions_path(cell)) for cell in study.cells_there]
    if savings.censored is not Censored.NONE:
        return Finding(
            Status.WARN,
            f"the factor is {_CENSORED[savings.censored]} {savings.value:.2f}: a curve reaches "
            f"{savings.target:.3f} outside the labels that were measured",
            evidence,
        )
    told = f"factor {savings.value:.2f} by isotonic regression"
    law = savings.power_law
    if law is None:
        why = "no power law could be fitted (it takes four fractions)"
        return Finding(Status.WARN, f"{told}; {why}", evidence)
    if savings.agreement is None:
        why = f"by power law it is {_CENSORED[law.censored]} {law.value:.2f}"
        return Finding(Status.WARN, f"{told}; {why}", evidence)
    told += f", {law.value:.2f} by power law: {savings.agreement:.2f} times apart"
    status = Status.PASS if savings.agreement <= APART else Status.WARN
    return Finding(status, told, evidence)


CHECK = Check("C3", "LSF uncensored; isotonic and power law agree within 1.5×", "WARN", run)
