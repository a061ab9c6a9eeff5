"""Auditing a study: run every check on its folder, reach a verdict, write it down.

Works on the folder alone: no store, no MLflow, no torch, on any machine; a store lets it look at
voxels too. It writes `audit.json` and `audit.html` beside the study's files, nothing else.
"""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

from medssl.audit.brought import Brought
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
from medssl.store import open_store
from medssl.store.writer import write_atomically


def audit(
    study: Path,
    claim: Path | None = None,
    strict: bool = False,
    expect_root: str | None = None,
    store: Path | None = None,
    encoder: Path | None = None,
    rerun: bool = False,
    progress: Progress = SILENT,
) -> AuditResult:
    """Judge a study and the claim that it makes, and write audit.json and audit.html to it.

    Args:
        claim: a claim.yaml to judge in place of the plan's.
        strict: a WARN counts as a FAIL.
        expect_root: the ledger's root as known from elsewhere, 64 hexadecimal digits.
        store: the store with the study's volumes, for the checks that look at voxels.
        encoder: the pretraining run, or its weights, for running the cells again that start there.
        rerun: run the cheapest cell of each arm again.

    Raises:
        StudyError: the folder is no study, cannot be written to, or cannot answer the claim; or the
            store is another one, or cells are to be run again without it.
        StoreError: `store` is no store.
        ConfigError: `claim` is no claim.
    """
    from medssl.audit.page import write_audit_page

    brought = _brought(claim, expect_root, store, encoder, rerun)
    files = StudyFiles(study, brought)
    _refuse_foreign(brought, files)
    progress.start("audit", len(CHECKS))
    results, crashes = [], []
    for check in CHECKS:
        found, crash = _run(check, files)
        results.append(found)
        crashes += [crash] if crash else []
        progress.advance(check=check.id)
    progress.finish()
    judged = _claim_of(files)
    verdict, exit_code = reach_verdict(results, judged is not None, strict)
    result = AuditResult(study, judged, verdict, exit_code, results, _root_of(files), crashes)
    try:
        text = json.dumps(result.as_json(), indent=2, ensure_ascii=False)
        write_atomically(result.audit_json, text + "\n")
        write_audit_page(result, files)
    except PermissionError as error:
        raise StudyError(f"{study} cannot be written to; audit a copy of it") from error
    return result


def _run(check: Check, files: StudyFiles) -> tuple[CheckResult, str | None]:
    """Run one check; a file that it needs and that is damaged is a FAIL, with the file's name.

    A check that breaks down says nothing of the study and costs no other check its turn: it ends
    with ERROR, and what happened is returned beside it.
    """
    crash = None
    try:
        finding = check.run(files)
    except DamagedFile as damage:
        digest = files.evidence(damage.path) if files.has(damage.path) else None
        evidence = [digest or Evidence(damage.path, None)]
        finding = Finding(Status.FAIL, str(damage), evidence)
    except MedsslError as error:
        finding = Finding(Status.FAIL, _placeless(str(error), files))
    except Exception as error:
        crash = f"check {check.id}:\n{traceback.format_exc()}"
        finding = Finding(
            Status.ERROR,
            f"the check broke down ({type(error).__name__}), which says nothing of the study",
        )
    observed = "".join(c if c.isprintable() else "\ufffd" for c in finding.observed)
    return CheckResult(check.id, finding.status, check.rule, observed, finding.evidence), crash


def _placeless(message: str, files: StudyFiles) -> str:
    """The message without the folders of this machine: it is written beside the study."""
    store, encoder = files.brought.store, files.brought.encoder
    places = {"STORE": store and store.root, "ENCODER": encoder, "STUDY": files.root}
    for name, place in places.items():
        if place is not None:
            message = message.replace(str(place), name)
    return message


def _brought(
    claim: Path | None,
    expect_root: str | None,
    store: Path | None,
    encoder: Path | None,
    rerun: bool,
) -> Brought:
    if rerun and store is None:
        raise StudyError("--rerun runs cells again, which needs the volumes: name --store")
    if encoder is not None and not rerun:
        raise StudyError("--encoder has no effect without --rerun auto")
    return Brought(
        expect_root=_hexadecimal(expect_root),
        claim=load_config(ClaimConfig, claim) if claim is not None else None,
        store=open_store(store) if store is not None else None,
        encoder=encoder,
        rerun=rerun,
    )


def _refuse_foreign(brought: Brought, files: StudyFiles) -> None:
    """The claim and the store must be of this study.

    Raises:
        StudyError: they are not.
    """
    try:
        plan = files.plan
        if brought.claim is not None:
            check_claim(brought.claim, files)
    except DamagedFile:
        return  # the checks will say so
    if brought.store is not None and brought.store.key_id != plan.data.key_id:
        raise StudyError(
            f"the store is under key {brought.store.key_id}, the study was planned on one under "
            f"key {plan.data.key_id}; name the store that it was planned on"
        )


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
