"""One case's row, where each of its masks may be empty."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medssl.transfer.metrics import all_metrics, metric_names
from medssl.transfer.predictions import mask_columns

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
SHAPE = (8, 8, 8)
DIAGONAL = np.linalg.norm([8, 8, 16])


def mask(*values: int) -> np.ndarray:
    voxels = np.zeros(SHAPE, dtype=np.uint8)
    for value in values:
        voxels[2:5, 2:5, value : value + 2] = value
    return voxels


def row(predicted: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    return mask_columns(predicted, reference, (1, 4), AFFINE, 2.0)


def test_every_measure_is_stated_where_a_mask_is_empty() -> None:
    both, prediction, reference = row(mask(), mask()), row(mask(1), mask()), row(mask(), mask(1))
    for name in ("dice_1", "nsd_1", "hd95_mm_1"):
        assert np.isnan(both[name])
    for one in (prediction, reference):
        assert one["dice_1"] == one["nsd_1"] == 0.0
        assert one["hd95_mm_1"] == pytest.approx(DIAGONAL)
    lesions = [[one[f"lesion_{k}_1"] for k in ("tp", "fp", "fn")] for one in
               (both, prediction, reference)]  # fmt: skip
    assert lesions == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]
    perfect = row(mask(1, 4), mask(1, 4))
    assert [perfect[f"{m}_4"] for m in ("dice", "nsd", "hd95_mm")] == [1.0, 1.0, 0.0]
    assert perfect["volume_true_mm3_4"] == 3 * 3 * 2 * 2


def test_aggregates_over_empty_cases_are_the_stated_means() -> None:
    frame = pd.DataFrame(
        [row(mask(), mask()), row(mask(1), mask()), row(mask(), mask(1)), row(mask(1), mask(1))]
    )
    values = all_metrics(frame)
    assert values["dice/1"] == values["nsd/1"] == pytest.approx(1 / 3)
    assert values["hd95_mm/1"] == pytest.approx(2 * DIAGONAL / 3)
    assert values["lesion_sensitivity/1"] == values["lesion_precision/1"] == 0.5
    assert values["lesion_f1/1"] == 0.5
    nowhere = [name for name in metric_names(frame) if name.endswith("/4")]
    assert len(nowhere) == 6
    assert all(np.isnan(values[name]) for name in nowhere)


def test_classes_are_measured_apart() -> None:
    swapped = row(mask(1), mask(4))
    assert swapped["fp_1"] == swapped["fn_4"] == 18
    assert swapped["lesion_fp_1"] == swapped["lesion_fn_4"] == 1
