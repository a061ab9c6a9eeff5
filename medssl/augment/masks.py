"""Which tokens of a patch are hidden from the network."""

from __future__ import annotations

import numpy as np
import torch

from medssl.augment.rng import Stream, generator


def draw_token_masks(
    seed: int, step: int, indices: torch.Tensor, grid: tuple[int, int, int], ratio: float
) -> torch.Tensor:
    """Hide a random subset of each sample's tokens (He et al. 2022, section 3, random sampling).

    Args:
        indices: (B,) places of the samples in the global batch.
        grid: tokens along each axis of the patch.
        ratio: share that is hidden.

    Returns:
        (B, d*h*w) bool on the CPU, True where hidden: exactly round(ratio * d*h*w) in each row.
    """
    count = int(np.prod(grid))
    hidden = round(ratio * count)
    masks = np.zeros((len(indices), count), dtype=bool)
    for row, index in enumerate(indices.tolist()):
        masks[row, generator(seed, step, index, Stream.MASK).permutation(count)[:hidden]] = True
    return torch.from_numpy(masks)
