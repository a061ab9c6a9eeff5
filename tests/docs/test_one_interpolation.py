"""What the page on one interpolation claims, measured on small volumes."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SPACINGS = (1, 2, 3)


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "make_interpolation.py"))


@pytest.mark.parametrize("direction", ["axis", "diagonal"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_one_pass_keeps_more_of_a_wave_than_the_chain(
    script: dict[str, Any], spacing: int, direction: str
) -> None:
    along = script["DIRECTIONS"][direction]
    wave = along / np.abs(along).max() * script["SCALE"] * 0.2 / spacing
    ours, theirs = (
        script["transfer"](way, spacing, wave, n=48)
        for way in (script["one_pass"], script["chain"])
    )
    assert ours["nyquist"] == pytest.approx(theirs["nyquist"])
    assert 0.35 < ours["nyquist"] < 0.65
    assert ours["kept"] > theirs["kept"] + 0.1
    if direction == "axis":
        assert ours["kept"] > 0.6


@pytest.mark.parametrize("spacing", SPACINGS[1:])
@pytest.mark.parametrize("share", [1.3, 1.6])
def test_one_pass_lets_less_through_of_what_does_not_fit(
    script: dict[str, Any], spacing: int, share: float
) -> None:
    wave = np.array([script["SCALE"] * 0.5 * share / spacing, 0, 0])
    ours, theirs = (
        script["transfer"](way, spacing, wave, n=48)
        for way in (script["one_pass"], script["chain"])
    )
    assert ours["nyquist"] > 1
    assert ours["false"] < 0.42
    assert ours["false"] < 0.7 * theirs["false"]


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_zone_plate_comes_out_nearer_to_what_it_should_be(
    script: dict[str, Any], spacing: int
) -> None:
    ours, theirs = (
        script["plate_error"](way, spacing, 72) for way in (script["one_pass"], script["chain"])
    )
    assert ours["error"] < 0.95 * theirs["error"]
    if spacing > 1:
        assert ours["alias"] < theirs["alias"]
        assert ours["alias"] < 0.25
    assert ours["image"].shape == theirs["image"].shape


def test_the_chain_is_the_map_that_it_says(script: dict[str, Any]) -> None:
    """A linear ramp survives any linear interpolation: its values tell where voxels came from."""
    n = 40
    slopes = np.array([50.0, -30.0, 20.0])
    ramp = np.rint(np.tensordot(slopes, np.indices((n, n, n)), 1)).astype(np.int16)
    for name, way in script["WAYS"].items():
        for spacing in SPACINGS:
            image, matrix = way(ramp, spacing)
            at = script["positions"](matrix, len(image))
            inner = (slice(2, -2),) * 3 if "smoothed" in name or name == "one pass" else ...
            expected = np.tensordot(slopes, at, 1)
            assert np.abs(image - expected)[inner].max() < 2, (name, spacing)


def test_the_page_shows_its_pictures() -> None:
    page = (ROOT / "docs" / "explanation" / "one-interpolation.md").read_text(encoding="utf-8")
    for name in ("zone-plate.png", "transfer.png"):
        assert f"(../images/{name})" in page
        assert (ROOT / "docs" / "images" / name).stat().st_size > 10_000
