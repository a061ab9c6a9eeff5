"""The test cases that a point of a study's curve answers worst, and their pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import softmax

from medssl.errors import MedsslError
from medssl.report.overlay import overlay_figure
from medssl.report.quality_pictures import COLUMNS, draw
from medssl.report.study_record import StudyRecord
from medssl.report.study_words import arm_name, number, percent
from medssl.store import Store
from medssl.transfer.classification_metrics import targets_and_logits
from medssl.transfer.predictions import read_mask
from medssl.transfer.segmentation_metrics import dice_by_case

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 20
_DPI = 70
_QUALITY = 80

Picture = tuple[str, str, list[str]]


@dataclass(frozen=True)
class WorstCase:
    """A test case and how it was answered, mean over draws.

    Attributes:
        score: the probability of its class, or its mean Dice over classes.
        versus: the same at the point that is compared with; None without one.
        answer: the class that most draws gave; empty for segmentation.
        mask_path: a predicted mask of it in the study's folder; empty without one.
    """

    volume_uid: str
    truth: str
    score: float
    versus: float | None
    answer: str
    mask_path: str


def shown_points(record: StudyRecord) -> list[tuple[str, float]]:
    """The point whose cases are shown, and the one it is compared with: those of the subgroups.

    With one arm: scratch at the reference fraction alone.
    """
    report = record.analysis["subgroups"]
    if report is None:
        return [("scratch", float(record.plan["reference_fraction"]))]
    return [
        (report["arm"], float(report["fraction"])),
        (report["versus"], float(report["versus_fraction"])),
    ]


def worst_cases(record: StudyRecord, most: int = SHOWN) -> list[WorstCase]:
    """The cases with the lowest score, lowest first; equal ones in the order of volume_uid.

    Cases without a score (no mask of any class, nor one given) are left out.
    """
    ours, *others = [record.predictions(*point) for point in shown_points(record)]
    if not ours:
        return []
    classes = record.plan["task"]["classes"]
    segments = record.plan["task"]["kind"] == "segmentation"
    score_of = _dice if segments else _probability
    scores = _mean_over_draws(ours, score_of)
    versus = _mean_over_draws(others[0], score_of) if others and others[0] else None
    cases: list[WorstCase] = []
    for row in np.argsort(scores, kind="stable"):
        if not np.isfinite(scores[row]) or len(cases) == most:
            break
        case = ours[0].iloc[row]
        cases.append(
            WorstCase(
                str(case["volume_uid"]),
                "" if segments else str(classes[int(case["y_true"])]),
                float(scores[row]),
                None if versus is None or not np.isfinite(versus[row]) else float(versus[row]),
                "" if segments else _answer(ours, int(row), classes),
                str(case.get("mask_path") or ""),
            )
        )
    return cases


def pictures_of(record: StudyRecord, cases: Sequence[WorstCase]) -> list[Picture]:
    """A picture of each case with the lines below it; empty where its voxels cannot be read."""
    assert record.store is not None
    point = shown_points(record)
    pictures = []
    for case in cases:
        if record.plan["task"]["kind"] == "segmentation":
            jpeg = _overlay(record, record.store, case)
            alt = f"Volume {case.volume_uid[:8]} with the outlines of reference and prediction."
        else:
            jpeg = _planes(record.store, case)
            alt = f"Volume {case.volume_uid[:8]}, of class {case.truth}, in three planes."
        pictures.append((jpeg, alt, lines_of(record, case, point)))
    return pictures


def lines_of(
    record: StudyRecord, case: WorstCase, points: Sequence[tuple[str, float]]
) -> list[str]:
    """What stands below the picture."""
    if record.plan["task"]["kind"] == "segmentation":
        lines = [f"{case.volume_uid[:8]}: mean Dice {number(case.score)}"]
    else:
        lines = [
            f"{case.volume_uid[:8]}: class {case.truth}, answered {case.answer}",
            f"probability of class {case.truth}: {number(case.score)}",
        ]
    if len(points) > 1 and case.versus is not None:
        arm, fraction = points[1]
        lines.append(f"{arm_name(arm)}, {percent(fraction)}: {number(case.versus)}")
    return lines


def _probability(frame: pd.DataFrame) -> Any:
    truth, logits = targets_and_logits(frame)
    return softmax(logits, axis=1)[np.arange(len(truth)), truth]


def _dice(frame: pd.DataFrame) -> Any:
    dice = dice_by_case(frame)
    there = np.isfinite(dice)
    total = np.where(there, dice, 0.0).sum(axis=1)
    return np.where(there.any(axis=1), total / np.maximum(there.sum(axis=1), 1), np.nan)


def _mean_over_draws(frames: Sequence[pd.DataFrame], score_of: Any) -> Any:
    return np.mean([score_of(frame) for frame in frames], axis=0)


def _answer(frames: Sequence[pd.DataFrame], row: int, classes: Sequence[str]) -> str:
    given = [int(np.argmax(targets_and_logits(frame)[1][row])) for frame in frames]
    return str(classes[int(np.bincount(given).argmax())])


def _planes(store: Store, case: WorstCase) -> str:
    try:
        row = store.row(case.volume_uid)
    except MedsslError:  # withdrawn since
        return ""
    if any(pd.isna(row.get(name)) for name in COLUMNS if name.startswith(("affine", "shape"))):
        return ""
    return draw(store.root, row).jpeg


def _overlay(record: StudyRecord, store: Store, case: WorstCase) -> str:
    import matplotlib.pyplot as plt

    task = record.plan["task"]
    if not case.mask_path:
        return ""
    try:
        volume = store.read(case.volume_uid)
        reference = store.read_label(case.volume_uid, str(task["label"])).voxels
        predicted = read_mask(record.paths.root, case.mask_path)
    except (MedsslError, OSError):
        return ""
    told_apart = np.isin(reference, [int(name) for name in task["classes"]])
    drawn: Figure = overlay_figure(volume, np.where(told_apart, reference, 0), predicted)
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="jpeg", dpi=_DPI, pil_kwargs={"quality": _QUALITY})
    plt.close(drawn)
    return base64.b64encode(buffer.getvalue()).decode()
