"""Unsharp masking lifts high frequencies and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch

from medssl.augment.intensity.sharpen import Sharpen

from .conftest import change, scene


def test_it_lifts_high_frequencies_and_keeps_the_mean() -> None:
    image = scene(1, 40, 40, 4)
    sharp = change(Sharpen(1.0), image, 2)
    assert sharp.mean().item() == pytest.approx(image.mean().item(), abs=0.01)
    share = Sharpen(1.0).draw(np.random.default_rng(2), 1.0)["share"]
    before, after = (torch.fft.fftn(one[0], dim=(0, 1)).abs() for one in (image, sharp))
    high = (after / before)[15:25, 15:25].median()
    assert high.item() == pytest.approx(1 + share, rel=0.02)


def test_it_is_the_image_and_a_share_of_its_detail() -> None:
    image = scene(1, 14, 15, 16)
    share = Sharpen(1.0).draw(np.random.default_rng(7), 2.0)["share"]
    blurred = scipy.ndimage.gaussian_filter(
        image[0].double().numpy(), (1, 1, 0), mode="nearest", radius=(3, 3, 0)
    )
    expected = image[0] + share * (image[0] - torch.from_numpy(blurred))
    changed = change(Sharpen(1.0), image, 7, strength=2.0)
    torch.testing.assert_close(changed[0].double(), expected, rtol=1e-5, atol=1e-5)


def test_flat_images_stay() -> None:
    flat = torch.full((1, 6, 6, 6), 0.3)
    torch.testing.assert_close(change(Sharpen(1.0), flat, 2), flat)


@pytest.mark.parametrize("strength", [0.1, 1.0, 2.0])
def test_the_largest_share_grows_with_strength(strength: float) -> None:
    drawn = [Sharpen(0.7).draw(np.random.default_rng(s), strength)["share"] for s in range(300)]
    assert min(drawn) >= 0
    assert 0.66 * strength < max(drawn) <= 0.7 * strength
