"""Offsets within a patient are true, and say nothing of the calendar."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medssl.archive.dates import epoch_day, study_day
from medssl.archive.identity import Key

KEY = Key(b"k" * 32)


def test_differences_within_a_patient_are_true() -> None:
    days = [study_day(KEY, "anna", date) for date in ("20190228", "20200229", "20200301")]
    assert np.diff(days).tolist() == [366, 1]


@pytest.mark.parametrize("date", ["", "2020", "20201301", "2020-01-01", "nodate!!", "00000000"])
def test_what_is_no_date_is_nan(date: str) -> None:
    assert math.isnan(study_day(KEY, "anna", date))


def test_each_patient_and_each_key_has_a_day_of_its_own() -> None:
    days = [epoch_day(KEY, f"{n}") for n in range(400)]
    assert len(set(days)) == 400
    assert epoch_day(Key(b"q" * 32), "0") != days[0]
    assert epoch_day(KEY, "0") == days[0]
    told = [study_day(KEY, f"{n}", "20200301") for n in range(400)]
    assert len(set(told)) == 400


def test_the_draw_is_even_and_so_wide_that_an_offset_hides_the_date() -> None:
    """A date of the last fifty years is told by its offset only where the draw lies at an end."""
    days = np.array([epoch_day(KEY, f"{n}") for n in range(2000)])
    width = 20_000 * 365.2425
    assert -width / 2 <= days.min() < -0.49 * width
    assert 0.49 * width < days.max() <= width / 2
    counts, _ = np.histogram(days, 10, (-width / 2, width / 2))
    assert counts.min() > 140
    assert counts.max() < 260
