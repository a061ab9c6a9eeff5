"""The masked error of a whole scan, window by window, and back at the scan's own voxels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from medssl.anomaly.masked_error import masked_error
from medssl.augment.body import body_of_patch
from medssl.augment.config import PatchConfig
from medssl.augment.reader import Reader
from medssl.augment.scan_info import ScanInfo
from medssl.augment.spatial import sample
from medssl.methods.masked import MaskedMethod
from medssl.transfer.sliding_window import window_starts
from medssl.transfer.whole_volume import covering_map
from medssl.volume import Affine

_AT_ONCE = 4

Floats = npt.NDArray[np.float32]
Told = Callable[[int], None]


@dataclass(frozen=True)
class Screened:
    """A scan on the network's grid; all arrays (D, H, W).

    Attributes:
        image: normalised.
        counted: the body inside the scan; the rest has no part.
        map: 4x4, index on this grid -> index of the stored voxel.
        shape: of the stored scan.
    """

    image: Floats
    counted: npt.NDArray[np.bool_]
    map: Affine
    shape: tuple[int, int, int]

    def on_own_grid(self, values: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Values of this grid at the scan's own voxels, and which of these count.

        Trilinear between the voxels that count. A voxel counts where they have at least half of
        the weight; the others are 0.
        """
        to_grid = np.linalg.inv(self.map)
        weighed = [np.where(self.counted, values, 0), self.counted]
        total, weight = (
            ndimage.affine_transform(
                part.astype(np.float32),
                to_grid[:3, :3],
                to_grid[:3, 3],
                output_shape=self.shape,
                order=1,
                mode="nearest",
            )
            for part in weighed
        )
        counted = weight >= 0.5
        return np.where(counted, total / np.maximum(weight, 0.5), 0).astype(np.float32), counted


def screened(reader: Reader, scan: ScanInfo, patch: PatchConfig) -> Screened:
    """The scan at the patch's spacing, and where its body is.

    Raises:
        StoreError: its voxels are missing or damaged.
    """
    matrix, shape = covering_map(scan, scan.patch_spacing(patch.spacing_mm))
    found = sample(reader, scan, matrix, shape)
    body = body_of_patch(reader.body(scan.volume_uid), matrix, shape)
    return Screened(found.image, found.valid & body, matrix, scan.shape)


def scan_error(
    method: MaskedMethod,
    scan: Screened,
    window: tuple[int, int, int],
    background: float,
    repeats: int = 1,
    told: Told = lambda windows: None,
) -> Floats:
    """The masked error of every voxel that counts, (D, H, W) in normalised intensity; else 0.

    Windows of the patch's size overlap by half, as in segmentation; where several see a voxel,
    their errors are averaged by MONAI's Gaussian weights, for at its edge a window knows less of
    what is around a voxel. A scan smaller than a window is padded on both sides. Memory: about 25
    bytes for each voxel of the scan at the patch's spacing.

    Args:
        background: the normalised value of air.
        told: called with the number of windows that are done; there are
            `medssl.transfer.sliding_window.num_windows`.
    """
    device = next(method.parameters()).device
    before = [max(side - n, 0) // 2 for n, side in zip(scan.image.shape, window, strict=True)]
    after = [
        max(side - n, 0) - b for n, side, b in zip(scan.image.shape, window, before, strict=True)
    ]
    around = list(zip(before, after, strict=True))
    image = torch.from_numpy(np.pad(scan.image, around, constant_values=background))
    inside = torch.from_numpy(np.pad(scan.counted, around))
    total, weight = torch.zeros_like(image), torch.zeros_like(image)
    gaussian = _gaussian(window)
    starts = [window_starts(n, side) for n, side in zip(image.shape, window, strict=True)]
    boxes = [
        tuple(slice(s, s + side) for s, side in zip(corner, window, strict=True))
        for corner in product(*starts)
    ]
    full = [number for number, box in enumerate(boxes) if inside[box].any()]
    told(len(boxes) - len(full))
    for at in range(0, len(full), _AT_ONCE):
        numbers = full[at : at + _AT_ONCE]
        images, insides = (
            torch.stack([part[boxes[n]] for n in numbers])[:, None].to(device)
            for part in (image, inside)
        )
        errors = masked_error(method, images, insides, numbers, repeats).cpu()
        for number, error in zip(numbers, errors, strict=True):
            total[boxes[number]] += error[0] * gaussian
            weight[boxes[number]] += gaussian
        told(len(numbers))
    error = (total / weight.clamp_min(1e-12)).numpy()
    own = tuple(slice(b, b + n) for b, n in zip(before, scan.image.shape, strict=True))
    return np.where(scan.counted, error[own], 0).astype(np.float32)


def _gaussian(window: tuple[int, int, int]) -> Tensor:
    from monai.data.utils import compute_importance_map

    weights: Tensor = compute_importance_map(window, mode="gaussian", sigma_scale=0.125)
    return weights
