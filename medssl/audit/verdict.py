"""From the checks to one verdict and its exit code.

The order of precedence: a check that broke down (a bug of ours) before any FAIL (or, under
--strict, any WARN) before a claim that is sound but VACUOUS or UNSUPPORTED, before INCONCLUSIVE,
before a pass. A usage error (2) comes before all of them and never gets here.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from medssl.audit.result import CheckResult, Status


class Verdict(StrEnum):
    """The first line of an audit."""

    UNKNOWN = "UNKNOWN"
    FAILED = "FAILED"
    VACUOUS = "VACUOUS"
    UNSUPPORTED = "UNSUPPORTED"
    INCONCLUSIVE = "INCONCLUSIVE"
    SUPPORTED = "SUPPORTED"
    SOUND = "SOUND"


EXIT_CODES = {
    Verdict.UNKNOWN: 5,
    Verdict.FAILED: 1,
    Verdict.VACUOUS: 3,
    Verdict.UNSUPPORTED: 3,
    Verdict.INCONCLUSIVE: 4,
    Verdict.SUPPORTED: 0,
    Verdict.SOUND: 0,
}

MEANINGS = {
    Verdict.UNKNOWN: "a check broke down, so that nothing can be concluded: a bug of medssl",
    Verdict.FAILED: "a check failed: the study cannot carry any claim until that is explained",
    Verdict.VACUOUS: "the study is sound, but its curve is too flat to show a saving of labels",
    Verdict.UNSUPPORTED: "the study is sound, but what it measured does not bear the claim out",
    Verdict.INCONCLUSIVE: "nothing is wrong, but there is not enough here to decide",
    Verdict.SUPPORTED: "the study is sound and the claim holds by its own rule",
    Verdict.SOUND: "the study is sound; it states no claim to judge",
}

_IN_ORDER = (
    (Status.ERROR, Verdict.UNKNOWN),
    (Status.FAIL, Verdict.FAILED),
    (Status.VACUOUS, Verdict.VACUOUS),
    (Status.UNSUPPORTED, Verdict.UNSUPPORTED),
    (Status.INCONCLUSIVE, Verdict.INCONCLUSIVE),
)


def reach_verdict(
    checks: Iterable[CheckResult], has_claim: bool, strict: bool = False
) -> tuple[Verdict, int]:
    """The verdict of all checks together, and the exit code that goes with it."""
    statuses = {check.status for check in checks}
    if strict and Status.WARN in statuses:
        statuses.add(Status.FAIL)
    for status, verdict in _IN_ORDER:
        if status in statuses:
            return verdict, EXIT_CODES[verdict]
    verdict = Verdict.SUPPORTED if has_claim else Verdict.SOUND
    return verdict, EXIT_CODES[verdict]
