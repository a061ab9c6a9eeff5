"""Where a place in one view of a scan lies in another.

A view's "map" takes the index of its voxels to that of the stored voxels, so one view's map and the
inverse of another's lead from view to view. A view that was also deformed shows at its voxel i what
lies at map @ (i + d(i)); the way back solves j + d(j) = x.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from medssl.augment.array_sampling import Size
from medssl.augment.batch import CONTROL, Batch

Deformation = Callable[[Tensor], Tensor]
"""Displacements (B, N, 3) in voxels of a view at its points (B, N, 3)."""

_ROUNDS = 5
_DIFFERENCE = 1e-4  # of a voxel


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
        of, to: how the two views were deformed; neither may fold.
    """
    points = points.double()
    if of is not None:
        points = points + of(points)
    straight = points @ between[:, :3, :3].mT + between[:, None, :3, 3]
    return straight if to is None else before(to, straight)


def before(deformation: Deformation, at: Tensor) -> Tensor:
    """(B, N, 3) float64: the points p for which p + d(p) is `at` (B, N, 3).

    By Newton's method, its derivatives by differences; always in as many rounds, so that a GPU is
    never waited for.
    """
    found = at - deformation(at)
    steps = _DIFFERENCE * torch.cat([torch.zeros_like(at[0, :1]), torch.eye(3).to(at)])
    for _ in range(_ROUNDS):
        around = (found[:, :, None] + steps).flatten(1, 2)
        moved = (around + deformation(around)).reshape(*at.shape[:2], 4, 3)
        here = moved[:, :, 0]
        slopes = (moved[:, :, 1:] - here[:, :, None]).mT / _DIFFERENCE
        found = found + torch.linalg.solve(slopes, at - here)
    return found


def bent(batch: Batch, view: int) -> Deformation | None:
    """How a view of each sample was deformed; None where none of the batch's is."""
    if "control" not in batch:
        return None
    control, cells, per_voxel = (batch[name][:, view] for name in CONTROL)
    return by_spline(control, cells, per_voxel)


def by_spline(control: Tensor, cells: Tensor, cells_per_voxel: Tensor) -> Deformation:
    """The deformation that lattices of control points give, by uniform cubic B-splines.

    That of `medssl.augment.elastic`: along each axis the second control point lies on the view's
    first outer face and one more than `cells` points follow it. Beyond the faces a point moves as
    the nearest one on them.

    Args:
        control: (B, 3, d, h, w), displacements in voxels along the view's axes; lattices of fewer
            points than the largest are followed by anything.
        cells: (B, 3), between the control points on the view's two faces.
        cells_per_voxel: (B, 3).
    """
    nodes, last = control.double(), cells.double()[:, None]
    scale = cells_per_voxel.double()[:, None]

    def displace(points: Tensor) -> Tensor:
        place = ((points + 0.5) * scale).clamp_min(0.0).minimum(last)
        first = place.floor().minimum(last - 1)
        t = place - first
        weights = torch.stack(
            [
                (1 - t) ** 3,
                3 * t**3 - 6 * t**2 + 4,
                -3 * t**3 + 3 * t**2 + 3 * t + 1,
                t**3,
            ],
            dim=-1,
        )
        at = first[..., None].long() + torch.arange(4, device=points.device)
        i, j, k = (
            torch.zeros(*points.shape[:2], n, dtype=torch.float64, device=points.device).scatter(
                2, at[:, :, axis], weights[:, :, axis] / 6
            )
            for axis, n in enumerate(nodes.shape[2:])
        )
        return torch.einsum("bcdhw,bnd,bnh,bnw->bnc", nodes, i, j, k)

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
