"""L4: the patient keys are the patients."""

from __future__ import annotations

import pandas as pd

from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import CASES, PRETRAIN, StudyFiles
from medssl.audit.wording import counted

_STATUS = {
    "patient": Status.PASS,
    "inferred": Status.WARN,
    "scan": Status.INCONCLUSIVE,
    "none": Status.INCONCLUSIVE,
}
_WORST_LAST = [Status.PASS, Status.WARN, Status.INCONCLUSIVE]


def run(study: StudyFiles) -> Finding:
    parts = {"cases": study.cases["group_quality"]}
    if study.has(PRETRAIN):
        parts["pretraining volumes"] = study.pretrain["group_quality"]
    worst = max(
        (_STATUS.get(quality, Status.INCONCLUSIVE) for part in parts.values() for quality in part),
        key=_WORST_LAST.index,
        default=Status.INCONCLUSIVE,
    )
    told = "; ".join(f"{name}: {_told(qualities)}" for name, qualities in parts.items())
    read = [path for path in (CASES, PRETRAIN) if study.has(path)]
    return Finding(worst, told, [study.evidence(path) for path in read])


def _told(qualities: pd.Series[str]) -> str:
    counts = qualities.replace("", "unknown").value_counts()
    return ", ".join(f"{counted(int(n), 'scan')} grouped by {q}" for q, n in counts.items())


CHECK = Check(
    "L4",
    "group_quality = patient, for cases and pretraining volumes",
    "inferred: WARN; scan or none: INCONCLUSIVE",
    run,
)
