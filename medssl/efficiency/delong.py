"""The variance of areas under the ROC curve over patients, without resampling.

DeLong, DeLong & Clarke-Pearson (Biometrics 44, 1988) in the fast form by midranks of Sun & Xu (IEEE
Signal Processing Letters 21, 2014), in float64. Cases of one patient are summed before they are
squared, as Obuchowski does (Biometrics 53, 1997); with one case a patient the variance is DeLong's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata

from medssl.transfer.weighted import Bools, Floats


@dataclass(frozen=True)
class AreaDifference:
    """First area minus second; two-sided p by the normal distribution."""

    delta: float
    se: float
    z: float
    p: float


def area_and_parts(
    positive_N: Bools, scores_N: Floats, patient_N: npt.NDArray[Any]
) -> tuple[float, Floats]:
    """The area, and (N,) each case's part in its error: the variance is the sum of their squares.

    A positive case's part is (V - area) / m, V being the share of negative cases below it, ties
    counting half, and m the positive cases; likewise for negative ones. DeLong's m - 1 is kept by a
    factor sqrt(M / (M - 1)), M being the patients with such cases. NaN where a class is absent.
    """
    negative_N = ~positive_N
    m, n = int(positive_N.sum()), int(negative_N.sum())
    if not m or not n:
        return float("nan"), np.full(len(scores_N), np.nan)
    among_all = rankdata(scores_N)
    above = (among_all[positive_N] - rankdata(scores_N[positive_N])) / n
    below = 1 - (among_all[negative_N] - rankdata(scores_N[negative_N])) / m
    area = float(above.mean())
    parts = np.empty(len(scores_N))
    for side, share, size in ((positive_N, above, m), (negative_N, below, n)):
        patients = len(np.unique(patient_N[side]))
        small = np.sqrt(patients / (patients - 1)) if patients > 1 else np.nan
        parts[side] = (share - area) / size * small
    return area, parts


def compare_areas(
    positive_CN: Bools, first_DCN: Floats, second_DCN: Floats, patient_N: npt.NDArray[Any]
) -> AreaDifference:
    """Two networks' areas on the same cases, each the mean over draws D and ranked classes C.

    The trainings are taken as given: only patients vary. Two classes have C = 1.
    """
    first, second = (
        _mean_area(positive_CN, scores, patient_N) for scores in (first_DCN, second_DCN)
    )
    delta = first[0] - second[0]
    _, patients = np.unique(patient_N, return_inverse=True)
    of_patient = np.bincount(patients, weights=first[1] - second[1])
    se = float(np.sqrt(np.square(of_patient).sum()))
    if np.isnan(se) or (se == 0 and delta != 0):
        return AreaDifference(delta, se, float("nan"), float("nan"))
    z = delta / se if se > 0 else 0.0
    return AreaDifference(delta, se, z, float(2 * norm.sf(abs(z))))


def _mean_area(
    positive_CN: Bools, scores_DCN: Floats, patient_N: npt.NDArray[Any]
) -> tuple[float, Floats]:
    found = [
        area_and_parts(positive, scores, patient_N)
        for scores_CN in scores_DCN
        for positive, scores in zip(positive_CN, scores_CN, strict=True)
    ]
    areas, parts = zip(*found, strict=True)
    return float(np.mean(areas)), np.asarray(np.mean(parts, axis=0))
