"""What the sampler has to know of a scan, taken from its manifest row once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pandas as pd

from medssl.augment.normalise import Normaliser
from medssl.volume import Affine, Box, Modality, ras_order, spacing_of

_KEPT_SCANS = 1 << 16

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScanInfo:
    """A scan's grid, foreground and normalisation.

    `frame`, `order` and `flipped` describe the scan's own axes in the order right, front, top: the
    orthonormal frame nearest to them. Patches lie along it, so that an oblique scan is not turned
    for nothing and a sheared one is straightened.
    """

    volume_uid: str
    shape: tuple[int, int, int]
    affine: Affine
    foreground: Box
    modality: Modality
    normaliser: Normaliser

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> ScanInfo:
        """Taken from a manifest row (a Series or a dict)."""
        affine = np.eye(4)
        for r in range(3):
            for c in range(4):
                affine[r, c] = row[f"affine_{r}{c}"]
        d, h, w = (int(row[f"shape_{a}"]) for a in range(3))
        x, y, z = (
            (int(row[f"foreground_{a}_start"]), int(row[f"foreground_{a}_stop"])) for a in range(3)
        )
        normaliser = Normaliser.from_row(row)
        return cls(
            str(row["volume_uid"]), (d, h, w), affine, (x, y, z), row["modality"], normaliser
        )

    @cached_property
    def order(self) -> list[int]:
        """The stored axis that lies nearest to right, to front and to top."""
        return ras_order(self.affine)[0]

    @cached_property
    def flipped(self) -> list[bool]:
        """Whether each of these runs the other way."""
        return ras_order(self.affine)[1]

    @cached_property
    def frame(self) -> Vector:
        """(3, 3), columns: unit vectors in RAS millimetres, nearest to the scan's own axes.

        The orthogonal factor of the polar decomposition (Higham 1986); the scan's own axes where
        it is not sheared.
        """
        columns = self.affine[:3, self.order] / spacing_of(self.affine)[self.order]
        columns = columns * np.where(self.flipped, -1.0, 1.0)
        u, _, vt = np.linalg.svd(columns)
        return np.asarray(u @ vt)

    @cached_property
    def spacing_mm(self) -> Vector:
        """(3,), along the axes of `frame`."""
        return np.asarray(spacing_of(self.affine)[self.order])

    @cached_property
    def frame_shape(self) -> tuple[int, int, int]:
        """The scan's size along the axes of `frame`, in its own voxels."""
        d, h, w = (self.shape[a] for a in self.order)
        return d, h, w

    @cached_property
    def centre_mm(self) -> Vector:
        """(3,), RAS millimetres of the middle of the scan."""
        middle = (np.asarray(self.shape, dtype=np.float64) - 1) / 2
        return np.asarray(self.affine[:3, :3] @ middle + self.affine[:3, 3])

    @cached_property
    def to_stored(self) -> Affine:
        """4x4, RAS millimetres -> index of the stored voxel."""
        return np.asarray(np.linalg.inv(self.affine))

    def patch_spacing(self, spacing_mm: float | tuple[float, float, float] | None) -> Vector:
        """(3,), the spacing that is asked for; the scan's own where none is."""
        if spacing_mm is None:
            return self.spacing_mm
        return np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), 3).copy()

    def foreground_mm(self) -> tuple[Vector, Vector]:
        """Where the foreground begins and ends along `frame`, from the middle of the scan, mm."""
        starts, stops = np.zeros(3), np.zeros(3)
        for axis, stored in enumerate(self.order):
            begin, end = (edge - self.shape[stored] / 2 for edge in self.foreground[stored])
            starts[axis], stops[axis] = (-end, -begin) if self.flipped[axis] else (begin, end)
        return starts * self.spacing_mm, stops * self.spacing_mm


class Scans(Sequence[ScanInfo]):
    """The scans of a frame of manifest rows, each made when it is first asked for.

    A frame of columns holds millions of scans in far less memory than as many objects; of these the
    first 65,536 are kept.
    """

    def __init__(self, rows: pd.DataFrame) -> None:
        self._columns = {str(name): rows[name].array for name in rows.columns}
        self._number = len(rows)
        self._kept: dict[int, ScanInfo] = {}

    def __len__(self) -> int:
        return self._number

    @overload
    def __getitem__(self, at: int) -> ScanInfo: ...
    @overload
    def __getitem__(self, at: slice) -> list[ScanInfo]: ...
    def __getitem__(self, at: int | slice) -> ScanInfo | list[ScanInfo]:
        if isinstance(at, slice):
            return [self[n] for n in range(*at.indices(self._number))]
        if not -self._number <= at < self._number:
            raise IndexError(at)
        at %= self._number
        kept = self._kept.get(at)
        if kept is None:
            kept = ScanInfo.from_row({name: column[at] for name, column in self._columns.items()})
            if len(self._kept) < _KEPT_SCANS:
                self._kept[at] = kept
        return kept
