"""How to run a study again, and the files that its result rests on."""

from __future__ import annotations

from collections import Counter
from typing import Any

from medssl.report.page import Part, Section, code, details, table, text
from medssl.report.study_record import StudyRecord

_FACTS = ("git_commit", "git_dirty", "env_sha256", "python", "torch", "device", "threads")


def rerun_section(record: StudyRecord) -> Section:
    """The commands, where the cells ran, and what an audit found that ran one again."""
    commands = (
        "medssl label-efficiency run config.yaml --out STUDY\n"
        "medssl label-efficiency analyze config.yaml --out STUDY\n"
        f"medssl audit STUDY --store STORE --rerun auto \\\n"
        f"    --expect-root {record.ledger_root}"
    )
    parts: list[Part] = [
        text(
            "config.yaml of the study holds every setting, with the places of store and encoder. "
            "Patients of a draw, weights and batches follow from the plan and its seed "
            f"({record.plan['fit'].get('seed', 0)}), not from the order of files or workers."
        ),
        code(commands),
        *_machines(record),
    ]
    return Section("Running it again", [*parts, *_repeated(record)])


def evidence_section(record: StudyRecord) -> Section:
    """Every file with its hash, and the root that vouches for them."""
    count = len(record.evidence)
    return Section(
        "Evidence",
        [
            text(f"Root of the ledger: {record.ledger_root}"),
            text(
                "Keep it apart from the study, in a mail or on paper: with --expect-root an audit "
                "then shows whether anything was changed since."
            ),
            details(f"{count} files", [table(["file", "SHA-256"], record.evidence)])
            if count > 24
            else table(["file", "SHA-256"], record.evidence),
        ],
    )


def _machines(record: StudyRecord) -> list[Part]:
    seen: Counter[tuple[Any, ...]] = Counter()
    for cell in record.cells:
        facts = cell["provenance"]
        repeats = "same bits" if facts.get("deterministic") else "not deterministic"
        seen[(*(str(facts.get(name, "unknown")) for name in _FACTS), repeats)] += 1
    if not seen:
        return [text("No cell has left a record of where it ran.")]
    parts: list[Part] = []
    if len(seen) > 1:
        parts.append(text(f"The cells ran under {len(seen)} different conditions:"))
    for facts, count in seen.most_common():
        words = ["commit", "changed since", "packages", "Python", "torch", "device", "threads"]
        rows = [("cells", str(count)), *zip([*words, "repeated"], facts, strict=True)]
        parts.append(table(["where the cells ran", ""], rows))
    return parts


def _repeated(record: StudyRecord) -> list[Part]:
    found = [c for c in (record.audit or {"checks": []})["checks"] if c["id"] == "R1"]
    if not found:
        return [text("No audit of this state of the study has run a cell again.")]
    return [text(f"Audit, R1 {found[0]['status']}: {found[0]['observed']}")]
