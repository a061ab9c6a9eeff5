"""Smoothing is a Gaussian that keeps sums and constants."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch

from medssl.augment.intensity.blur import Blur, smooth

from .conftest import change, scene


def point() -> torch.Tensor:
    image = torch.zeros(1, 1, 25, 25, 25)
    image[0, 0, 12, 12, 12] = 1.0
    return image


def test_a_point_becomes_a_gaussian_of_the_same_sum() -> None:
    spread = smooth(point(), [1.3])
    assert spread.sum().item() == pytest.approx(1.0, abs=1e-5)
    at = torch.arange(25.0) - 12
    for axis in range(3):
        profile = spread[0, 0].sum(dim=[a for a in range(3) if a != axis])
        # Cut off at 4 voxels, a Gaussian of 1.3 keeps 99 % of its variance.
        assert (profile * at**2).sum().item() == pytest.approx(1.3**2, rel=0.03)


def test_it_acts_along_the_axes_given_alone() -> None:
    one_axis = smooth(point(), [1.0], (1,))
    assert (one_axis[0, 0, 12, :, 12] > 0).sum() == 7
    assert (one_axis > 0).sum() == 7
    image = scene(1, 8, 9, 10)
    in_slice = change(Blur(0.8, 0.8, axes=(0, 1)), image)
    each = torch.cat([change(Blur(0.8, 0.8, axes=(0, 1)), image[..., [z]]) for z in range(10)], 3)
    torch.testing.assert_close(in_slice, each)


@pytest.mark.parametrize("shape", [(20, 17, 33), (3, 40, 2), (1, 1, 7)])
@pytest.mark.parametrize("sigma", [0.3, 0.9, 1.5, 2.2])
def test_it_is_the_convolution_with_repeated_edges(shape: tuple[int, ...], sigma: float) -> None:
    image = scene(1, *shape)[None]
    reach = max(1, int(np.ceil(3 * sigma)))
    expected = scipy.ndimage.gaussian_filter(
        image[0, 0].double().numpy(), sigma, mode="nearest", radius=reach
    )
    torch.testing.assert_close(
        smooth(image, [sigma])[0, 0].double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-6
    )


def test_constants_stay() -> None:
    flat = torch.full((1, 1, 5, 6, 7), 3.0)
    torch.testing.assert_close(smooth(flat.clone(), [0.7]), flat)


@pytest.mark.parametrize("strength", [0.1, 1.0, 2.0])
def test_the_widest_grows_with_strength(strength: float) -> None:
    drawn = [Blur(0.4, 1.0).draw(np.random.default_rng(s), strength) for s in range(300)]
    sigma = np.array([one["sigma_voxels"] for one in drawn])
    assert sigma.min() >= 0.4
    assert 0.4 + 0.57 * strength <= sigma.max() <= 0.4 + 0.6 * strength
