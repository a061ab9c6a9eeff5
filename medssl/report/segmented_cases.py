"""Test cases of a segmenter as pictures: the worst ones, and those in the middle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from medssl.report.overlay import overlay_figure
from medssl.report.page import Part, figure
from medssl.store import Store
from medssl.transfer.predictions import read_mask
from medssl.transfer.segmentation_metrics import dice_by_case, mask_classes
from medssl.transfer.task_config import SegmentationTask

_WORST, _MEDIAN = 3, 2


def worst_and_median(test: pd.DataFrame) -> tuple[list[int], list[int]]:
    """Rows of the three lowest mean Dice, lowest first, and of the two nearest to the median.

    Cases that have no class, nor were given one, have no Dice and are left out; none is told twice.
    """
    dice = dice_by_case(test)
    defined = [int(row) for row in np.flatnonzero(np.isfinite(dice).any(axis=1))]
    if not defined:
        return [], []
    means = np.nanmean(dice[defined], axis=1)
    order = [defined[place] for place in np.argsort(means, kind="stable")]
    from_median = np.argsort(np.abs(means - np.median(means)), kind="stable")
    worst = order[:_WORST]
    nearest = [defined[place] for place in from_median if defined[place] not in worst]
    return worst, nearest[:_MEDIAN]


def case_parts(
    run: Path, store: Store, task: SegmentationTask, test: pd.DataFrame, rows: list[int]
) -> list[Part]:
    """Reference and prediction on the scan, for each of `rows`.

    Args:
        run: the folder that `mask_path` is in.
    """
    dice = dice_by_case(test)
    classes = sorted({value for union in (task.regions or {}).values() for value in union})
    classes = classes or [int(c) for c in mask_classes(test)]
    parts: list[Part] = []
    for row in rows:
        case = test.iloc[row]
        uid = str(case["volume_uid"])
        reference = store.read_label(uid, task.mask).voxels
        # Values of the mask that the task does not tell apart are background to it.
        told_apart = np.isin(reference, classes)
        drawn = overlay_figure(
            store.read(uid),
            np.where(told_apart, reference, 0),
            read_mask(run, str(case["mask_path"])),
        )
        parts.append(figure(drawn, f"Volume {uid[:8]}, mean Dice {np.nanmean(dice[row]):.3f}."))
    return parts
