"""Values that no scan has are refused, also where the rescale changes by slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medssl.archive.judge import judge_values
from medssl.archive.reasons import Reason
from medssl.archive.scan import Rejection, Scan, Source
from medssl.store.voxels import Rescale


def scan(stored: np.ndarray[Any, Any], units: str = "HU", **fields: Any) -> Scan:
    rescale = fields.pop("rescale", Rescale())
    return Scan(
        Source((Path("a"),), ("P", ""), "1", "2"), stored, rescale, np.eye(4), "CT",
        units, "DICOM", **fields,
    )  # type: ignore[arg-type]  # fmt: skip


BY_SLICE = Rescale(np.array([1.0, 2.0]), np.array([0.0, 0.0]))


@pytest.mark.parametrize(
    ("stored", "rescale", "padding", "reason"),
    [
        (np.full((2, 3, 3), 5), Rescale(), None, Reason.CONSTANT_VOLUME),
        (np.zeros((2, 3, 3), int), BY_SLICE, None, Reason.CONSTANT_VOLUME),
        (np.full((2, 3, 3), 5), BY_SLICE, None, None),
        (np.full((2, 3, 3), 5), Rescale(), (5, 5), Reason.CONSTANT_VOLUME),
        (np.arange(18).reshape(2, 3, 3) * 4000, BY_SLICE, None, Reason.CT_OUT_OF_RANGE),
        (np.arange(18).reshape(2, 3, 3) * 4000, Rescale(), None, Reason.CT_OUT_OF_RANGE),
        (np.arange(18).reshape(2, 3, 3), BY_SLICE, None, None),
    ],
)
def test_judgement(
    stored: np.ndarray[Any, Any], rescale: Rescale, padding: Any, reason: Reason | None
) -> None:
    judged = judge_values(scan(stored, rescale=rescale, padding=padding))
    assert (judged.reason if isinstance(judged, Rejection) else None) is reason


def test_only_hounsfield_units_have_limits() -> None:
    wide = scan(np.arange(18).reshape(2, 3, 3) * 10**6, units="arbitrary")
    assert judge_values(wide) is wide
