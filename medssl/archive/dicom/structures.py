"""What a label object holds: named structures, each of which can be drawn on a volume's grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from medssl.archive.reasons import Reason
from medssl.volume import Affine

Drawn = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]


class LabelFault(Exception):
    """Why a label is not taken; `detail` holds numbers and enums alone, never a name."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Grid:
    """The grid of a volume: (slice, row, column) to RAS mm, and its size.

    `true_slices` is False where the volume was resampled, so that its slices are no longer those
    that were drawn on.
    """

    affine: Affine
    shape: tuple[int, int, int]
    true_slices: bool = True


class Structure(Protocol):
    """One ROI or segment. Its name may hold PHI: it is compared, and never written.

    `instances` are the SOP instances that it was drawn on, empty where it does not say.
    """

    @property
    def name(self) -> str: ...

    @property
    def frame_of_reference(self) -> str: ...

    @property
    def instances(self) -> frozenset[str]: ...

    def draw(self, grid: Grid) -> tuple[Drawn, tuple[Reason, ...]]:
        """(D, H, W), True inside, and what had to be corrected.

        Raises:
            LabelFault: the structure cannot be drawn on this grid.
        """
        ...


def to_ras(points_lps: Points) -> Points:
    """(..., 3) mm from DICOM's patient axes to RAS."""
    return np.asarray(points_lps * np.array([-1.0, -1.0, 1.0]))


def to_index(affine: Affine, points_lps: Points) -> Points:
    """(N, 3) LPS mm to (slice, row, column), whole numbers at voxel centres."""
    inverse = np.linalg.inv(affine)
    return np.asarray(to_ras(points_lps) @ inverse[:3, :3].T + inverse[:3, 3])
