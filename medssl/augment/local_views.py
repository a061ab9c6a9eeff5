"""Small crops inside the views of a scan, for methods that match parts with the whole.

Caron et al. 2021, Emerging properties in self-supervised vision transformers (DINO), section 3.1:
beside two global views several local ones, each of a small part of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medssl.augment.array_sampling import Size
from medssl.augment.body import body_shown, draw_with_body
from medssl.augment.config import LocalViewsConfig, PatchConfig, SpatialConfig
from medssl.augment.placement import compose_map, draw_pose
from medssl.augment.scan_info import ScanInfo, Vector
from medssl.store.body import BodyMask
from medssl.volume import Affine


def draw_local_map(
    rng: np.random.Generator,
    scan: ScanInfo,
    views: Sequence[Affine],
    patch: PatchConfig,
    spatial: SpatialConfig,
    local: LocalViewsConfig,
    body: BodyMask,
) -> Affine:
    """4x4, index of a random local crop's voxel -> index of the stored voxel.

    It is turned and mirrored as other patches are, and lies in one of the views, drawn anew each
    time: turned as they both are, all of its voxels are inside that view, to half a stored voxel.
    Along an axis of the view on which it is too long for that, it lies in the middle. Places that
    show mostly air are drawn again.

    Args:
        views: 4x4 each, index of a voxel of a view of `patch.size` -> index of the stored voxel.
    """
    spacing = scan.patch_spacing(patch.spacing_mm)
    scaled = spatial.model_copy(update={"scale": local.scale, "scale_probability": 1.0})
    pose = draw_pose(rng, scaled, spacing)
    extent = np.asarray(local.size) * spacing / pose.scale

    def at(centre_mm: Vector) -> Affine:
        return compose_map(scan, local.size, spacing, centre_mm, pose)

    turned = at(scan.centre_mm)[:3, :3]

    def draw() -> Vector:
        view = views[int(rng.integers(len(views)))]
        stored = view @ np.append(_draw_place(rng, view, patch.size, turned, local.size), 1.0)
        return np.asarray((scan.affine @ stored)[:3])

    return at(draw_with_body(draw, lambda centre: body_shown(body, scan, centre, extent)))


def _draw_place(
    rng: np.random.Generator, view: Affine, size: Size, turned: Vector, local_size: Size
) -> Vector:
    """(3,) voxels of a view: the middle of a crop that lies inside it.

    Args:
        turned: (3, 3), from the crop's voxels to stored ones.
    """
    in_view = np.linalg.solve(view[:3, :3], turned)
    reach = np.abs(in_view) @ ((np.asarray(local_size) - 1) / 2)
    middle = (np.asarray(size) - 1) / 2
    room = np.maximum(middle - reach, 0.0)
    return np.asarray(rng.uniform(middle - room, middle + room))
