"""Clipping and a straight line: what several transforms come down to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medssl.augment.intensity.base import Views
from medssl.augment.intensity.compiled import NO_LIMIT, loops, run


@dataclass(frozen=True)
class Line:
    """value * slope + offset, of values that are held to low ... high before."""

    slope: float
    offset: float = 0.0
    low: float = -NO_LIMIT
    high: float = NO_LIMIT


def apply_lines(views: Views, lines: Sequence[Line]) -> Tensor:
    """Each image under its own line, in place."""
    library = loops(views.image)
    if library is not None:
        for image, one in zip(views.image, lines, strict=True):
            run(library, "line", image, image.numel(), one.low, one.high, one.slope, one.offset)
        return views.image
    low, high = (views.each([getattr(one, end) for one in lines]) for end in ("low", "high"))
    held = torch.clamp(views.image, low, high, out=views.image)
    return held.mul_(views.each([one.slope for one in lines])).add_(
        views.each([one.offset for one in lines])
    )
