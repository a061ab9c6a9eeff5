"""The range that a normalised image keeps."""

from __future__ import annotations

import torch
from torch import Tensor

from medssl.augment.intensity.compiled import NO_LIMIT, loops, run


def held_to_range(
    image: Tensor, valid: Tensor, background: Tensor, highest: float | None
) -> Tensor:
    """Values held to each image's background and to `highest`; background outside the scan.

    image (N, C, D, H, W), changed in place; valid (N, 1, D, H, W) bool; background (N,).
    """
    most = NO_LIMIT if highest is None else highest
    library = loops(image)
    if library is None:
        floor = background.view(-1, 1, 1, 1, 1)
        held = torch.clamp(image, floor, out=image).clamp_max_(most)
        return torch.where(valid, held, floor)
    for view, inside, floor_of_view in zip(image, valid, background.tolist(), strict=True):
        for channel in view:
            run(library, "bounded", channel, inside, channel.numel(), floor_of_view, most)
    return image
