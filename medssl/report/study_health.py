"""How encoders spread scans out: while pretraining, and in each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medssl.report.health_charts import health_charts
from medssl.report.page import Part, Section, details, figure, subheading, table, text
from medssl.report.study_record import Json, StudyRecord
from medssl.report.study_words import arm_name, number, percent

_FIGURES = ("rankme", "alpha", "alignment", "uniformity", "knn")


def health_section(record: StudyRecord) -> Section:
    """The course of pretraining, and the figures of each arm."""
    return Section(
        "Representation health", [*_of_pretraining(record.pretraining), *_of_cells(record)]
    )


def _of_pretraining(pretraining: Json | None) -> list[Part]:
    if pretraining is None:
        return [text("No arm of this study starts from a pretrained encoder.")]
    alarms = pretraining["alarms"]
    looks = [_as_logged(look) for look in pretraining["health"]]
    parts: list[Part] = [subheading("While pretraining")]
    if alarms or looks:
        told = f"alarms: {', '.join(alarms)}" if alarms else "no alarm"
        parts.append(text(f"{pretraining['method'] or 'Pretraining'}: {told}."))
    if len(looks) > 1:
        last = looks[-1]
        alt = "; ".join(
            f"{name.removeprefix('health/')} {number(value)} at the end"
            for name, value in last.items()
            if name != "step"
        )
        caption = "Looks at a fixed set of scans while the encoder was pretrained."
        parts.append(figure(health_charts(looks, None), caption, f"{caption} {alt}."))
    elif not looks:
        parts.append(text("The pretraining run left no looks at its representation."))
    return parts


def _as_logged(look: Mapping[str, Any]) -> dict[str, float]:
    """A look under the names of a run's metrics.jsonl."""
    names = {"rankme": "rank"}
    return {
        name if name == "step" else f"health/{names.get(name, name)}": float(value)
        for name, value in look.items()
        if value is not None
    }


def _of_cells(record: StudyRecord) -> list[Part]:
    rows = []
    for arm in record.plan["arms"]:
        for fraction in record.plan["fractions"]:
            seen = [
                cell["representation"]
                for cell in record.cells_of(arm)
                if cell["fraction"] == fraction and cell["representation"] is not None
            ]
            if seen:
                collapsed = sum(bool(figures["collapse"]) for figures in seen)
                rows.append(
                    (
                        arm_name(arm),
                        percent(fraction),
                        *(_mean(seen, name) for name in _FIGURES),
                        f"{collapsed} of {len(seen)}" if collapsed else "none",
                    )
                )
    if not rows:
        return [text("The cells' encoders were not looked at.")]
    head = ["arm", "share", "RankMe", "α-ReQ", "alignment", "uniformity", "kNN", "collapsed"]
    return [
        subheading("In the cells"),
        text(
            "Of each cell's encoder on the same patches of development scans, mean over draws. "
            "RankMe: effective number of directions (higher: more are used). α-ReQ: exponent with "
            "which their variance falls. Alignment: distance of two views of a scan. Uniformity: "
            "more negative is more evenly spread. kNN: AUC of the subset's validation cases where "
            "the nearest training cases vote."
        ),
        details("Every arm and share", [table(head, rows)])
        if len(rows) > 12
        else table(head, rows),
    ]


def _mean(seen: Sequence[Mapping[str, Any]], name: str) -> float | None:
    known = [float(figures[name]) for figures in seen if figures.get(name) is not None]
    return float(np.mean(known)) if known else None
