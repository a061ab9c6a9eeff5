"""The page of an audit: verdict first, then every check, then what it rests on."""

from __future__ import annotations

from typing import Literal

from medssl.audit.curve import recompute_claim, recompute_grid, recompute_savings
from medssl.audit.result import AuditResult, CheckResult, Status
from medssl.audit.study_files import DamagedFile, StudyFiles
from medssl.audit.verdict import MEANINGS, Verdict
from medssl.audit.wording import counted
from medssl.efficiency.analysis import curve_points
from medssl.errors import MedsslError
from medssl.report.learning_curve import learning_curve
from medssl.report.page import Part, Section, figure, table, text, verdict, write_page

_TONES: dict[str, Literal["good", "bad", "open"]] = {
    Verdict.SUPPORTED: "good",
    Verdict.SOUND: "good",
    Verdict.FAILED: "bad",
}

_LIMITS = (
    "An audit shows that the study's files agree with each other, with its plan and with the "
    "root that was anchored. Whoever made all of them up from the beginning, predictions "
    "included, would agree with himself; only running cells again can show that.",
    "What a cell says of itself, its seconds and what it was fitted on, is taken at its word, "
    "and held against the plan, the ledger and the splits. NOT RUN stands beside the checks that "
    "need scans or encoder, where those were not at hand.",
    "One test set: another hospital's patients are not in it.",
)


def write_audit_page(result: AuditResult, files: StudyFiles) -> None:
    """Write audit.html, one file that opens offline."""
    meaning = MEANINGS[Verdict(result.verdict)]
    sections = [
        Section(
            "",
            [verdict(f"{result.verdict}: {meaning}.", _TONES.get(result.verdict, "open"))],
        ),
        Section("Claim", _claim(result, files)),
        Section("Checks", [_summary(result), _checks(result.checks)]),
        Section("Curve, computed again from the predictions", [_curve(files)]),
        Section("Evidence", _evidence(result)),
        Section("Limits", [text(line) for line in _LIMITS]),
    ]
    write_page(result.page, "Audit of a label-efficiency study", _lead(files), sections)


def _lead(files: StudyFiles) -> str:
    try:
        plan = files.plan
    except DamagedFile:
        return "The plan of this study cannot be read."
    return (
        f"{plan.task.kind.capitalize()}: {counted(list(plan.arms), 'arm')}, "
        f"{counted(plan.fractions, 'fraction')}, {counted(plan.draws, 'draw')}, "
        f"{counted(plan.data.test_patients, 'sealed test patient')}."
    )


def _claim(result: AuditResult, files: StudyFiles) -> list[Part]:
    claim = result.claim
    if claim is None:
        return [text("The study states no claim that could be judged.")]
    said = (
        f"“{claim['arm']} with {claim['frac']:.0%} of the labels is at most {claim['margin']:g} "
        f"worse in {claim['metric']} than {claim['versus']} with {claim['vs_frac']:.0%}"
    )
    saves = f", a saving of {claim['min_lsf']:g} times" if claim["min_lsf"] else ""
    parts = [text(f"{said}{saves}.”")]
    try:
        outcome = recompute_claim(files)
    except (DamagedFile, MedsslError) as error:
        return [*parts, text(f"It cannot be judged: {error}.")]
    rows = [(c.rule, c.observed, c.bound, c.holds) for c in (outcome.conditions if outcome else [])]
    return [*parts, table(["condition", "observed", "bound", "holds"], rows)]


def _summary(result: AuditResult) -> Part:
    counts = dict.fromkeys(Status, 0)
    for check in result.checks:
        counts[check.status] += 1
    told = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    return text(f"{counted(result.checks, 'check')}: {told}.")


def _checks(checks: list[CheckResult]) -> Part:
    rows = [(check.id, str(check.status), check.rule, check.observed) for check in checks]
    return table(["check", "status", "passes when", "observed"], rows)


def _curve(files: StudyFiles) -> Part:
    try:
        grid, savings = recompute_grid(files), recompute_savings(files)
        points = curve_points(grid, files.plan.statistics.level)
    except (DamagedFile, MedsslError) as error:
        return text(f"It cannot be computed: {error}.")
    drawn = learning_curve(
        [{key: _drawable(value) for key, value in point.items()} for point in points],
        grid.metric,
        None if savings is None else {**vars(savings), "censored": str(savings.censored)},
    )
    return figure(
        drawn,
        f"Mean of {grid.metric} over draws with its "
        f"{files.plan.statistics.level:.0%} interval over patients and draws; each draw is a dot.",
    )


def _drawable(value: object) -> object:
    """NaN as None, as analysis.json has it."""
    if isinstance(value, list):
        return [_drawable(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def _evidence(result: AuditResult) -> list[Part]:
    files: dict[str, tuple[str, int | None, list[str]]] = {}
    for check in result.checks:
        for item in check.evidence:
            read = files.setdefault(item.path, (item.sha256 or "missing", item.rows, []))
            read[2].append(check.id)
    rows = [
        (path, rows, ", ".join(dict.fromkeys(ids)), digest)
        for path, (digest, rows, ids) in sorted(files.items())
    ]
    return [
        text(
            f"Root of the ledger: {result.ledger_root or 'unknown'}. Keep it apart from the study: "
            "medssl audit STUDY --expect-root ROOT then shows whether anything was changed since."
        ),
        table(["file", "rows", "read by", "SHA-256"], rows),
    ]
