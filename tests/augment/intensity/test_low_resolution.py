"""Means over stretches of one axis, and lines between them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medssl.augment.intensity.low_resolution import LowResolution, averaged_and_back

from .conftest import change, scene


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_it_is_block_means_with_lines_between(axis: int) -> None:
    image = scene(1, 12, 12, 12)
    changed = change(LowResolution(2.0001, axes=(axis,)), image, 5)
    voxels = LowResolution(2.0001, axes=(axis,)).draw(np.random.default_rng(5), 1.0)["voxels"]
    count = round(12 / voxels)
    edges = np.linspace(0, 12, count + 1)
    lines = image[0].movedim(axis, 2).reshape(-1, 12).double().numpy()
    # The mean over a stretch is the difference of the cumulative sum, which is linear in a voxel.
    sums = np.concatenate([np.zeros((len(lines), 1)), lines.cumsum(axis=1)], axis=1)
    ends = np.stack([np.interp(edges, np.arange(13), one) for one in sums])
    means = np.diff(ends, axis=1) / (12 / count)
    centres = (edges[1:] + edges[:-1]) / 2
    expected = np.stack([np.interp(np.arange(12) + 0.5, centres, one) for one in means])
    got = changed[0].movedim(axis, 2).reshape(-1, 12)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_stretches_of_whole_voxels_are_block_means() -> None:
    matrix = averaged_and_back(12, 4)
    lines = np.random.default_rng(0).normal(size=(5, 12))
    means = lines.reshape(5, 4, 3).mean(axis=2)
    # The middle voxel of three stands at the centre of its stretch.
    np.testing.assert_allclose((lines @ matrix.T)[:, 1::3], means, atol=1e-12)


def test_it_acts_along_one_axis_alone() -> None:
    image = scene(1, 24, 20, 18)
    coarse = change(LowResolution(3.0, axes=(2,)), image, 3)
    assert coarse.mean().item() == pytest.approx(image.mean().item(), abs=0.01)
    steps = coarse.diff(dim=3).square().mean() / image.diff(dim=3).square().mean()
    assert steps < 0.3
    across = torch.arange(20.0).view(1, 1, 20, 1).expand(1, 24, 20, 18).contiguous()
    torch.testing.assert_close(change(LowResolution(3.0, axes=(2,)), across, 3), across)


def test_a_ramp_is_kept_inside() -> None:
    ramp = torch.arange(30.0).view(1, 1, 1, 30)
    coarse = change(LowResolution(3.0, axes=(2,)), ramp, 6)
    # A voxel cut by an edge counts in part, which moves a mean by less than a tenth of a voxel.
    torch.testing.assert_close(coarse[..., 3:-3], ramp[..., 3:-3], atol=0.1, rtol=0)


@pytest.mark.parametrize("strength", [0.1, 1.0, 2.0])
def test_all_axes_are_drawn_and_thickness_stays_in_its_range(strength: float) -> None:
    transform = LowResolution(3.0, axes=(0, 2))
    drawn = [transform.draw(np.random.default_rng(s), strength) for s in range(300)]
    assert {one["axis"] for one in drawn} == {0, 2}
    voxels = np.array([one["voxels"] for one in drawn])
    assert voxels.min() >= 1.5
    assert 1.5 + 1.45 * strength <= voxels.max() <= 1.5 + 1.5 * strength
