"""Where the voxels of a case's channels are, and how one patch is cut from all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medssl.augment.scan_info import ScanInfo, Scans
from medssl.store import Store
from medssl.transfer.channels import Channels, case_volumes
from medssl.volume import Affine

Case = tuple[ScanInfo, ...]
"""The scans of a case, one for each channel, the first with the label."""

_ROUNDING = 1e-7


def channel_scans(
    store: Store, volume_uids: Sequence[str], channels: Channels | None
) -> list[Case]:
    """The scans of each case, in the order of the cases; without channels each case is one scan.

    Raises:
        TrainingError: a case has no series of a channel.
    """
    volumes = case_volumes(store, volume_uids, channels)
    scans = [Scans(store.manifest.loc[list(uids)]) for uids in zip(*volumes, strict=True)]
    return list(zip(*scans, strict=True))


def channel_maps(case: Case, matrix: Affine) -> list[Affine]:
    """The map of each channel that shows what `matrix` shows of the first, in world space.

    Args:
        matrix: 4x4, index of the patch's voxel -> index of the first scan's stored voxel.

    Returns:
        4x4 each: inv(affine of the channel) @ affine of the first @ matrix. Not snapped to voxels
        as the first may be: that would shift channels against each other.
    """
    maps = [matrix]
    for scan in case[1:]:
        if np.array_equal(scan.affine, case[0].affine):
            maps.append(matrix)
            continue
        to_stored = np.asarray(np.linalg.solve(scan.affine, case[0].affine @ matrix), np.float64)
        # What is no turn but rounding would hide that the axes are parallel.
        to_stored[:3, :3][np.abs(to_stored[:3, :3]) < _ROUNDING] = 0.0
        maps.append(to_stored)
    return maps
