"""SUV where the header allows it, and never elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medssl.archive.dicom.elements import seconds
from medssl.archive.dicom.pet import PetHeader, pet_units

NOON = seconds("20240301", "120000") or 0.0

GOOD = PetHeader(
    units="BQML",
    suv_type="",
    corrected=("DECY", "ATTN", "SCAT"),
    decay_correction="START",
    weight_kg=80.0,
    dose_bq=4e8,
    half_life_s=6586.2,
    injected_s=NOON - 6586.2,
    series_s=NOON,
    acquired_s=NOON + 60,
    ge_scan_s=None,
    reference_ms=None,
    duration_ms=None,
    philips_suv=None,
    philips_activity=None,
)


def test_suv_is_grams_over_the_dose_left_at_the_start() -> None:
    units, factor = pet_units([GOOD, replace(GOOD, acquired_s=NOON + 300)])
    assert units == "SUV"
    assert factor == pytest.approx(80_000 / 2e8)  # one half-life after the injection


@pytest.mark.parametrize(
    "change",
    [
        {"weight_kg": None},
        {"weight_kg": 0.0},
        {"dose_bq": None},
        {"dose_bq": 400.0},  # in MBq
        {"half_life_s": None},
        {"half_life_s": 0.0},
        {"injected_s": None},
        {"injected_s": NOON + 60},  # after the scan
        {"injected_s": NOON},  # times blanked alike
        {"injected_s": NOON - 90_000},  # another day
        {"series_s": None},
        {"acquired_s": None},
        {"decay_correction": "ADMIN"},
        {"decay_correction": ""},
        {"corrected": ("DECY", "SCAT")},
        {"corrected": ("ATTN", "SCAT")},
        {"series_s": NOON + 3600},  # made later, and nothing tells when the scan was
    ],
)
def test_a_field_that_is_missing_or_implausible_leaves_bq_per_ml(change: dict[str, object]) -> None:
    header = replace(GOOD, **change)  # type: ignore[arg-type]
    assert pet_units([header, header]) == ("BQML", 1.0)


def test_slices_that_disagree_leave_bq_per_ml() -> None:
    assert pet_units([GOOD, replace(GOOD, weight_kg=81.0)]) == ("BQML", 1.0)


def test_series_made_later_counts_from_the_private_scan_time() -> None:
    later = replace(GOOD, series_s=NOON + 3600, ge_scan_s=NOON)
    assert pet_units([later]) == ("SUV", pytest.approx(80_000 / 2e8))


def test_series_made_later_counts_back_from_the_frame_reference_time() -> None:
    """A frame of 240 s from the start of the scan: its mean count rate lies just before 120 s."""
    mean_rate_ms = 119_496.0
    later = replace(
        GOOD,
        series_s=NOON + 3600,
        acquired_s=NOON,
        reference_ms=mean_rate_ms,
        duration_ms=240_000.0,
    )
    units, factor = pet_units([later])
    assert units == "SUV"
    assert factor == pytest.approx(80_000 / 2e8, rel=1e-4)


def test_suv_as_stated_and_other_units() -> None:
    assert pet_units([replace(GOOD, units="GML", suv_type="BW")]) == ("SUV", 1.0)
    assert pet_units([replace(GOOD, units="GML")]) == ("SUV", 1.0)
    assert pet_units([replace(GOOD, units="GML", suv_type="LBM")]) == ("arbitrary", 1.0)
    assert pet_units([replace(GOOD, units="PROPCNTS")]) == ("arbitrary", 1.0)
    assert pet_units([GOOD, replace(GOOD, units="GML")]) == ("arbitrary", 1.0)


def test_philips_counts() -> None:
    counts = replace(GOOD, units="CNTS")
    assert pet_units([counts]) == ("arbitrary", 1.0)
    assert pet_units([replace(counts, philips_suv=0.004)]) == ("SUV", 0.004)
    units, factor = pet_units([replace(counts, philips_activity=2.5)])
    assert (units, factor) == ("SUV", pytest.approx(2.5 * 80_000 / 2e8))
    without = replace(counts, philips_activity=2.5, weight_kg=None)
    assert pet_units([without]) == ("BQML", 2.5)
