"""One affine map from a patch to a scan, and one interpolation along it.

Spacing, rotation, scale, flip and crop are composed into the map; the box of voxels that it needs
is read, normalised and sampled once. Where the map steps over more than one and a half voxels the
box is averaged first, so that fine structure is blurred and not folded into false patterns.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.nn.functional as F

from medssl.augment.config import PatchConfig, SpatialConfig
from medssl.augment.normalise import Normaliser, normaliser_of
from medssl.store import Store
from medssl.store.store import affine_of
from medssl.store.voxels import Rescale
from medssl.volume import Affine, Array, Box, ras_order, spacing_of

_AXES = {"left-right": 0, "back-front": 1, "bottom-top": 2}
_CACHE_BYTES = 2 * 2**30
_FOLDING_STEP = 1.5


@dataclass(frozen=True)
class Grid:
    """What the sampler needs to know of one volume."""

    uid: str
    affine: Affine
    shape: tuple[int, int, int]
    order: tuple[int, int, int]  # which array axis lies along right, front and top
    spacing_ras_mm: npt.NDArray[np.float64]
    foreground: npt.NDArray[np.float64]  # (3, 2) start and stop along the array's axes
    normalise: Normaliser


@dataclass(frozen=True)
class Patch:
    """A sampled patch: image (1, D, H, W) float32, valid (1, D, H, W), mask (1, D, H, W) int64."""

    image: torch.Tensor
    valid: torch.Tensor
    mask: torch.Tensor | None = None


@dataclass(frozen=True)
class Pose:
    """A drawn rotation (3x3), magnification and flip of a patch."""

    rotation: npt.NDArray[np.float64]
    magnification: float
    flips: npt.NDArray[np.float64]

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """3x3, from millimetres along the patch's axes to millimetres in RAS."""
        return np.asarray(self.rotation @ np.diag(self.flips / self.magnification))


UPRIGHT = Pose(np.eye(3), 1.0, np.ones(3))


def draw_pose(config: SpatialConfig, rng: np.random.Generator) -> Pose:
    """Draw rotation, magnification and flips; every call takes the same number of draws."""
    angles = np.deg2rad(rng.uniform(-config.rotate_deg, config.rotate_deg, 3))
    rotate, scale = rng.random(2)
    magnification = np.exp(rng.uniform(*np.log(config.scale)))
    coins = rng.random(3) < 0.5
    flips = np.ones(3)
    for name in config.flip:
        flips[_AXES[name]] = -1.0 if coins[_AXES[name]] else 1.0
    return Pose(
        _rotation(angles) if rotate < config.rotate_probability else np.eye(3),
        float(magnification) if scale < config.scale_probability else 1.0,
        flips,
    )


def patch_to_world(
    centre_mm: npt.NDArray[np.float64],
    size: tuple[int, int, int],
    spacing_mm: npt.NDArray[np.float64],
    pose: Pose = UPRIGHT,
) -> Affine:
    """4x4, from the index of a patch's voxel to RAS millimetres; `centre_mm` is its middle."""
    world = np.eye(4)
    world[:3, :3] = pose.matrix @ np.diag(spacing_mm)
    world[:3, 3] = centre_mm - world[:3, :3] @ ((np.array(size) - 1) / 2)
    return world


class PatchReader:
    """Cuts patches out of the volumes of `rows`. Safe to use from several threads.

    Volumes are kept in memory as they are stored, the least recently used leaving first, up to
    `cache_bytes`; this changes the speed alone.
    """

    def __init__(self, store: Store, rows: pd.DataFrame, cache_bytes: int = _CACHE_BYTES) -> None:
        self.store = store
        self.grids = [_grid_of(row) for _, row in rows.iterrows()]
        self._by_uid = {grid.uid: grid for grid in self.grids}
        self._cache: OrderedDict[tuple[str, str], tuple[Array, Rescale]] = OrderedDict()
        self._free = self._budget = cache_bytes
        self._lock = threading.Lock()

    def grid(self, uid: str) -> Grid:
        """The grid of one volume."""
        return self._by_uid[uid]

    def spacing_mm(self, grid: Grid, patch: PatchConfig) -> npt.NDArray[np.float64]:
        """Spacing of a patch along right, front and top: the configured one, or the scan's own."""
        if patch.spacing_mm is None:
            return grid.spacing_ras_mm
        return np.broadcast_to(np.asarray(patch.spacing_mm, dtype=np.float64), (3,)).copy()

    def sample(
        self, grid: Grid, world: Affine, size: tuple[int, int, int], mask: str | None = None
    ) -> Patch:
        """Interpolate a patch: trilinear for the image, nearest for the mask named `mask`.

        Outside the scan the image is its background and `valid` is False.
        """
        to_voxel = np.linalg.inv(grid.affine) @ world
        index = _patch_index(size)
        places = index @ to_voxel[:3, :3].T.astype(np.float64) + to_voxel[:3, 3]
        limits = np.array(grid.shape)
        valid = torch.from_numpy(((places > -0.5) & (places < limits - 0.5)).all(axis=-1))
        box = _box(places, limits)
        background = grid.normalise.background
        if box is None:
            image = torch.full(size, background)
            labels = torch.zeros(size, dtype=torch.int64)
            return Patch(image[None], valid[None], labels[None] if mask else None)
        stored, rescale = self._read(grid.uid, "", box)
        values = torch.from_numpy(grid.normalise(rescale.apply(stored, box[0][0])))
        local = places - np.array([start for start, _ in box])
        values, coarse = _average(values, local, np.abs(to_voxel[:3, :3]).max(axis=1))
        image = _interpolate(values, coarse, "bilinear")
        image[~valid] = background
        marks = None
        if mask is not None:
            marked, _ = self._read(grid.uid, mask, box)
            drawn = _interpolate(torch.from_numpy(marked.astype(np.float32)), local, "nearest")
            marks = (drawn * valid).round().to(torch.int64)[None]
        return Patch(image[None], valid[None], marks)

    def _read(self, uid: str, mask: str, box: Box) -> tuple[Array, Rescale]:
        """The stored numbers of a box of a volume, or of its mask."""
        key = (uid, mask)
        with self._lock:
            held = self._cache.get(key)
            if held is not None:
                self._cache.move_to_end(key)
        if held is None:
            grid = self._by_uid[uid]
            if not mask and int(np.prod(grid.shape)) * 2 > self._budget // 8:
                return self.store.read_stored(uid, box)
            held = (self.store.read_label(uid, mask).voxels, Rescale()) if mask else None
            held = held or self.store.read_stored(uid)
            self._hold(key, held)
        region = tuple(slice(start, stop) for start, stop in box)
        return held[0][region], held[1]

    def _hold(self, key: tuple[str, str], value: tuple[Array, Rescale]) -> None:
        with self._lock:
            if key in self._cache:
                return
            self._cache[key] = value
            self._free -= value[0].nbytes
            while self._free < 0 and self._cache:
                _, (dropped, _) = self._cache.popitem(last=False)
                self._free += dropped.nbytes


def _grid_of(row: pd.Series[Any]) -> Grid:
    affine = affine_of(row)
    order, _ = ras_order(affine)
    ends = [[row[f"foreground_{a}_start"], row[f"foreground_{a}_stop"]] for a in range(3)]
    return Grid(
        str(row["volume_uid"]),
        affine,
        (int(row["shape_0"]), int(row["shape_1"]), int(row["shape_2"])),
        (order[0], order[1], order[2]),
        spacing_of(affine)[order],
        np.array(ends, dtype=np.float64),
        normaliser_of({str(name): value for name, value in row.items()}),
    )


def _rotation(angles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rotations about the three axes in turn, 3x3."""
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [a for a in range(3) if a != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def _patch_index(size: tuple[int, int, int]) -> npt.NDArray[np.float64]:
    """(D, H, W, 3) indices of a patch's voxels."""
    return np.stack(np.meshgrid(*(np.arange(n, dtype=np.float64) for n in size), indexing="ij"), -1)


def _box(places: npt.NDArray[np.float64], limits: npt.NDArray[np.int64]) -> Box | None:
    """The voxels that trilinear sampling at `places` can touch; None where it touches none."""
    flat = places.reshape(-1, 3)
    start = np.clip(np.floor(flat.min(axis=0)).astype(int), 0, limits)
    stop = np.clip(np.floor(flat.max(axis=0)).astype(int) + 2, 0, limits)
    if (stop <= start).any():
        return None
    (a, b), (c, d), (e, f) = ((int(s), int(t)) for s, t in zip(start, stop, strict=True))
    return (a, b), (c, d), (e, f)


def _average(
    values: torch.Tensor,
    places: npt.NDArray[np.float64],
    steps: npt.NDArray[np.float64],
) -> tuple[torch.Tensor, npt.NDArray[np.float64]]:
    """Average over whole voxels along axes on which neighbouring samples lie `steps` apart.

    Returns the smaller block and the places in it.
    """
    factors = np.where(steps > _FOLDING_STEP, np.rint(steps), 1).astype(int)
    factors = np.minimum(factors, values.shape)
    if (factors == 1).all():
        return values, places
    kernel = [int(f) for f in factors]
    pooled = F.avg_pool3d(values[None, None], kernel, ceil_mode=True, count_include_pad=False)
    return pooled[0, 0], (places - (factors - 1) / 2) / factors


def _interpolate(
    values: torch.Tensor, places: npt.NDArray[np.float64], mode: Literal["bilinear", "nearest"]
) -> torch.Tensor:
    """Values (D, H, W) at places (d, h, w, 3) in voxels; places outside take the edge's value.

    torch's grid_sample: "bilinear" is trilinear in three dimensions.
    """
    limits = np.maximum(np.array(values.shape) - 1, 1)
    grid = torch.from_numpy((2 * places / limits - 1)[..., ::-1].astype(np.float32))
    sampled = F.grid_sample(
        values[None, None], grid[None], mode, padding_mode="border", align_corners=True
    )
    return sampled[0, 0]
