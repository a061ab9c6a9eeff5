"""`docs/reference/reason-codes.md`, made from the codes: python -m medssl.archive.reason_codes."""

from __future__ import annotations

from pathlib import Path

from medssl.archive.reasons import Reason

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "reason-codes.md"
_GROUPS = {
    "noted": "Taken as it is; a fact that a user of the volume should know. The codes stand in the "
    "column `notes` of the manifest.",
    "corrected": "Taken, with a correction. The codes stand in the column `corrections` of the "
    "manifest, or of a mask's row in `labels/`.",
    "quarantined": "Not taken: it could not be read beyond doubt.",
    "not an image": "Not taken: readable, but no scan.",
    "unpaired": "A label or an image whose partner is missing; such an image is taken.",
    "failed": "The reading itself broke down; the next run tries again.",
}


def page() -> str:
    """The whole page, as Markdown."""
    lines = [
        "# Reason codes",
        "",
        "How a file, a series or a label can end in `medssl ingest`, but for EXACT. The codes of "
        "what was not taken stand in `rejected/`.",
    ]
    for group, meaning in _GROUPS.items():
        lines += [
            "",
            f"## {group.capitalize()}",
            "",
            meaning,
            "",
            "| code | what it means, what to do |",
        ]
        lines += ["|---|---|"]
        lines += [f"| `{r.value}` | {r.text} |" for r in sorted(Reason) if r.group == group]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
