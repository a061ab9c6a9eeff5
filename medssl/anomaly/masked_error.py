"""How wrong a masked model is about each voxel that it does not see."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medssl.augment.masks import deal_token_masks
from medssl.augment.rng import Stream, generator
from medssl.methods.masked import MaskedMethod
from medssl.methods.reconstruction import block_voxels
from medssl.models.tokens import cut_tokens


def passes(method: MaskedMethod, repeats: int) -> int:
    """How many times a window goes through the network."""
    rng = generator(0, 0, 0)
    return repeats * len(deal_token_masks(rng, method.grid, method.mask_ratio, None, method.block))


@torch.no_grad()
def masked_error(
    method: MaskedMethod,
    image_B1DHW: Tensor,
    inside_B1DHW: Tensor,
    windows: Sequence[int],
    repeats: int = 1,
) -> Tensor:
    """Mean distance of the truth from the answer, over the masks that hide a voxel.

    Every voxel is hidden equally often: the cubes of a window are dealt into masks
    (`deal_token_masks`), `repeats` times, by the window's number alone.

    Args:
        image_B1DHW: normalised.
        inside_B1DHW: bool; what is False takes no part.
        windows: (B,) numbers of the windows, which decide the masks.

    Returns:
        (B, 1, D, H, W) float32 in normalised intensity; 0 where `inside` is False.
    """
    bodies = cut_tokens(inside_B1DHW, method.side).any(dim=2).reshape(-1, *method.grid).cpu()
    total = torch.zeros_like(image_B1DHW, dtype=torch.float32)
    times = torch.zeros_like(total)
    for repeat in range(repeats):
        dealt = torch.stack(
            [
                deal_token_masks(
                    generator(0, repeat, window, Stream.MASK),
                    method.grid,
                    method.mask_ratio,
                    body,
                    method.block,
                )
                for window, body in zip(windows, bodies, strict=True)
            ]
        )
        for masked in dealt.unbind(1):
            masked = masked.to(image_B1DHW.device)
            answer = method.fill(image_B1DHW, inside_B1DHW, masked)
            hidden = block_voxels(masked, method.grid, method.side)
            total += torch.where(hidden, (answer - image_B1DHW.float()).abs(), 0.0)
            times += hidden
    return torch.where(inside_B1DHW, total / times, 0.0)
