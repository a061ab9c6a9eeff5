"""The order of precedence among statuses."""

from __future__ import annotations

import itertools

import pytest

from medssl.audit.result import CheckResult, Status
from medssl.audit.verdict import MEANINGS, Verdict, reach_verdict

IN_ORDER = [
    (Status.ERROR, "UNKNOWN", 5),
    (Status.FAIL, "FAILED", 1),
    (Status.VACUOUS, "VACUOUS", 3),
    (Status.UNSUPPORTED, "UNSUPPORTED", 3),
    (Status.INCONCLUSIVE, "INCONCLUSIVE", 4),
    (Status.WARN, "SUPPORTED", 0),
    (Status.NOTE, "SUPPORTED", 0),
    (Status.NOT_RUN, "SUPPORTED", 0),
    (Status.PASS, "SUPPORTED", 0),
]


def _checks(*statuses: Status) -> list[CheckResult]:
    return [CheckResult("X", status, "", "", []) for status in statuses]


@pytest.mark.parametrize("pair", itertools.combinations(range(len(IN_ORDER)), 2))
def test_the_earlier_of_two_decides_in_any_order(pair: tuple[int, int]) -> None:
    first, second = (IN_ORDER[i] for i in pair)
    for statuses in ((first[0], second[0]), (second[0], first[0])):
        assert reach_verdict(_checks(*statuses), has_claim=True) == (first[1], first[2])


def test_strict_turns_a_warning_into_a_failure_before_all_else() -> None:
    checks = _checks(Status.WARN, Status.VACUOUS, Status.INCONCLUSIVE)
    assert reach_verdict(checks, has_claim=True, strict=True) == ("FAILED", 1)
    assert reach_verdict(_checks(Status.NOTE), has_claim=True, strict=True) == ("SUPPORTED", 0)


def test_without_a_claim_nothing_is_supported() -> None:
    assert reach_verdict(_checks(Status.PASS), has_claim=False) == ("SOUND", 0)


def test_every_verdict_has_its_meaning() -> None:
    assert set(MEANINGS) == set(Verdict)
