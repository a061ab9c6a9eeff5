"""Pictures are the same way round however axes are stored; charts stay in their frame."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medssl.report.quality_charts import Axis, bands, histogram
from medssl.report.quality_facts import read_facts
from medssl.report.quality_pictures import _CELL, _GAP, draw, pick_examples

MakeRow = Callable[..., dict[str, Any]]


def picture_of(root: Path, row: dict[str, object]) -> np.ndarray[Any, Any]:
    drawn = draw(root, pd.Series(row))
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(drawn.jpeg)))).astype(float)


def scene(shape: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    """In RAS order: three bars, to the right, to the front and to the top of the middle."""
    values = np.zeros(shape, dtype=np.int16)
    middle = [n // 2 for n in shape]
    for axis in range(3):
        place: list[slice] = [slice(m - 2, m + 2) for m in middle]
        place[axis] = slice(middle[axis], shape[axis] - 3)
        values[tuple(place)] = 1000
    return values


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True), (True, True, True)])
def test_right_is_left_front_and_head_are_up(
    store_root: Path, make_row: MakeRow, order: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    shape, spacing = (60, 50, 20), (1.0, 1.0, 3.0)
    values, affine = scene(shape), np.diag([*spacing, 1.0])
    stored = np.transpose(values, order)
    turned = affine.copy()
    turned[:, :3] = affine[:, order]
    for axis, flip in enumerate(flips):
        if flip:
            turned[:3, 3] += turned[:3, axis] * (stored.shape[axis] - 1)
            turned[:3, axis] *= -1
            stored = np.flip(stored, axis)
    whole = {f"foreground_{a}_start": 0 for a in range(3)}
    whole |= {f"foreground_{a}_stop": n for a, n in enumerate(stored.shape)}
    row = make_row(1, np.ascontiguousarray(stored), turned, **whole, p00_5=0.0, p99_5=1000.0)
    shown = picture_of(store_root, row)
    assert shown.shape == (_CELL, 3 * _CELL + 2 * _GAP)
    axial, coronal, sagittal = (
        shown[:, n * (_CELL + _GAP) : n * (_CELL + _GAP) + _CELL] for n in range(3)
    )
    middle, out = _CELL // 2, 30
    lit = 128
    assert axial[middle, middle - out] > lit > axial[middle, middle + out]  # right: on the left
    assert axial[middle - out, middle] > lit > axial[middle + out, middle]  # front: at the top
    assert coronal[middle - out, middle] > lit > coronal[middle + out, middle]  # head: at the top
    assert sagittal[middle, middle - out] > lit > sagittal[middle, middle + out]  # front: left


def test_pet_is_inverted_and_ct_has_its_window(store_root: Path, make_row: MakeRow) -> None:
    values = np.zeros((24, 24, 24), dtype=np.int16)
    values[6:18, 6:18, 6:18] = 7
    pet = picture_of(store_root, make_row(1, values, np.eye(4), modality="PT", units="SUV"))
    assert pet[_CELL // 2, _CELL // 2] < 20
    assert pet[4, 60] > 235
    values[6:18, 6:18, 6:18] = 40  # the level: middle grey
    ct = picture_of(store_root, make_row(2, values - 0, np.eye(4), modality="CT", units="HU"))
    assert ct[_CELL // 2, _CELL // 2] == pytest.approx(127, abs=8)


def test_examples_prefer_other_patients_and_one_of_a_series(
    store_root: Path, make_row: MakeRow, write_rows: Callable[..., None]
) -> None:
    rows = [make_row(n, series_key="a" * 32, patient_key="b" * 32) for n in range(10)]
    rows += [make_row(20 + n, patient_key="c" * 32) for n in range(10)]
    rows += [make_row(40, patient_key="d" * 32), make_row(50, manufacturer="GE")]
    write_rows(rows)
    chosen = pick_examples(read_facts(store_root, 8), 40)
    first = chosen[chosen["manufacturer"] == "SIEMENS"]
    assert (first["series_key"] == "a" * 32).sum() == 1
    assert set(first["patient_key"].iloc[:3]) == {"b" * 32, "c" * 32, "d" * 32}
    assert (chosen["manufacturer"] == "GE").sum() == 1
    assert len(pick_examples(read_facts(store_root, 8), 1)) == 1


@pytest.mark.parametrize("axis", [Axis(-1000, 3000), Axis(-50, 2e6, compressed=True), Axis(0, 1)])
def test_an_axis_keeps_order_and_stays_in_frame(axis: Axis) -> None:
    places = [axis.place(v) for v in np.linspace(axis.low, axis.high, 50)]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0.0, 1.0)
    assert axis.place(axis.high * 2) == 1.0
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 9
    assert all(axis.low <= tick <= axis.high for tick in ticks)


def test_charts_escape_their_texts() -> None:
    evil = '"><script>'
    axis = Axis(0, 10)
    charts = bands([(evil, range(7))], axis, evil, evil)
    values = np.linspace(0, 10, 50, dtype=np.float32)
    charts += histogram([(evil, values), (evil, values[:5])], axis, evil, evil)
    assert "<script" not in charts
    assert "nan" not in charts
