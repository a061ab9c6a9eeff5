"""What a study found, in a line, and the conditions of its claim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from medssl.report.page import Part, Section, table, verdict
from medssl.report.study_words import arm_name, number, percent, signed

_VERDICTS = {
    "SUPPORTED": "every condition of the claim's rule holds",
    "UNSUPPORTED": "what was measured does not bear the claim out",
    "VACUOUS": "the curve from scratch is too flat for any saving of labels to show",
    "INCONCLUSIVE": "too little was run to decide",
}

_TONES: dict[str, Literal["good", "bad", "open"]] = {
    "SUPPORTED": "good",
    "UNSUPPORTED": "bad",
    "VACUOUS": "bad",
}


def verdict_sections(analysis: Mapping[str, Any]) -> list[Section]:
    """The line, and below it the claim where one was made."""
    claim = analysis["claim"]
    tone = _TONES.get(claim["verdict"], "open") if claim else "open"
    sections = [Section("", [verdict(headline(analysis), tone)])]
    if claim is not None:
        sections.append(Section("Claim", [_conditions(claim)]))
    return sections


def headline(analysis: Mapping[str, Any]) -> str:
    """The verdict in one line; where no claim was made, the difference with the fewest labels."""
    claim = analysis["claim"]
    if claim is not None:
        said = (
            f"{arm_name(claim['arm'])} with {percent(claim['frac'])} of the labels does as well as "
            f"{arm_name(claim['versus'])} with {percent(claim['vs_frac'])}"
        )
        return f"{claim['verdict']} – “{said}”: {_VERDICTS[claim['verdict']]}."
    of_arm = [e for e in analysis["effects"] if e["arm"] == analysis["arm"]]
    if not of_arm or of_arm[0]["delta"] is None:
        return "No claim was made, and no two arms can be compared."
    first = of_arm[0]
    return (
        f"No claim was made. With {first['labels']:.0f} labels, {arm_name(first['arm'])} minus "
        f"{arm_name(first['versus'])} is {signed(first['delta'])} "
        f"({signed(first['lo'])} to {signed(first['hi'])})."
    )


def _conditions(claim: Mapping[str, Any]) -> Part:
    rows = [
        (
            c["rule"],
            _observed(c, "observed"),
            _observed(c, "bound"),
            "holds" if c["holds"] else "does not hold",
        )
        for c in claim["conditions"]
    ]
    return table(["condition", "observed", "bound", ""], rows)


def _observed(condition: Mapping[str, Any], which: str) -> str:
    value = condition[which]
    return f"{value:.0f}" if condition["id"] == "enough_draws" else number(value)
