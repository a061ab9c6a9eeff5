"""What a check says, and what an audit adds up to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medssl.audit.study_files import StudyFiles

SCHEMA = "medssl.audit/1"


class Status(StrEnum):
    """How a check ends. Only FAIL says that the study is not what it says it is.

    ERROR is a bug of ours: the check says nothing.
    """

    PASS = "PASS"
    NOTE = "NOTE"
    NOT_RUN = "NOT RUN"
    WARN = "WARN"
    INCONCLUSIVE = "INCONCLUSIVE"
    UNSUPPORTED = "UNSUPPORTED"
    VACUOUS = "VACUOUS"
    FAIL = "FAIL"
    ERROR = "ERROR"


@dataclass(frozen=True)
class Evidence:
    """A file that a check read: path inside the study, hash of its bytes, rows where it has any."""

    path: str
    sha256: str | None
    rows: int | None = None


@dataclass(frozen=True)
class Finding:
    """What a check found: its status, the facts that led there in words, the files it read."""

    status: Status
    observed: str
    evidence: list[Evidence] = field(default_factory=list)


@dataclass(frozen=True)
class Check:
    """One check: `rule` says when it passes, `otherwise` what it says where it does not."""

    id: str
    rule: str
    otherwise: str
    run: Callable[[StudyFiles], Finding]


@dataclass(frozen=True)
class CheckResult:
    """A check with what it found."""

    id: str
    status: Status
    rule: str
    observed: str
    evidence: list[Evidence]


@dataclass(frozen=True)
class AuditResult:
    """The outcome of an audit; `as_json` is the content of audit.json.

    `crashes` tells of each check that broke down, with its traceback, for whoever mends it.
    """

    study: Path
    claim: dict[str, Any] | None
    verdict: str
    exit_code: int
    checks: list[CheckResult]
    ledger_root: str | None
    crashes: list[str] = field(default_factory=list)

    @property
    def audit_json(self) -> Path:
        return self.study / "audit.json"

    @property
    def page(self) -> Path:
        return self.study / "audit.html"

    def check(self, check_id: str) -> CheckResult:
        """The result of one check, by its id."""
        return next(check for check in self.checks if check.id == check_id)

    def as_json(self) -> dict[str, Any]:
        """{schema, claim, verdict, checks: [...], ledger_root}."""
        return {
            "schema": SCHEMA,
            "claim": self.claim,
            "verdict": self.verdict,
            "checks": [
                {
                    "id": check.id,
                    "status": str(check.status),
                    "rule": check.rule,
                    "observed": check.observed,
                    "evidence": [
                        {"path": e.path, "sha256": e.sha256, "rows": e.rows} for e in check.evidence
                    ],
                }
                for check in self.checks
            ],
            "ledger_root": self.ledger_root,
        }
