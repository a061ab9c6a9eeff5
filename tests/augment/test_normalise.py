"""What the network sees of each unit, and of foregrounds that have no spread."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from medssl.augment.normalise import Normaliser


def row(
    units: str = "arbitrary",
    modality: str = "MR",
    levels: tuple[float, ...] = (0.0, 25.0, 50.0, 75.0, 100.0),
) -> dict[str, Any]:
    names = ("p00_5", "p25", "p50", "p75", "p99_5")
    return {"units": units, "modality": modality, **dict(zip(names, levels, strict=True))}


def test_hounsfield_units_do_not_depend_on_the_scan() -> None:
    normaliser = Normaliser.from_row(row("HU", "CT"))
    values = np.array([-3000, -1000, -50, 0, 400, 1000, 9000], dtype=np.float32)
    np.testing.assert_allclose(normaliser(values), [-1, -1, -0.05, 0, 0.4, 1, 1], atol=1e-7)
    assert normaliser.background == -1
    assert normaliser.policy == "CT"


def test_suv_is_its_root_up_to_twenty() -> None:
    normaliser = Normaliser.from_row(row("SUV", "PT"))
    values = np.array([-0.1, 0, 1, 4, 20, 50], dtype=np.float32)
    np.testing.assert_allclose(normaliser(values), [0, 0, 1, 2, 20**0.5, 20**0.5], rtol=1e-6)
    assert (normaliser.background, normaliser.policy) == (0, "PT")


@pytest.mark.parametrize(("units", "modality"), [("arbitrary", "CT"), ("BQML", "PT")])
def test_units_that_are_not_known_are_treated_by_percentiles(units: str, modality: str) -> None:
    normaliser = Normaliser.from_row(row(units, modality))
    assert normaliser.policy == "OT"
    assert normaliser(np.array([50.0], dtype=np.float32))[0] == 0


def test_a_normal_foreground_gets_mean_0_and_deviation_1() -> None:
    values = np.random.default_rng(0).normal(300, 40, 200_000).astype(np.float32)
    levels = tuple(np.percentile(values, [0.5, 25, 50, 75, 99.5]))
    normalised = Normaliser.from_row(row(levels=levels))(values)
    assert abs(normalised.mean()) < 0.01
    assert abs(normalised.std() - 1) < 0.02
    assert normalised.min() == pytest.approx(-2.576, abs=0.05)


@pytest.mark.parametrize(("foreground", "background"), [(1.0, 0.0), (255.0, 0.0)])
def test_a_binary_shape_keeps_its_shape(foreground: float, background: float) -> None:
    normaliser = Normaliser.from_row(row(modality="OT", levels=(foreground,) * 5))
    values = np.array([background, foreground], dtype=np.float32)
    np.testing.assert_allclose(normaliser(values), [-1, 1])
    assert normaliser.background == -1
    assert normaliser.policy == "OT"


def test_a_foreground_of_zeros_is_finite() -> None:
    normalised = Normaliser.from_row(row(levels=(0.0,) * 5))(np.zeros(3, dtype=np.float32))
    assert np.isfinite(normalised).all()


@example([0.0, 0.0, 0.0, 0.0, 7.7e-44], [0.0])
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=5, max_size=5).map(sorted),
    st.lists(st.floats(-1e7, 1e7, width=32), min_size=1, max_size=20),
)
def test_any_percentiles_give_a_finite_rising_bounded_map(
    levels: list[float], values: list[float]
) -> None:
    normaliser = Normaliser.from_row(row(levels=tuple(levels)))
    given_values = np.sort(np.array(values, dtype=np.float32))
    before = given_values.copy()
    normalised = normaliser(given_values)
    assert np.isfinite(normalised).all()
    assert (np.diff(normalised) >= 0).all()
    assert np.ptp(normalised) <= 20.001
    assert (normalised >= normaliser.background - 1e-4).all()
    assert (given_values == before).all(), "the input is left as it was"
