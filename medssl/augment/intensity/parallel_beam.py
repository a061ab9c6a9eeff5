"""Parallel projections of a slice and their filtered back-projection (Kak, Slaney 1988, chapter 3).

A ray at angle t and place s holds the points with x cos t + y sin t = s; x and y are in voxels from
the slice's middle. Detectors are a voxel wide.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

FloatArray = npt.NDArray[np.float64]

ANGLES = 120
_FINER = 4


def num_detectors(plane: tuple[int, int]) -> int:
    """Detectors that see the whole plane from every side; an odd number, the middle one at 0."""
    return 2 * int(np.ceil(np.hypot(*plane) / 2)) + 3


def angles() -> FloatArray:
    return np.linspace(0, np.pi, ANGLES, endpoint=False)


def ellipse_lengths(
    plane: tuple[int, int],
    centre: FloatArray,
    half_axes: FloatArray,
    turn: float,
) -> FloatArray:
    """(angles, detectors): length within an ellipse, the mean over each detector's width.

    At distance s from the centre a ray runs 2 a b sqrt(r^2 - s^2) / r^2 in it, where r^2 =
    a^2 cos^2(t - turn) + b^2 sin^2(t - turn); the integral over s is known.
    """
    t = angles()[:, None]
    a, b = half_axes
    reach = np.sqrt((a * np.cos(t - turn)) ** 2 + (b * np.sin(t - turn)) ** 2)
    half = num_detectors(plane) // 2
    edges = np.arange(-half, half + 2) - 0.5
    s = (edges - centre[0] * np.cos(t) - centre[1] * np.sin(t)) / reach
    s = s.clip(-1, 1)
    area = a * b * (s * np.sqrt(1 - s**2) + np.arcsin(s))
    # The integral rises, but for rounding near its end.
    lengths: FloatArray = np.diff(area, axis=1).clip(0)
    return lengths


def filtered(projections: FloatArray) -> FloatArray:
    """Ramp filter under a Hann window, for back-projection; (angles, 4 x detectors), 4 times finer.

    The ramp is that of a band-limited reconstruction (Ramachandran, Lakshminarayanan 1971), whose
    values at whole detectors make a constant exact.
    """
    detectors = projections.shape[-1]
    length = 2 * detectors
    place = np.minimum(np.arange(length), length - np.arange(length))
    kernel = np.zeros(length)
    kernel[0] = 0.25
    odd = place % 2 == 1
    kernel[odd] = -1 / (np.pi * place[odd]) ** 2
    frequency = np.fft.rfftfreq(length)
    response = np.fft.rfft(kernel).real * (0.5 + 0.5 * np.cos(2 * np.pi * frequency))
    spectrum = np.fft.rfft(projections, n=length) * response
    finer = np.fft.irfft(spectrum, n=length * _FINER) * _FINER
    return finer[..., : detectors * _FINER] * (np.pi / ANGLES)


def back_projected(profiles: Tensor, plane: tuple[int, int]) -> Tensor:
    """(N, D, H): the sum over all angles of the filtered profiles (N, angles, 4 x detectors).

    Each voxel takes the nearest value, at most an eighth of a voxel away.
    """
    device, middle = profiles.device, num_detectors(plane) // 2
    t = angles()
    # places along the profile, its first at a half, so that truncation finds the nearest
    from_x = np.cos(t)[:, None] * _from_middle(plane[0]) * _FINER + (middle * _FINER + 0.5)
    from_y = np.sin(t)[:, None] * _from_middle(plane[1]) * _FINER
    x = torch.from_numpy(from_x.astype(np.float32)).to(device)[:, :, None]
    y = torch.from_numpy(from_y.astype(np.float32)).to(device)[:, None, :]
    result = profiles.new_zeros(len(profiles), plane[0] * plane[1])
    for angle, profile in enumerate(profiles.unbind(1)):
        nearest = (x[angle] + y[angle]).to(torch.int32)
        result += profile.index_select(1, nearest.view(-1))
    return result.view(-1, *plane)


def _from_middle(count: int) -> FloatArray:
    return np.linspace(-(count - 1) / 2, (count - 1) / 2, count)
