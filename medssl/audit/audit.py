"""Auditing a study: run every check on its folder, reach a verdict, write it down.

Works on the folder alone: no store, no MLflow, no torch, on any machine. It writes `audit.json` and
`audit.html` beside the study's files and changes nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medssl.audit.checks import CHECKS
from medssl.audit.curve import check_claim, claim_to_judge
from medssl.audit.result import AuditResult, Check, CheckResult, Evidence, Finding, Status
from medssl.audit.study_files import DamagedFile, StudyFiles
from medssl.audit.verdict import reach_verdict
from medssl.config import load_config
from medssl.efficiency.config import ClaimConfig
from medssl.efficiency.ledger import root
from medssl.errors import MedsslError, StudyError
from medssl.progress import SILENT, Progress
from medssl.store.writer import write_atomically


def audit(
    study: Path,
    claim: Path | None = None,
    strict: bool = False,
    expect_root: str | None = None,
    progress: Progress = SILENT,
) -> AuditResult:
    """Judge a study and the claim that it makes, and write audit.json and audit.html to it.

    Args:
        claim: a claim.yaml to judge in place of the plan's.
        strict: a WARN counts as a FAIL.
        expect_root: the ledger's root as known from elsewhere, 64 hexadecimal digits.

    Raises:
        StudyError: the folder is no study, cannot be written to, or cannot answer the claim.
        ConfigError: `claim` is no claim.
    """
    from medssl.audit.page import write_audit_page

    given = load_config(ClaimConfig, claim) if claim is not None else None
    files = StudyFiles(study, _hexadecimal(expect_root), given)
    if given is not None:
        _refuse_foreign_claim(given, files)
    progress.start("audit", len(CHECKS))
    results = []
    for check in CHECKS:
        results.append(_run(check, files))
        progress.advance(check=check.id)
    progress.finish()
    judged = _claim_of(files)
    verdict, exit_code = reach_verdict(results, judged is not None, strict)
    result = AuditResult(study, judged, verdict, exit_code, results, _root_of(files))
    try:
        text = json.dumps(result.as_json(), indent=2, ensure_ascii=False)
        write_atomically(result.audit_json, text + "\n")
        write_audit_page(result, files)
    except PermissionError as error:
        raise StudyError(f"{study} cannot be written to; audit a copy of it") from error
    return result


def _run(check: Check, files: StudyFiles) -> CheckResult:
    """Run one check; a file that it needs and that is damaged is a FAIL, with the file's name."""
    try:
        finding = check.run(files)
    except DamagedFile as damage:
        digest = files.evidence(damage.path) if files.has(damage.path) else None
        evidence = [digest or Evidence(damage.path, None)]
        finding = Finding(Status.FAIL, str(damage), evidence)
    except MedsslError as error:
        finding = Finding(Status.FAIL, str(error))
    observed = "".join(c if c.isprintable() else "\ufffd" for c in finding.observed)
    return CheckResult(check.id, finding.status, check.rule, observed, finding.evidence)


def _refuse_foreign_claim(claim: ClaimConfig, files: StudyFiles) -> None:
    try:
        check_claim(claim, files)
    except DamagedFile:
        return  # the checks will say so


def _claim_of(files: StudyFiles) -> dict[str, Any] | None:
    try:
        claim = claim_to_judge(files)
    except DamagedFile:
        return None
    return None if claim is None else claim.model_dump(mode="json")


def _root_of(files: StudyFiles) -> str | None:
    try:
        return root(files.ledger)
    except DamagedFile:
        return None


def _hexadecimal(expect_root: str | None) -> str | None:
    if expect_root is None:
        return None
    digits = expect_root.strip().lower()
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise StudyError("--expect-root takes the ledger's root: 64 hexadecimal digits")
    return digits
