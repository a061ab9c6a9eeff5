"""Boxes of the patch that are taken away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medssl.augment.intensity.base import Parameters, Views, between

_MIDDLE = 0.0
_LARGEST = 0.9
_EVENNESS = 4.0


@dataclass(frozen=True)
class CutOut:
    """Boxes set to the background, or to the middle of the normalised range (DeVries, Taylor 2017).

    As in that paper the middle is 0: water in CT, the foreground's median in MR.

    Attributes:
        boxes: largest number of boxes, drawn evenly from 1 up; they may overlap.
        share: range of the boxes' volumes taken together, as a share of the patch's.
    """

    boxes: int
    share: tuple[float, float]

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        count = int(rng.integers(1, self.boxes + 1))
        share = min(between(rng, strength, *self.share), _LARGEST) / count
        # exponents that sum to one: sides of at most the patch's, whose product is the share
        return {
            "sides": share ** rng.dirichlet([_EVENNESS] * 3, count),
            "place": rng.uniform(size=(count, 3)),
            "to_background": bool(rng.integers(2)),
        }

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        image = views.image
        size = image.shape[2:]
        most = max(len(d["sides"]) for d in drawn)
        bounds = np.zeros((len(drawn), most, 3, 2), dtype=np.int64)
        for row, d in enumerate(drawn):
            bounds[row, : len(d["sides"])] = box_bounds(size, d)
        edges = torch.from_numpy(bounds).to(image.device)
        within = []
        for axis, n in enumerate(size):
            index = torch.arange(n, device=image.device)
            start, stop = edges[:, :, axis, 0, None], edges[:, :, axis, 1, None]
            within.append((index >= start) & (index < stop))
        cut = torch.zeros((len(drawn), *size), dtype=torch.bool, device=image.device)
        for box in range(most):
            x, y, z = (along[:, box] for along in within)
            cut |= x[:, :, None, None] & y[:, None, :, None] & z[:, None, None, :]
        chosen = torch.tensor([d["to_background"] for d in drawn], device=image.device)
        fill = torch.where(chosen, views.background, _MIDDLE).to(image.dtype)
        return torch.where(cut[:, None], fill.view(-1, 1, 1, 1, 1), image, out=image)


def box_bounds(size: Sequence[int], drawn: Parameters) -> npt.NDArray[np.int64]:
    """(boxes, 3, 2) first voxel and the one after the last, along each axis; all inside."""
    whole = np.asarray(size)
    sides = np.clip(np.rint(drawn["sides"] * whole), 1, whole)
    start = np.floor(drawn["place"] * (whole - sides + 1))
    return np.stack([start, start + sides], axis=-1).astype(np.int64)
