"""Which tokens or blocks of a patch are hidden."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medssl.augment.rng import generator

_STREAM = 7


def draw_token_masks(
    seed: int, step: int, indices: Tensor, grid: tuple[int, int, int], ratio: float
) -> Tensor:
    """Masks of `round(ratio * N)` of the N = d*h*w tokens of each sample.

    Args:
        indices: (B,) places in the global batch.

    Returns:
        (B, N) bool on the CPU, True where masked, the last grid axis fastest.
    """
    tokens = int(np.prod(grid))
    hidden = round(ratio * tokens)
    masks = torch.zeros(len(indices), tokens, dtype=torch.bool)
    for row, index in enumerate(indices.tolist()):
        order = generator(seed, step, index, _STREAM).permutation(tokens)
        masks[row, torch.from_numpy(order[:hidden])] = True
    return masks
