"""When a study was made, without saying when: days from a hidden day of the patient's own."""

from __future__ import annotations

import datetime
import math

from medssl.archive.identity import Key

_HIDDEN_DAYS = 7_304_850  # 20,000 years: hardly any offset lies so near an end as to tell a date


def epoch_day(key: Key, patient_key: str) -> int:
    """The hidden day of a patient, as a proleptic ordinal: a keyed uniform draw.

    The draw spans 20,000 years round the year 0, so that a study's offset tells of its date no
    more than any other would, but for one patient in hundreds whose draw lies at an end.
    """
    drawn = int(key.hmac("day zero", patient_key), 16) % _HIDDEN_DAYS
    return drawn - _HIDDEN_DAYS // 2


def study_day(key: Key, patient_key: str, date: str) -> float:
    """Days from the patient's hidden day to `date` (DICOM DA); NaN where that is no date.

    Differences between the studies of one patient are true; between patients they mean nothing.
    """
    try:
        day = datetime.date(int(date[:4]), int(date[4:6]), int(date[6:]))
    except ValueError:
        return math.nan
    return float(day.toordinal() - epoch_day(key, patient_key))


def moved_day(day: float, old: tuple[Key, str], new: tuple[Key, str]) -> float:
    """A study's day under another key; `old` and `new` are each key with the patient's under it."""
    return day + epoch_day(*old) - epoch_day(*new)
