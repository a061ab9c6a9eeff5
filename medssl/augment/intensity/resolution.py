"""Loss of detail: blur of a kernel, thick slices, truncated k-space."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_blur(
    image: Tensor, rng: np.random.Generator, strength: float, *, sigma: float
) -> Tensor:
    """Blur by a Gaussian of up to `sigma` voxels along each axis, drawn for each alone."""
    for axis, width in enumerate(strength * rng.uniform(0, sigma, 3), start=1):
        image = _blur_axis(image, axis, float(width))
    return image


def sharpen(image: Tensor, rng: np.random.Generator, strength: float, *, amount: float) -> Tensor:
    """Add back what a blur of one voxel takes away, as a hard reconstruction kernel does."""
    soft = image
    for axis in (1, 2, 3):
        soft = _blur_axis(soft, axis, 1.0)
    return image + strength * rng.uniform(0, amount) * (image - soft)


def low_resolution(
    image: Tensor, rng: np.random.Generator, strength: float, *, factor: float
) -> Tensor:
    """Resample along one axis to voxels up to `factor` times as thick, and back.

    The axis is drawn; averaging within the thick voxel is the partial-volume effect.
    """
    axis = int(rng.integers(3))
    times = 1 + (factor - 1) * min(strength, 1.0) * rng.uniform(0, 1)
    size = image.shape[1:]
    thick = list(size)
    thick[axis] = max(2, round(size[axis] / times))
    if thick[axis] >= size[axis]:
        return image
    coarse = F.adaptive_avg_pool3d(image[None], (thick[0], thick[1], thick[2]))
    return F.interpolate(coarse, size=tuple(size), mode="trilinear", align_corners=False)[0]


def gibbs_ringing(
    image: Tensor, rng: np.random.Generator, strength: float, *, cut: float
) -> Tensor:
    """Leave out the highest frequencies along one axis: edges ring, as in short MR acquisitions.

    Up to the share `cut` of k-space is set to zero (Czervionke et al. 1988,
    doi 10.1148/radiology.168.2.3393679).
    """
    axis = 1 + int(rng.integers(3))
    kept = 1 - min(0.9, strength * rng.uniform(0, cut))
    frequency = torch.fft.fftfreq(image.shape[axis], device=image.device).abs()
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    passed = (frequency <= 0.5 * kept).to(image.dtype).view(shape)
    spectrum = torch.fft.fft(image.float(), dim=axis) * passed
    return torch.fft.ifft(spectrum, dim=axis).real.to(image.dtype)


def _blur_axis(image: Tensor, axis: int, sigma: float) -> Tensor:
    radius = math.ceil(3 * sigma)
    if sigma < 0.05 or image.shape[axis] < 2:
        return image
    radius = min(radius, image.shape[axis] - 1)
    places = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (places / sigma).square())
    kernel = kernel / kernel.sum()
    shape = [1, 1, 1, 1, 1]
    shape[axis + 1] = -1
    padding = [0] * 6
    padding[2 * (3 - axis)] = padding[2 * (3 - axis) + 1] = radius
    padded = F.pad(image[:, None], padding, mode="replicate")
    return F.conv3d(padded, kernel.view(shape))[:, 0]
