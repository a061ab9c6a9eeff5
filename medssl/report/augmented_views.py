"""A few scans of a store as pretraining would hand them to the network, with what was drawn.

A view's place is drawn once for each scan, as pretraining draws it; its pose and its values come,
view by view, from the code and the random numbers that pretraining uses. So what differs between
the views of one scan is their augmentation alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from medssl.augment.batch import MODALITIES
from medssl.augment.config import AugmentConfig
from medssl.augment.crops import draw_centre
from medssl.augment.elastic import ControlLattice, dense_displacement
from medssl.augment.placement import Pose, compose_map, draw_deformation, draw_pose
from medssl.augment.policies import POLICIES, Steps, augment_intensities, draw_steps
from medssl.augment.reader import Reader
from medssl.augment.rng import Stream, generator
from medssl.augment.scan_info import ScanInfo, Vector
from medssl.augment.spatial import Patch, draw_map, sample
from medssl.volume import Modality

_STEP = 0


@dataclass(frozen=True)
class View:
    """A patch as the network gets it.

    Attributes:
        image: (D, H, W) float32, normalised; axes to the right, the front and the top.
        affine: 4x4, index of its voxel -> RAS millimetres.
        pose: how it was turned, sheared, scaled and mirrored.
        bent: how it was deformed beside that, or None.
        steps: what was done to its values, in order.
    """

    image: npt.NDArray[np.float32]
    affine: npt.NDArray[np.float64]
    pose: Pose
    bent: ControlLattice | None
    steps: Steps


@dataclass(frozen=True)
class ShownScan:
    """A scan's patch without any augmentation, and views of the same place.

    Attributes:
        policy: the intensity policy that fits the scan's units.
        spacing_mm: (3,), of the patch.
        valid: (D, H, W) bool, where `plain` is a measurement.
        background: the image's value for air.
    """

    volume_uid: str
    policy: Modality
    spacing_mm: Vector
    valid: npt.NDArray[np.bool_]
    background: float
    plain: View
    views: list[View]


def draw_scan(
    reader: Reader,
    row: Any,
    config: AugmentConfig,
    seed: int,
    num_views: int,
    first: int = 0,
    intensity: bool = True,
) -> ShownScan:
    """The patch and its views, those of the samples `first` ... of step 0 of a run with this seed.

    Args:
        row: the scan's manifest row.
        first: place in the global batch of the first view.
        intensity: whether values are augmented, where the configuration does not forbid it.

    Raises:
        StoreError: the voxels are missing or damaged.
    """
    scan = ScanInfo.from_row(row)
    size, spacing = config.patch.size, scan.patch_spacing(config.patch.spacing_mm)
    centre = draw_centre(
        generator(seed, _STEP, first, Stream.CROP),
        scan,
        np.asarray(size) * spacing,
        reader.body(scan.volume_uid),
    )
    plain = sample(reader, scan, compose_map(scan, size, spacing, centre, Pose()), size)
    drawn = [_draw_place(reader, scan, config, seed, first + n, centre) for n in range(num_views)]
    patches = [patch for patch, _, _ in drawn]
    images = [patch.image for patch in patches]
    steps: list[Steps] = [[] for _ in drawn]
    if intensity and config.intensity.enabled:
        images = _augmented(scan, patches, config, seed, first)
        steps = [_draw_steps(scan, config, seed, first + n) for n in range(num_views)]
    return ShownScan(
        scan.volume_uid,
        scan.normaliser.policy,
        spacing,
        plain.valid,
        scan.normaliser.background,
        View(plain.image, plain.affine, Pose(), None, []),
        [
            View(image, patch.affine, pose, bent, done)
            for image, (patch, pose, bent), done in zip(images, drawn, steps, strict=True)
        ],
    )


def _draw_place(
    reader: Reader, scan: ScanInfo, config: AugmentConfig, seed: int, index: int, centre: Vector
) -> tuple[Patch, Pose, ControlLattice | None]:
    """Sample `index` before its values are augmented, and how it lies in the scan."""
    patch, spatial = config.patch, config.spatial
    spacing = scan.patch_spacing(patch.spacing_mm)
    # Two generators that are the same: one for the map, one for the pose in it.
    rng, again = (generator(seed, _STEP, index, Stream.SPATIAL) for _ in range(2))
    matrix = draw_map(rng, scan, patch, spatial, centre)
    pose = draw_pose(again, spatial, spacing)
    rng = generator(seed, _STEP, index, Stream.ELASTIC)
    lattice = draw_deformation(rng, spatial, patch.size, spacing)
    moved = None if lattice is None else dense_displacement(lattice, patch.size, spacing)
    return sample(reader, scan, matrix, patch.size, deformation=moved), pose, lattice


def _draw_steps(scan: ScanInfo, config: AugmentConfig, seed: int, index: int) -> Steps:
    rng = generator(seed, _STEP, index, Stream.INTENSITY)
    return draw_steps(POLICIES[scan.normaliser.policy], rng, config.intensity.strength)


def _augmented(
    scan: ScanInfo, patches: Sequence[Patch], config: AugmentConfig, seed: int, first: int
) -> list[npt.NDArray[np.float32]]:
    count = len(patches)
    batch = {
        "image": torch.from_numpy(np.stack([patch.image for patch in patches]))[:, None, None],
        "valid": torch.from_numpy(np.stack([patch.valid for patch in patches]))[:, None, None],
        "background": torch.full((count,), scan.normaliser.background),
        "index": torch.arange(first, first + count),
        "policy": torch.full((count,), MODALITIES.index(scan.normaliser.policy)),
    }
    done = augment_intensities(batch, _STEP, seed, config.intensity.strength)
    return list(done["image"][:, 0, 0].numpy())
