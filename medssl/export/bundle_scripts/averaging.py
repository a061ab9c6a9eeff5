"""A low-pass before a grid that is coarser than its scan, so that fine detail does not fold back.

Linear interpolation looks at two voxels along each axis, however far apart the grid's are. As in
training, the scan is first averaged over a window that, together with the interpolation's own tent,
has the variance step^2 / 6 (in stored voxels): that of a tent as wide as the grid's step.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

SHORTEST_STEP = 1.5


def averaged(voxels: torch.Tensor, steps: Any) -> torch.Tensor:
    """(D, H, W) float32 averages; the outermost voxel goes on beyond the scan's faces.

    Args:
        voxels: (D, H, W).
        steps: (3,) stored voxels from one voxel of the grid to the next, along each stored axis.
    """
    for axis, step in enumerate(steps):
        weights = torch.from_numpy(window_weights(float(step))).float()
        if len(weights) == 1:
            continue
        lines = voxels.float().movedim(axis, 2)
        reach = len(weights) // 2
        padded = F.pad(lines.flatten(0, 1)[:, None], (reach, reach), mode="replicate")
        means = F.conv1d(padded, weights[None, None])
        voxels = means.reshape(lines.shape).movedim(2, axis)
    return voxels


def window_weights(step: float) -> Any:
    """Symmetric, their sum 1; a single one where the grid is less than 1.5 times as coarse."""
    if step < SHORTEST_STEP:
        return np.ones(1)
    variance = (step**2 - 1) / 6
    if variance < 0.5:
        return _mean(variance)
    return np.convolve([0.25, 0.5, 0.25], _mean(variance - 0.5))


def _mean(variance: float) -> Any:
    """A mean of an odd number of voxels with this variance, the outermost two counting less."""
    whole, end = 1, 0.0
    while variance > (whole**2 - 1) / 12 + 1e-6:
        # One voxel of weight w more at either end: variance * (whole + 2 w) is the second moment.
        reach = (whole + 1) ** 2 / 2 - 2 * variance
        end = whole * (variance - (whole**2 - 1) / 12) / reach if reach > 0 else math.inf
        if end <= 1:
            break
        whole, end = whole + 2, 0.0
    weights = np.array([end, *[1.0] * whole, end] if end else [1.0] * whole)
    return weights / weights.sum()
