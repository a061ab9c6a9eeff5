"""Where a place in one view of a scan lies in another.

A view's "map" takes the index of its voxels to that of the stored voxels, so one view's map and the
inverse of another's lead from view to view. A view that was also deformed shows at its voxel i what
lies at map @ (i + d(i)); the way back solves j + d(j) = x.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.augment.array_sampling import Size
from medssl.augment.batch import Batch

Deformation = Callable[[Tensor], Tensor]
"""Displacements (B, N, 3) in voxels of a view at its points (B, N, 3)."""

_ROUNDS = 32


def view_map(batch: Batch, of: int, to: int) -> Tensor:
    """(B, 4, 4) float64, index of a voxel of view `of` -> index of the voxel of view `to`."""
    return map_between(batch["map"][:, of], batch["map"][:, to])


def map_between(of: Tensor, to: Tensor) -> Tensor:
    """(..., 4, 4) float64, inverse(to) @ of: between the views with these maps (..., 4, 4)."""
    between: Tensor = torch.linalg.solve(to.double(), of.double())
    return between


def carry(
    points: Tensor, between: Tensor, of: Deformation | None = None, to: Deformation | None = None
) -> Tensor:
    """(B, N, 3) float64: where points of one view lie in another, in voxels.

    Args:
        points: (B, N, 3), indices of voxels, whole or not.
        between: (B, 4, 4), see `map_between`.
        of, to: how the two views were deformed. That of `to` is inverted by the fixed-point
            iteration j <- x - d(j), which converges where neighbouring voxels are displaced by
            less than a voxel's difference; by a factor of the deformation's steepest slope a round
            (0.7 leaves 1e-6 of the displacement).
    """
    points = points.double()
    if of is not None:
        points = points + of(points)
    straight = points @ between[:, :3, :3].mT + between[:, None, :3, 3]
    carried = straight
    for _ in range(_ROUNDS if to is not None else 0):
        assert to is not None
        carried = straight - to(carried)
    return carried


def by_lattice(control: Tensor, size: Size) -> Deformation:
    """The deformation that a lattice of displacements gives: trilinear between its nodes.

    Args:
        control: (B, 3, d, h, w), displacements in voxels along the view's axes. The outermost
            nodes lie on the outermost voxels; points beyond them move as they do.
        size: of the view, in voxels.
    """
    last = torch.tensor(size, dtype=torch.float64, device=control.device) - 1
    nodes = control.double()

    def displace(points: Tensor) -> Tensor:
        grid = points.flip(-1) / last.flip(0).clamp_min(1) * 2 - 1
        found = F.grid_sample(
            nodes, grid[:, :, None, None], padding_mode="border", align_corners=True
        )
        return found[..., 0, 0].mT

    return displace


def cell_centres(size: Size, cells: Size, device: torch.device | None = None) -> Tensor:
    """(d*h*w, 3) float64, row-major: the middles of `cells` equal parts of a view, in voxels."""
    lines = [
        (torch.arange(k, dtype=torch.float64, device=device) + 0.5) * (n / k) - 0.5
        for n, k in zip(size, cells, strict=True)
    ]
    return torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1).flatten(0, 2)


def matching_grid(
    between: Tensor,
    size: Size,
    cells: Size,
    of: Deformation | None = None,
    to: Deformation | None = None,
    size_to: Size | None = None,
) -> tuple[Tensor, Tensor]:
    """For each cell of a coarse grid on one view: its place in the other, and if it is there.

    `F.grid_sample(features_of_the_other, grid, align_corners=False)` then gives features that
    stand at the same place of the scan as `adaptive_avg_pool3d(features_of_the_one, cells)`.

    Args:
        between: (B, 4, 4), see `view_map`.
        size: of the views in voxels; `size_to` of the other one, where it differs.
        cells: along each axis.
        of, to: as for `carry`.

    Returns:
        (B, d, h, w, 3) float32, normalised to -1 ... 1 between the other view's outer faces, last
        axis first; (B, d, h, w) bool, whether the place lies within the other view.
    """
    centres = cell_centres(size, cells, between.device).expand(len(between), -1, -1)
    there = carry(centres, between, of, to)
    faces = torch.tensor(size_to or size, dtype=torch.float64, device=between.device)
    normalised = (there + 0.5) / faces * 2 - 1
    shape = (len(between), *cells)
    inside = (normalised.abs() <= 1).all(dim=-1)
    return normalised.flip(-1).float().reshape(*shape, 3), inside.reshape(shape)
