"""Test-time augmentation: probabilities averaged over mirror images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

_FIRST_SPATIAL = 2


@contextmanager
def averaged_over_flips(network: nn.Module, axes: Sequence[int]) -> Iterator[None]:
    """Inside, `network` answers for an image and its mirror images together.

    Its output is the logarithm of the mean probability over all 2^n combinations of the axes, so
    that a softmax of it gives that mean; a map of voxels is mirrored back before. It takes 2^n
    times as long. Without axes nothing changes.

    Args:
        network: from (B, C, D, H, W) to logits (B, K) or (B, K, D, H, W).
        axes: of the patch: 0 left-right, 1 front-back, 2 top-bottom.
    """
    if not axes:
        yield
        return
    hook = network.register_forward_hook(flips_hook(axes))
    try:
        yield
    finally:
        hook.remove()


def flips_hook(axes: Sequence[int]) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """The forward hook that does it, for a network that is to answer so for good."""
    mirrored = [c for n in range(1, len(axes) + 1) for c in combinations(axes, n)]

    def average(module: nn.Module, inputs: Any, upright: Tensor) -> Tensor:
        total = torch.log_softmax(upright.float(), dim=1)
        for flipped in mirrored:
            dims = [_FIRST_SPATIAL + axis for axis in flipped]
            logits = module.forward(inputs[0].flip(dims)).float()
            if logits.ndim > _FIRST_SPATIAL:
                logits = logits.flip(dims)
            total = torch.logaddexp(total, torch.log_softmax(logits, dim=1))
        return total - math.log(len(mirrored) + 1)

    return average
