"""Features of two crops of one scan, compared where both show the same place.

Cosine similarity through a predictor, the other side a teacher's without gradient: Grill et al.,
BYOL, 2020, equation 2, place by place as in Xie et al., Propagate yourself (PixPro), 2021, and in
Consistent view alignment (arXiv 2509.13846, 2025), first among the transformers of the SSL3D
challenge. No negatives: they would push apart neighbouring places, which are alike.

Without batch statistics a predictor and a slow teacher alone soon agree on one direction that all
places share. So the teacher's mean over a crop is taken off, and what is left to agree on is how
its places differ (targets normalised within each sample: Baevski et al., data2vec, 2022, section
3.3). How crops differ is for a contrast to tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.augment.batch import Batch
from medssl.augment.views import bent, matching_grid, view_map

Grid = tuple[int, int, int]

_MOST_CELLS = 7  # along an axis, as in consistent view alignment
_ENOUGH = 0.5


@dataclass(frozen=True)
class Matches:
    """Where the cells of a coarse grid on each crop lie in the volume's other crop.

    Crops are counted volume by volume, its two views side by side.

    Attributes:
        places: (2B, d, h, w, 3), for `F.grid_sample` of the other crop's features.
        counted: (2B, d*h*w) bool, cells that lie in both crops and, half of them at least, in the
            body (in the scan, where no body is known).
    """

    places: Tensor
    counted: Tensor

    @property
    def cells(self) -> Grid:
        """Cells along each axis."""
        d, h, w = self.places.shape[1:4]
        return d, h, w


def match_cells(batch: Batch, features_size: Grid) -> Matches:
    """The matches of a batch of two views, as many cells an axis as its features have, at most 7.

    Args:
        features_size: of the map that is to be compared, along each axis.
    """
    d, h, w = (min(n, _MOST_CELLS) for n in features_size)
    cells = (d, h, w)
    inside = batch.get("body", batch["valid"])
    size: Grid = tuple(inside.shape[3:])  # type: ignore[assignment]
    bends = [bent(batch, view) for view in (0, 1)]
    found = [
        matching_grid(view_map(batch, of, to), size, cells, bends[of], bends[to])
        for of, to in ((0, 1), (1, 0))
    ]
    places, within = (torch.stack(views, dim=1).flatten(0, 1) for views in zip(*found, strict=True))
    body = average_cells(inside.flatten(0, 1).float(), cells)[:, 0]
    return Matches(places, (within & (body >= _ENOUGH)).flatten(1))


def features_here(maps: Tensor, matches: Matches) -> Tensor:
    """(2B, d*h*w, C): the mean of a crop's features (2B, C, ...) over each cell."""
    return average_cells(maps, matches.cells).flatten(2).mT


def features_there(maps: Tensor, matches: Matches) -> Tensor:
    """(2B, d*h*w, C): for each cell of a crop, what the other crop's features say of its place."""
    other = maps.reshape(-1, 2, *maps.shape[1:]).flip(1).flatten(0, 1)
    found = F.grid_sample(other, matches.places, padding_mode="border", align_corners=False)
    return found.flatten(2).mT


def centred(features: Tensor, counted: Tensor) -> Tensor:
    """(N, M, K) less each crop's mean over its counted (N, M) cells."""
    number = counted.sum(dim=1)[:, None, None].clamp_min(1)
    shares = counted[..., None].to(features) / number
    return features - (shares * features).sum(dim=1, keepdim=True)


def dense_alignment(predicted: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """2 - 2 cos between (N, M, K) and (N, M, K), over each crop's counted cells, then over crops.

    A crop without any counts as 0 and still divides, so that the mean over ranks of equally many
    crops is the mean over all of them.

    Args:
        counted: (N, M) bool.
    """
    apart = 2 - 2 * F.cosine_similarity(predicted, target, dim=2)
    sums = torch.where(counted, apart, 0.0).sum(dim=1)
    return (sums / counted.sum(dim=1).clamp_min(1)).mean()


@torch.no_grad()
def dense_deviation(features: Tensor, counted: Tensor) -> Tensor:
    """As `feature_deviation`, of the counted cells among (N, M, K); 0: all say the same."""
    unit = F.normalize(features, dim=2)
    weight = counted[..., None] / counted.sum().clamp_min(1)
    mean = (weight * unit).sum(dim=(0, 1))
    variance = (weight * (unit - mean).square()).sum(dim=(0, 1))
    spread: Tensor = variance.sqrt().mean() * unit.shape[2] ** 0.5
    return spread


def average_cells(maps: Tensor, cells: Grid) -> Tensor:
    """(N, C, *cells): means over `cells` equal parts, a voxel cut in two counting in both.

    Products with fixed matrices: the gradient of torch's adaptive pooling is not the same to the
    last bit from run to run on a GPU.
    """
    for axis, count in enumerate(cells, start=2):
        length = maps.shape[axis]
        if length == count:
            continue
        edges = torch.arange(count + 1, dtype=torch.float64) * (length / count)
        voxels = torch.arange(length)
        last = torch.minimum(edges[1:, None], voxels + 1.0)
        shares = (last - torch.maximum(edges[:-1, None], voxels.double())).clamp_min(0)
        weights = (shares * (count / length)).to(maps)
        maps = (maps.movedim(axis, -1) @ weights.T).movedim(-1, axis)
    return maps


def dense_head(width: int, hidden: int, out: int) -> nn.Sequential:
    """BYOL's projector and predictor: one hidden layer, with LayerNorm for batch statistics."""
    return nn.Sequential(
        nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, out)
    )
