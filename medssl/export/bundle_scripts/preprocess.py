"""From a scan in its own grid and units to what the network was trained on.

The scan is averaged where the training's spacing is coarser than its own, laid on an upright grid
at that spacing by one linear interpolation, then normalised by numbers measured on the scan as it
was stored.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, SpatialResample

from .averaging import averaged

_LEVELS = (0.5, 25.0, 50.0, 75.0, 99.5)
_SAMPLED_VOXELS = 2**18
_IQR_OF_NORMAL = 1.349
_LARGEST_SPAN = 20.0
_BODY_HU = -500.0


class Measured(MapTransform):  # type: ignore[misc]
    """Write a scan's normalisation and the middle of its foreground into its meta data.

    Args:
        units: HU, SUV or arbitrary; what the file's numbers are.
    """

    def __init__(self, keys: str, units: str) -> None:
        super().__init__(keys)
        self.units = units

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        given = dict(data)
        for key in self.key_iterator(given):
            image = given[key]
            voxels = np.asarray(image[0])
            inside = foreground(voxels, self.units)
            image.meta["normalisation"] = normalisation(voxels, inside, self.units)
            image.meta["foreground_middle_mm"] = _middle_mm(inside, image.affine.numpy())
        return given


class OnTrainingGrid(MapTransform, InvertibleTransform):  # type: ignore[misc]
    """Resample to axes towards right, front and top at a spacing; what is outside is background.

    Args:
        spacing_mm: along right, front and top; None keeps the scan's own.
        size: voxels of a crop around the middle of the foreground; None covers the whole scan.
    """

    def __init__(
        self, keys: str, spacing_mm: list[float] | None, size: list[int] | None = None
    ) -> None:
        super().__init__(keys)
        self.spacing_mm, self.size = spacing_mm, size
        self.resample = SpatialResample(mode="bilinear", padding_mode="border")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        given = dict(data)
        for key in self.key_iterator(given):
            image = given[key]
            shape, affine = tuple(image.shape[1:]), image.affine.numpy()
            target, size = self._grid(shape, affine, image.meta["foreground_middle_mm"])
            to_stored = np.linalg.solve(affine, target)
            steps = np.linalg.norm(to_stored[:3, :3], axis=1)
            smooth = image.clone()
            smooth[0] = averaged(image[0].as_tensor(), steps)
            laid = self.resample(smooth, dst_affine=torch.from_numpy(target), spatial_size=size)
            outside = _outside(to_stored, size, shape)
            given[key] = _normalised(laid, image.meta["normalisation"], outside)
        return given

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Back to the scan's own grid, by the same interpolation."""
        given = dict(data)
        for key in self.key_iterator(given):
            given[key] = self.resample.inverse(given[key])
        return given

    def _grid(
        self, shape: tuple[int, ...], affine: Any, middle_mm: Any
    ) -> tuple[Any, tuple[int, ...]]:
        """Affine and size of the grid, upright in the frame nearest to the scan's own axes."""
        frame, own_mm = _frame(affine)
        spacing = own_mm if self.spacing_mm is None else np.asarray(self.spacing_mm)
        if self.size is not None:
            size, centre = tuple(self.size), np.asarray(middle_mm)
        else:
            edges = np.abs(frame.T @ affine[:3, :3]) @ np.asarray(shape, dtype=float)
            size = tuple(int(n) for n in np.maximum(np.ceil(edges / spacing - 1e-3), 1))
            centre = affine[:3, :3] @ ((np.asarray(shape) - 1) / 2) + affine[:3, 3]
        target = np.eye(4)
        target[:3, :3] = frame * spacing
        target[:3, 3] = centre - target[:3, :3] @ ((np.asarray(size) - 1) / 2)
        return target, size


def foreground(voxels: Any, units: str) -> Any:
    """True where there is tissue, (D, H, W).

    Denser than -500 HU; elsewhere what lies above the constant background where there is one, and
    above a tenth of the 99th percentile where there is none.
    """
    if units == "HU":
        mask = voxels > _BODY_HU
    else:
        lowest = float(voxels.min())
        mask = voxels != lowest
        if np.count_nonzero(mask) > 0.95 * voxels.size:
            high = float(np.percentile(voxels[_sub_grid(voxels.shape)], 99))
            mask = voxels > lowest + 0.1 * (high - lowest)
    return mask if mask.any() else np.ones(voxels.shape, dtype=bool)


def normalisation(voxels: Any, inside: Any, units: str) -> dict[str, float]:
    """Clip from `low` to `high`, square root where `root`, subtract `centre`, divide by `scale`."""
    if units == "HU":
        return _numbers(-1000.0, 1000.0, 0.0, 1000.0)
    if units == "SUV":
        return _numbers(0.0, 20.0, 0.0, 1.0, root=True)
    grid = _sub_grid(voxels.shape)
    sample = voxels[grid][inside[grid]]
    levels = np.percentile(sample if sample.size else voxels[inside], _LEVELS)
    low, p25, p50, p75, high = (float(level) for level in levels)
    span = high - low
    if span <= max(1e-6 * max(abs(low), abs(high)), 1e-30):
        half = abs(p50) / 2 if abs(p50) > 1e-30 else 0.5
        return _numbers(p50 - 2 * half, p50, p50 - half, half)
    return _numbers(low, high, p50, max((p75 - p25) / _IQR_OF_NORMAL, span / _LARGEST_SPAN))


def _numbers(
    low: float, high: float, centre: float, scale: float, root: bool = False
) -> dict[str, float]:
    lowest = low**0.5 if root else low
    background = (lowest - centre) / scale
    return {
        "low": low, "high": high, "centre": centre, "scale": scale, "root": float(root),
        "background": background,
    }  # fmt: skip


def _normalised(image: MetaTensor, numbers: dict[str, float], outside: Any) -> MetaTensor:
    values = image.clamp(numbers["low"], numbers["high"])
    if numbers["root"]:
        values = values.sqrt()
    values = (values - numbers["centre"]) / numbers["scale"]
    values[:, torch.from_numpy(outside)] = numbers["background"]
    return values


def _outside(to_stored: Any, size: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """True where a voxel of the grid lies beyond the outer faces of the scan's voxels."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), axis=-1)
    stored = index @ to_stored[:3, :3].T + to_stored[:3, 3]
    last = np.asarray(shape) - 0.5
    return ((stored < -0.5 - 1e-6) | (stored > last + 1e-6)).any(axis=-1)


def _frame(affine: Any) -> tuple[Any, Any]:
    """(3, 3) columns to the right, front and top, nearest to the scan's axes; its spacing, mm."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / spacing
    order = _nearest_axes(directions)
    columns = directions[:, order] * np.sign(directions[range(3), order])
    u, _, vt = np.linalg.svd(columns)
    return u @ vt, spacing[order]


def _nearest_axes(directions: Any) -> list[int]:
    """The scan's axis that lies nearest to right, to front and to top, each taken once."""
    from nibabel.orientations import io_orientation

    world = io_orientation(np.vstack([np.c_[directions, np.zeros(3)], [0, 0, 0, 1]]))[:, 0]
    return [int(np.flatnonzero(world == axis)[0]) for axis in range(3)]


def _middle_mm(inside: Any, affine: Any) -> Any:
    """RAS millimetres of the middle of the foreground's box, (3,)."""
    ends = [np.flatnonzero(inside.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    middle = np.array([(there[0] + there[-1]) / 2 for there in ends])
    return affine[:3, :3] @ middle + affine[:3, 3]


def _sub_grid(shape: tuple[int, ...]) -> tuple[slice, ...]:
    step = max(1, int(np.ceil((np.prod(shape, dtype=float) / _SAMPLED_VOXELS) ** (1 / 3))))
    return tuple(slice(0, n, step if n >= 4 * step else 1) for n in shape)
