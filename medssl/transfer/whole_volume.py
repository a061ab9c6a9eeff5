"""A segmenter's answer for a whole scan, at the scan's own voxels.

The scan is resampled, answered and brought back slab by slab along its longest axis, so that the
memory that is needed does not grow with the scan's length.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from medssl.augment.config import PatchConfig
from medssl.augment.placement import Pose, compose_map
from medssl.augment.reader import Reader
from medssl.augment.scan_info import ScanInfo
from medssl.augment.spatial import sample
from medssl.transfer.channel_scans import Case, channel_maps
from medssl.transfer.own_grid import Floats, classes_on_own_grid
from medssl.transfer.sliding_window import Told, num_windows, slide
from medssl.volume import Affine, Array


def covering_map(
    scan: ScanInfo, spacing_mm: npt.NDArray[np.float64]
) -> tuple[Affine, tuple[int, int, int]]:
    """An upright patch over the whole scan: the map of its voxels to stored ones, and its size.

    With the scan's own spacing its voxels are the scan's voxels.
    """
    edges = np.abs(scan.frame.T @ scan.affine[:3, :3]) @ np.asarray(scan.shape, dtype=np.float64)
    d, h, w = (int(n) for n in np.maximum(np.ceil(edges / spacing_mm - 1e-3), 1))
    return compose_map(scan, (d, h, w), spacing_mm, scan.centre_mm, Pose()), (d, h, w)


def windows_of(scan: ScanInfo, patch: PatchConfig) -> int:
    """How many windows `predict_mask` puts through the network for this scan."""
    _, shape = covering_map(scan, scan.patch_spacing(patch.spacing_mm))
    return num_windows(shape, patch.size)


def read_planes(
    reader: Reader,
    case: Case,
    matrix: Affine,
    shape: tuple[int, int, int],
    axis: int,
    start: int,
    stop: int,
) -> Floats:
    """Some planes along `axis` of the normalised scans, made by the sampler of the patches.

    Args:
        matrix, shape: of the whole first scan, as `covering_map` gives them.

    Returns:
        (C, D, H, W), axes to the right, front and top.
    """
    shifted = matrix.copy()
    shifted[:3, 3] += matrix[:3, axis] * start
    d, h, w = (stop - start if a == axis else n for a, n in enumerate(shape))
    maps = channel_maps(case, shifted)
    return np.stack([sample(reader, *one, (d, h, w)).image for one in zip(case, maps, strict=True)])


@torch.no_grad()
def predict_mask(
    network: nn.Module,
    reader: Reader,
    case: Case,
    patch: PatchConfig,
    values: tuple[int, ...],
    told: Told = lambda windows: None,
) -> Array:
    """The predicted values of the mask at the first scan's own voxels, (D, H, W).

    Args:
        network: gives logits of len(values) classes.
        case: its scans, one for each input channel of the network.
        values: of the mask, by class number; the first is the background's.
        told: called with the number of windows that are done; `windows_of` says how many in all.

    Returns:
        uint8, or uint16 where a value asks for it.
    """
    scan = case[0]
    matrix, shape = covering_map(scan, scan.patch_spacing(patch.spacing_mm))
    axis = int(np.argmax(shape))

    def planes(start: int, stop: int) -> Tensor:
        return torch.from_numpy(read_planes(reader, case, matrix, shape, axis, start, stop))

    def slabs() -> Iterator[tuple[int, Floats]]:
        backgrounds = [of.normaliser.background for of in case]
        for start, logits in slide(network, planes, shape, patch.size, axis, backgrounds, told):
            yield start, torch.softmax(logits, dim=0).numpy()

    numbers = classes_on_own_grid(slabs(), axis, matrix, scan.shape)
    table = np.asarray(values, dtype=np.min_scalar_type(max(*values, 255)))
    if table.dtype != numbers.dtype:
        return np.asarray(table[numbers])
    for plane in numbers:  # in place: of a long scan a second mask weighs much
        plane[...] = table[plane]
    return numbers
