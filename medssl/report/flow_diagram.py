"""Who was left out, who tests, who is labelled: a diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from textwrap import wrap
from typing import Any

import pandas as pd

from medssl.report.study_words import percent, spread_of

_WIDTH, _BOX, _LINE, _PAD = 864, 400, 18, 12
_LETTERS = 56  # that a line of a box holds

_HEAD = ' font-weight="600"'

Lines = Sequence[str]


def flow_diagram(plan: Mapping[str, Any]) -> str:
    """Inline SVG: from the store to the test set and the labelled subsets."""
    data, left_out = plan["data"], plan["exclusions"]
    # Patients with scans on both sides of an exclusion are counted on both: cases add up.
    found = data["cases"] + sum(e["cases"] for e in left_out)
    left, right = 10, _WIDTH - _BOX - 10
    drawn, y = [], 10
    top = ["In the store", f"{_count(found, 'volume')}"]
    excluded = ["Left out: none"]
    if left_out:
        excluded = ["Left out", *(part for e in left_out for part in _lines(_excluded(e)))]
    labelled = ["Labelled", _people(data["patients"], data["cases"])]
    drawn.append(_box(left, y, top))
    drawn.append(_box(right, y, excluded))
    drawn.append(_arrow(left + _BOX, y + _height(top) / 2, right, y + _height(top) / 2))
    below = y + max(_height(top), _height(excluded)) + 34
    drawn.append(_arrow(left + _BOX / 2, y + _height(top), left + _BOX / 2, below))
    drawn.append(_box(left, below, labelled))
    last = below + _height(labelled) + 34
    test = ["Test set, sealed", _people(data["test_patients"], data["test_cases"])]
    development = ["Development", _people(data["dev_patients"], data["dev_cases"]), *_subsets(plan)]
    drawn.append(_box(left, last, test))
    drawn.append(_box(right, last, development))
    middle = below + _height(labelled)
    drawn.append(_arrow(left + _BOX / 2, middle, left + _BOX / 2, last))
    drawn.append(_arrow(left + _BOX, middle - 8, right + _BOX / 2, last))
    height = last + max(_height(test), _height(development)) + 10
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(flow_words(plan))}">{"".join(drawn)}</svg>'
    )


def flow_words(plan: Mapping[str, Any]) -> str:
    """The diagram in words."""
    data = plan["data"]
    left_out = "; ".join(_excluded(e) for e in plan["exclusions"]) or "none"
    return (
        f"Left out: {left_out}. Labelled: {_people(data['patients'], data['cases'])}. Test: "
        f"{_people(data['test_patients'], data['test_cases'])}. Development: "
        f"{_people(data['dev_patients'], data['dev_cases'])}."
    )


def _subsets(plan: Mapping[str, Any]) -> list[str]:
    lines = []
    for fraction, sizes in pd.DataFrame(plan["subsets"]).groupby("fraction"):
        validating = int(sizes["val_cases"].max())
        told = f", {spread_of(sizes['val_cases'])} validate" if validating else ""
        share = percent(float(str(fraction)))
        lines.append(
            f"{share}: {spread_of(sizes['patients'])} patients, "
            f"{spread_of(sizes['cases'])} labels{told}"
        )
    return lines


def _excluded(exclusion: Mapping[str, Any]) -> str:
    return f"{exclusion['reason']}: {_people(exclusion['patients'], exclusion['cases'])}"


def _lines(words: str) -> list[str]:
    return wrap(words, _LETTERS, subsequent_indent="\u2003")


def _people(patients: int, cases: int) -> str:
    return f"{_count(patients, 'patient')}, {_count(cases, 'volume')}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _height(lines: Lines) -> float:
    return len(lines) * _LINE + 2 * _PAD - 4


def _box(x: float, y: float, lines: Lines) -> str:
    texts = "".join(
        f'<text x="{x + _PAD}" y="{y + _PAD + 10 + row * _LINE:.0f}"'
        f"{'' if row else _HEAD}>{escape(line)}</text>"
        for row, line in enumerate(lines)
    )
    return (
        f'<rect x="{x}" y="{y:.0f}" width="{_BOX}" height="{_height(lines):.0f}" rx="4" '
        f'fill="none" stroke="currentColor"/>{texts}'
    )


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    """A line whose head points along its last stretch: right, or down after a bend."""
    if y1 == y2:
        path, head = f"M{x1} {y1}H{x2}", f"M{x2} {y2}l-7 -4v8z"
    else:
        path, head = f"M{x1} {y1}H{x2}V{y2}", f"M{x2} {y2}l-4 -7h8z"
    return (
        f'<path d="{path}" fill="none" stroke="currentColor"/><path d="{head}" '
        f'fill="currentColor"/>'
    )
