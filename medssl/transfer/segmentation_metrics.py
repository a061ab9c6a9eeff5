"""Metrics of a segmentation frame.

It has `tp_c`, `fp_c`, `fn_c` for each foreground class c, counted in voxels of the image's own
grid; and, where masks were compared in full (`medssl.transfer.predictions`), `nsd_c`, `hd95_mm_c`
and the lesions `lesion_tp_c`, `lesion_fp_c`, `lesion_fn_c`.

Every measure of a class is a sum over cases by a sum over cases. Dice, NSD and HD95 are means over
the cases that define them; those of lesions are pooled: all lesions of all cases count alike, so
that a case without lesions takes part by what is falsely found in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd

from medssl.transfer.weighted import Floats, mean_of_defined, quotient

Fraction = tuple[Floats, Floats]  # (N, C) each: what is summed above and below the line


def mask_classes(predictions: pd.DataFrame) -> list[int] | list[str]:
    """Foreground classes of a segmentation frame, ascending; or names of regions, as they stand."""
    found = [re.fullmatch(r"tp_(\w+)", str(name)) for name in predictions.columns]
    names = [name.group(1) for name in found if name]
    if all(name.isdigit() for name in names):
        return sorted(int(name) for name in names)
    return names


def dice_by_case(predictions: pd.DataFrame) -> Floats:
    """(N, C) Dice of each case and foreground class, from the voxel counts.

    A class that neither the reference nor the prediction has is NaN, and left out of every mean;
    one that only the reference or only the prediction has is 0.
    """
    tp, fp, fn = (_columns(predictions, kind) for kind in ("tp", "fp", "fn"))
    return quotient(2 * tp, 2 * tp + fp + fn)


def _columns(predictions: pd.DataFrame, kind: str) -> Floats:
    """(N, C) the columns `<kind>_<c>`."""
    names = [f"{kind}_{c}" for c in mask_classes(predictions)]
    return predictions[names].to_numpy(np.float64)


def _mean_over_cases(values_NC: Floats) -> Fraction:
    there = np.isfinite(values_NC)
    return np.where(there, values_NC, 0.0), there.astype(np.float64)


def _lesion_sensitivity(predictions: pd.DataFrame) -> Fraction:
    found = _columns(predictions, "lesion_tp")
    return found, found + _columns(predictions, "lesion_fn")


def _lesion_precision(predictions: pd.DataFrame) -> Fraction:
    found = _columns(predictions, "lesion_tp")
    return found, found + _columns(predictions, "lesion_fp")


def _lesion_f1(predictions: pd.DataFrame) -> Fraction:
    found = 2 * _columns(predictions, "lesion_tp")
    missed, false = _columns(predictions, "lesion_fn"), _columns(predictions, "lesion_fp")
    return found, found + missed + false


# The column that each measure needs, and the measure.
MEASURES: dict[str, tuple[str, Callable[[pd.DataFrame], Fraction]]] = {
    "dice": ("tp", lambda frame: _mean_over_cases(dice_by_case(frame))),
    "nsd": ("nsd", lambda frame: _mean_over_cases(_columns(frame, "nsd"))),
    "hd95_mm": ("hd95_mm", lambda frame: _mean_over_cases(_columns(frame, "hd95_mm"))),
    "lesion_sensitivity": ("lesion_tp", _lesion_sensitivity),
    "lesion_precision": ("lesion_tp", _lesion_precision),
    "lesion_f1": ("lesion_tp", _lesion_f1),
}


def segmentation_names(predictions: pd.DataFrame) -> list[str]:
    """For each measure that the columns allow, `<measure>_mean` over classes, `<measure>/<c>`.

    None of another frame.
    """
    classes = mask_classes(predictions)
    there = [
        measure
        for measure, (column, _) in MEASURES.items()
        if classes and f"{column}_{classes[0]}" in predictions
    ]
    return [name for m in there for name in (f"{m}_mean", *(f"{m}/{c}" for c in classes))]


def segmentation_value(name: str, predictions: pd.DataFrame) -> float:
    """One of `segmentation_names`; NaN where no case defines it."""
    return float(weighted_segmentation(name, predictions, np.ones((1, len(predictions))))[0])


def weighted_segmentation(name: str, predictions: pd.DataFrame, weights_BN: Floats) -> Floats:
    """(B,) values of one of `segmentation_names` under weights.

    The mean over classes is of the classes that are defined.
    """
    measure, _, c = name.partition("/")
    upper, lower = MEASURES[measure if c else name.removesuffix("_mean")][1](predictions)
    if c:
        column = [[str(n) for n in mask_classes(predictions)].index(c)]
        return quotient(weights_BN @ upper[:, column], weights_BN @ lower[:, column])[:, 0]
    return mean_of_defined(quotient(weights_BN @ upper, weights_BN @ lower))
