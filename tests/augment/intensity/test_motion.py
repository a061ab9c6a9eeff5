"""k-space is put together from the lines of each pose; the pose at its centre stays in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medssl.augment.intensity.base import Views
from medssl.augment.intensity.motion import Motion, turned
from medssl.augment.placement import rotation_about

ALL_LINES = np.array([-1.0])


def moved(image: Any, **drawn: Any) -> Any:
    """(D, H, W) signal above a background of -1, of a patient who moved."""
    signal = torch.from_numpy(np.asarray(image, dtype=np.float32))
    views = Views(signal[None, None] - 1, torch.tensor([-1.0]), [torch.Generator()])
    still = {"turned_about": 0, "turn_deg": np.zeros(len(drawn["moment"]) + 1)}
    return Motion(3, 2.0, 3.0).apply(views, [still | drawn])[0, 0].numpy() + 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shift_of_whole_voxels_in_all_lines_shifts_the_image(axis: int) -> None:
    image = np.random.default_rng(0).uniform(0, 3, (12, 7, 9))
    shift = np.array([[0.0, 0.0, 0.0], [2.0, -1.0, 3.0]])
    seen = moved(image, axis=axis, moment=ALL_LINES, shift=shift)
    np.testing.assert_allclose(seen, np.roll(image, (2, -1, 3), (0, 1, 2)), atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shift_of_part_of_a_voxel_is_exact(axis: int) -> None:
    size, by = (12, 14, 10), np.array([0.3, -1.6, 0.75])

    def wave(x: Any, y: Any, z: Any) -> Any:
        x, y, z = (2 * np.pi * t / n for t, n in zip((x, y, z), size, strict=True))
        return 4 + np.cos(2 * x + y) + np.sin(3 * y - z) + np.cos(5 * x + 4 * z)

    grid = np.meshgrid(*(np.arange(n) for n in size), indexing="ij")
    shift = np.array([[0.0, 0.0, 0.0], by])
    seen = moved(wave(*grid), axis=axis, moment=ALL_LINES, shift=shift)
    expected = wave(*(g - b for g, b in zip(grid, by, strict=True)))
    np.testing.assert_allclose(seen, expected, atol=1e-5)


def naive(image: Any, axis: int, about: int, moment: Any, shift: Any, turn_deg: Any) -> Any:
    """Each line taken from the transform of a copy made for it by scipy."""
    spectrum = np.zeros(image.shape, dtype=np.complex128)
    size = image.shape[axis]
    others = np.meshgrid(*(np.fft.fftfreq(n) for n in image.shape), indexing="ij")
    for line in range(-(size // 2), size - size // 2):
        pose = sum(line * 2 / size >= m for m in moment)
        angles = np.zeros(3)
        angles[about] = np.deg2rad(turn_deg[pose])
        back = rotation_about(angles).T
        middle = (np.array(image.shape) - 1) / 2
        copy = ndimage.affine_transform(
            image, back, middle - back @ middle, order=1, mode="nearest"
        )
        ramp = np.exp(-2j * np.pi * sum(f * s for f, s in zip(others, shift[pose], strict=True)))
        at = [slice(None)] * 3
        at[axis] = slice(line % size, line % size + 1)
        spectrum[tuple(at)] = (np.fft.fftn(copy) * ramp)[tuple(at)]
    return np.abs(np.fft.ifftn(spectrum))


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.sampled_from([1, 2, 5, 7, 12, 33])] * 3),
    axis=st.integers(0, 2),
    about=st.integers(0, 2),
    seed=st.integers(0, 99),
    turns=st.booleans(),
)
def test_every_line_belongs_to_its_pose(
    shape: tuple[int, int, int], axis: int, about: int, seed: int, turns: bool
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 3, shape)
    moment = np.sort(rng.uniform(-1, 1, 2))
    shift = rng.uniform(-3, 3, (3, 3))
    turn = rng.uniform(-20, 20, 3) if turns else np.zeros(3)
    seen = moved(image, axis=axis, turned_about=about, moment=moment, shift=shift, turn_deg=turn)
    expected = naive(image, axis, about, moment, shift, turn)
    np.testing.assert_allclose(seen, expected, atol=2e-4)


@pytest.mark.parametrize("about", [0, 1, 2])
def test_a_quarter_turn_takes_voxels_as_they_are(about: int) -> None:
    image = torch.rand(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    seen = turned(image, about, [90.0, -90.0])
    plane = ((about + 1) % 3 + 2, (about + 2) % 3 + 2)
    torch.testing.assert_close(seen[:1], torch.rot90(image[:1], 1, plane), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[1:], torch.rot90(image[1:], -1, plane), atol=1e-5, rtol=0)


def test_anatomy_stays_in_place_whenever_the_patient_moves() -> None:
    grid = np.meshgrid(*(np.arange(32) - 15.5,) * 3, indexing="ij")
    blob = np.exp(-sum(g**2 for g in grid) / (2 * 4.0**2))
    transform = Motion(3, 3.0, 5.0)
    for seed in range(30):
        drawn = transform.draw(np.random.default_rng(seed), 1.0)
        seen = moved(blob, **drawn)
        weight = np.where(seen > 0.3, seen, 0)
        centre = [float((g * weight).sum() / weight.sum()) for g in grid]
        # other poses are up to 3 voxels away
        assert np.abs(centre).max() < 0.5, seed


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
def test_what_is_drawn_stays_in_its_ranges(strength: float) -> None:
    transform = Motion(3, 2.0, 3.0, centre=0.1)
    drawn = [transform.draw(np.random.default_rng(s), strength) for s in range(300)]
    assert {one["axis"] for one in drawn} == {one["turned_about"] for one in drawn} == {0, 1, 2}
    assert {len(one["moment"]) for one in drawn} == {1, 2, 3}
    for one in drawn:
        moment = one["moment"]
        assert (np.diff(moment) >= 0).all()
        assert (np.abs(moment) >= 0.1).all()
        assert (np.abs(moment) <= 1.0).all()
        reference = int((moment < 0).sum())
        assert (one["shift"][reference] == 0).all()
        assert one["turn_deg"][reference] == 0
        assert len(one["shift"]) == len(one["turn_deg"]) == len(moment) + 1
    shift = np.concatenate([one["shift"].ravel() for one in drawn])
    turn = np.concatenate([one["turn_deg"] for one in drawn])
    assert 1.98 * strength <= np.abs(shift).max() <= 2 * strength
    assert 2.95 * strength <= np.abs(turn).max() <= 3 * strength
