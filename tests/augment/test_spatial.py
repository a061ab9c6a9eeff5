"""The fused sampler against what is known of the scan in world space."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medssl.augment import spatial
from medssl.augment.config import PatchConfig, SpatialConfig
from medssl.augment.normalise import Normaliser
from medssl.augment.placement import Pose, compose_map, rotation_about
from medssl.augment.prefilter import windows
from medssl.augment.reader import Reader
from medssl.augment.scan_info import ScanInfo
from medssl.augment.spatial import draw_map, sample, sample_volume
from medssl.store import Store
from medssl.store.voxels import Rescale
from medssl.volume import Volume

AS_IT_IS = Normaliser("OT", -1e30, 1e30, centre=0.0, scale=1.0)
CODES = [
    "".join(c)
    for order in ("RAS", "SRA", "ASR", "ARS", "SAR", "RSA")
    for c in [order, order.translate(str.maketrans("RAS", "LPI")), order.replace("R", "L")]
]
POSES = st.builds(
    lambda angles, scale, flip: Pose(rotation_about(np.deg2rad(angles)), scale, flip),
    st.tuples(*[st.sampled_from([0.0, 0.0, -31.0, 12.5, 90.0])] * 3),
    st.sampled_from([1.0, 0.8, 1.3]),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
)


class FromMemory(Reader):
    """A reader of one array, which notes the boxes that it was asked for."""

    def __init__(
        self,
        stored: Any,
        rescale: Rescale | None = None,
        mask: Any = None,
        padding: tuple[float, float] | None = None,
    ) -> None:
        self.stored, self.mask, self.unmeasured = stored, mask, padding
        self.rescale = rescale or Rescale()
        self.boxes: list[Any] = []

    def read(self, volume_uid: str, box: Any) -> tuple[Any, Rescale]:
        self.boxes.append(box)
        return self.stored[tuple(slice(*ends) for ends in box)], self.rescale

    def padding(self, volume_uid: str) -> tuple[float, float] | None:
        return self.unmeasured

    def read_mask(self, volume_uid: str, box: Any, name: str = "mask") -> Any:
        return self.mask[tuple(slice(*ends) for ends in box)]


def scan_of(shape: tuple[int, int, int], affine: Any) -> ScanInfo:
    whole = tuple((0, n) for n in shape)
    return ScanInfo("0" * 32, shape, affine, whole, "OT", AS_IT_IS)  # type: ignore[arg-type]


def affine_like(codes: str, spacing: tuple[float, ...], angle: float, shear: float) -> Any:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (code, step) in enumerate(zip(codes, spacing, strict=True)):
        affine["RLAPSI".index(code) // 2, axis] = step if code in "RAS" else -step
    affine[:3, :3] = rotation_about(np.deg2rad([angle, -angle / 2, angle / 3])) @ affine[:3, :3]
    affine[:3, 2] += shear * affine[:3, 1]
    affine[:3, 3] = [13.7, -41.2, 5.9]
    return affine


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(CODES),
    st.tuples(*[st.sampled_from([0.7, 1.0, 0.9375, 3.3])] * 3),
    st.tuples(*[st.integers(1, 17)] * 3),
    st.tuples(*[st.integers(1, 17)] * 3),
    st.sampled_from([np.int16, np.uint8, np.uint16, np.int32, np.float32]),
    st.sampled_from([0.0, 8.0]),
    st.integers(0, 2**32 - 1),
)
def test_own_spacing_and_no_augmentation_give_the_stored_voxels(
    codes: str,
    spacing: tuple[float, float, float],
    shape: tuple[int, int, int],
    size: tuple[int, int, int],
    dtype: Any,
    angle: float,
    seed: int,
) -> None:
    stored = np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)
    affine = affine_like(codes, spacing, angle, shear=0.0)
    rescale = Rescale(0.37, -11.3)
    scan = scan_of(shape, affine)
    patch = sample_volume(FromMemory(stored, rescale), scan, size)
    ras = Volume(rescale.apply(stored), affine).to_ras()
    where = np.rint(np.linalg.solve(ras.affine, patch.affine)).astype(int)
    assert (where[:3, :3] == np.eye(3)).all()
    for axis in range(3):
        outside = max(0, size[axis] - ras.shape[axis])
        # The scan is in the middle of the patch, or the patch in the middle of the scan.
        assert abs(2 * where[axis, 3] - (ras.shape[axis] - size[axis])) <= 1
        inside = np.delete(np.arange(3), axis)
        assert (~patch.valid.any(axis=tuple(inside))).sum() == outside
    cut = tuple(
        slice(max(0, where[a, 3]), max(0, where[a, 3]) + min(size[a], ras.shape[a]))
        for a in range(3)
    )
    expected = ras.voxels[cut]
    # The sampler multiplies in float32.
    np.testing.assert_allclose(patch.image[patch.valid], expected.ravel(), rtol=0, atol=2e-5)
    assert (patch.image[~patch.valid] == np.float32(AS_IT_IS.background)).all()


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(CODES),
    st.tuples(*[st.sampled_from([0.8, 1.0, 2.5])] * 3),
    st.sampled_from([0.0, 17.0]),
    st.sampled_from([0.0, 0.25]),
    st.tuples(*[st.integers(8, 21)] * 3),
    st.tuples(*[st.integers(1, 13)] * 3),
    st.sampled_from([None, 1.1, (0.9, 1.0, 2.0), 3.0]),
    POSES,
)
def test_a_ramp_in_world_space_comes_out_as_it_is(
    codes: str,
    spacing: tuple[float, float, float],
    angle: float,
    shear: float,
    shape: tuple[int, int, int],
    size: tuple[int, int, int],
    patch_spacing: Any,
    pose: Pose,
) -> None:
    affine = affine_like(codes, spacing, angle, shear)
    gradient, level = np.array([0.31, -0.22, 0.17]), 2.0
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    stored = (world @ gradient + level).astype(np.float32)
    scan = scan_of(shape, affine)
    centre = scan.centre_mm + np.array([1.3, -0.7, 0.4])
    matrix = compose_map(scan, size, scan.patch_spacing(patch_spacing), centre, pose)
    patch = sample(FromMemory(stored), scan, matrix, size)
    where = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), -1)
    at = where @ matrix[:3, :3].T + matrix[:3, 3]
    expected = (where @ patch.affine[:3, :3].T + patch.affine[:3, 3]) @ gradient + level
    # Up to the outermost voxels' centres; where voxels are averaged, their windows lie in the scan.
    margins = [w.factor + len(w.weights) / 2 if w.weights[1:] else 0 for w in windows(matrix)]
    low = np.array(margins)
    high = np.asarray(shape) - 1 - low
    between = ((at >= low) & (at <= high)).all(axis=-1)
    assert np.abs(patch.image - expected)[between].max(initial=0.0) < 1e-4
    in_scan = ((at >= -0.499) & (at <= np.asarray(shape) - 0.501)).all(axis=-1)
    assert patch.valid[in_scan].all()
    beyond = ((at < -0.501) | (at > np.asarray(shape) - 0.499)).any(axis=-1)
    assert not patch.valid[beyond].any()


def test_padding_is_background_and_not_valid() -> None:
    """What a scanner painted outside its field of view is no measurement, and no very dense air."""
    stored = np.full((14, 13, 12), 100, np.int16)
    stored[:5] = -2000
    scan = scan_of(stored.shape, np.eye(4))
    reader = FromMemory(stored, padding=(-2000.0, -2000.0))
    patch = sample_volume(reader, scan, (12, 11, 10), 1.0, scale=1.1, with_mask=False)
    where = patch.map[0, 0] * np.arange(12) + patch.map[0, 3]
    assert 0 < (where < 4.5).sum() < 12
    assert (patch.valid == (where >= 4.5)[:, None, None]).all()
    assert (patch.image[~patch.valid] == np.float32(AS_IT_IS.background)).all()


@pytest.mark.parametrize("thin", [0, 1, 2])
def test_a_thin_scan_keeps_its_few_slices(thin: int) -> None:
    """12 slices of many voxels, along any axis: values stay those of a ramp along the slices."""
    shape = tuple(12 if axis == thin else 512 for axis in range(3))
    ramp = np.arange(12, dtype=np.int16).reshape([-1 if a == thin else 1 for a in range(3)])
    stored = np.ascontiguousarray(np.broadcast_to(ramp * 100, shape))
    spacing = np.where(np.arange(3) == thin, 5.0, 0.7)
    scan = scan_of(shape, np.diag([*spacing, 1.0]))
    size = tuple(16 if axis == thin else 33 for axis in range(3))
    patch = sample_volume(FromMemory(stored), scan, size, tuple(spacing), scale=1.13)
    at = patch.map[thin, thin] * np.arange(16) + patch.map[thin, 3]
    inside = (at >= 0) & (at <= 11)
    assert inside.sum() >= 12
    lines = np.moveaxis(patch.image, thin, 0)
    expected = (100 * at[inside])[:, None, None]
    np.testing.assert_allclose(
        lines[inside], np.broadcast_to(expected, lines[inside].shape), atol=0.05
    )


def test_a_sheared_scan_comes_out_straight() -> None:
    """Axes of a patch are perpendicular and as long as was asked, whatever those of the scan."""
    affine = affine_like("SAR", (3.0, 1.0, 1.0), 8.0, shear=0.25)
    stored = np.zeros((9, 10, 11), np.float32)
    patch = sample_volume(FromMemory(stored), scan_of(stored.shape, affine), (6, 6, 6), 1.5)
    axes = patch.affine[:3, :3]
    assert np.abs(axes.T @ axes - 1.5**2 * np.eye(3)).max() < 1e-6


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.sampled_from([None, 1.3]),
    st.sampled_from([(9, 10, 7), (4, 4, 20)]),
)
def test_flips_mirror_the_patch_exactly(
    flip: tuple[bool, bool, bool], spacing: float | None, size: tuple[int, int, int]
) -> None:
    stored = np.random.default_rng(1).integers(0, 99, (14, 13, 12)).astype(np.int16)
    scan = scan_of(stored.shape, affine_like("LPS", (1.0, 1.0, 1.2), 0.0, 0.0))
    plain, mirrored = (
        sample_volume(FromMemory(stored), scan, size, spacing, flip=f)
        for f in ((False, False, False), flip)
    )
    axes = tuple(a for a in range(3) if flip[a])
    difference = np.abs(np.flip(plain.image, axes) - mirrored.image).max()
    # Exact where nothing is interpolated; else the weights are mirrored to rounding.
    assert difference <= (0.0 if spacing is None else 1e-4)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CODES), POSES, st.sampled_from([None, 1.0, 0.6]))
def test_mask_and_image_stay_aligned(codes: str, pose: Pose, spacing: float | None) -> None:
    rng = np.random.default_rng(2)
    mask = np.kron(rng.integers(0, 2, (4, 4, 4)), np.ones((5, 5, 5))).astype(np.uint8)
    affine = affine_like(codes, (1.0, 1.0, 1.0), 11.0, 0.0)
    scan = scan_of(mask.shape, affine)
    matrix = compose_map(scan, (15, 14, 13), scan.patch_spacing(spacing), scan.centre_mm, pose)
    assume(windows(matrix) == spatial.FINE)
    reader = FromMemory(mask.astype(np.float32), mask=mask)
    patch = sample(reader, scan, matrix, (15, 14, 13), "mask")
    assert patch.mask is not None
    assert patch.mask.dtype == np.int64
    inside = patch.valid
    assert set(np.unique(patch.mask)) <= {0, 1}
    # Where all eight neighbours agree the image is the mask; elsewhere it is nearest by weight.
    assert (patch.mask[inside & (patch.image > 0.999)] == 1).all()
    assert (patch.mask[inside & (patch.image < 0.001)] == 0).all()
    assert (patch.mask[~inside] == 0).all()


def test_only_the_needed_box_is_read() -> None:
    stored = np.zeros((60, 50, 40), dtype=np.int16)
    scan = scan_of(stored.shape, np.eye(4))
    reader = FromMemory(stored)
    centre = np.array([30.5, 20.5, 9.5])
    sample_volume(reader, scan, (8, 6, 4), centre_mm=centre)
    assert reader.boxes == [((27, 35), (18, 24), (8, 12))]
    sample_volume(reader, scan, (8, 8, 8), centre_mm=np.array([300.0, 20, 20]))
    assert len(reader.boxes) == 1, "nothing of the scan is in this patch"


def test_a_patch_beside_the_scan_is_background() -> None:
    stored = np.full((9, 9, 9), 5, dtype=np.int16)
    scan = replace(scan_of(stored.shape, np.eye(4)), normaliser=Normaliser("OT", -3, 9, 0.0, 1.0))
    patch = sample_volume(
        FromMemory(stored, mask=stored), scan, (4, 4, 4), centre_mm=np.full(3, 99.0), with_mask=True
    )
    assert (patch.image == -3).all()
    assert not patch.valid.any()
    assert patch.mask is not None
    assert not patch.mask.any()


def test_stripes_finer_than_the_patch_do_not_alias() -> None:
    stripes = np.zeros((64, 64, 64), dtype=np.float32)
    stripes[::2] = 100.0
    scan = scan_of(stripes.shape, np.eye(4))
    patch = sample_volume(FromMemory(stripes), scan, (16, 16, 16), spacing_mm=2.1)
    # Without a window the stripes come back as waves of up to 100.
    assert np.ptp(patch.image) < 15.0
    assert abs(patch.image.mean() - 50) < 2.0
    turned = sample_volume(
        FromMemory(stripes), scan, (12, 12, 12), 2.1, rotation=rotation_about(np.full(3, 0.3))
    )
    assert np.ptp(turned.image) < 20.0


def test_a_zone_plate_keeps_what_fits_and_loses_what_does_not() -> None:
    # cos(k r^2): local frequency grows with r, and passes the coarse grid's limit half-way out.
    n, spacing = 96, 3.0
    r2 = sum((g - (n - 1) / 2) ** 2 for g in np.meshgrid(*[np.arange(n)] * 2, indexing="ij"))
    plate = np.cos(np.pi * r2 / n)[:, :, None].repeat(4, 2).astype(np.float32)
    scan = scan_of(plate.shape, np.eye(4))
    coarse = sample_volume(FromMemory(plate), scan, (32, 32, 1), (spacing, spacing, 1.0)).image
    naive = plate[1::3, 1::3, :1]
    radius = np.hypot(*np.meshgrid(*[np.arange(32) - 15.5] * 2, indexing="ij")) * spacing
    fits, too_fine = radius < n / (2 * spacing) * 0.5, radius > n / (2 * spacing) * 1.6
    ring = coarse[..., 0]
    assert np.std(ring[too_fine]) < 0.4 * np.std(naive[..., 0][too_fine])
    assert np.abs(ring - naive[..., 0])[fits].max() < 0.35


@pytest.mark.parametrize("size", [(64, 64, 64), (7, 90, 3), (1, 1, 1)])
@pytest.mark.parametrize("spacing", [None, 1.5, (0.5, 0.5, 6.0)])
def test_any_patch_of_any_scan(small_store: Store, size: Any, spacing: Any) -> None:
    reader = Reader(small_store)
    config = PatchConfig(size=size, spacing_mm=spacing)
    spatial_config = SpatialConfig(rotate_probability=1, scale_probability=1, flip=(0, 1, 2))
    for number, (_, row) in enumerate(small_store.manifest.iterrows()):
        scan = ScanInfo.from_row(row)
        matrix = draw_map(np.random.default_rng(number), scan, config, spatial_config)
        patch = sample(reader, scan, matrix, size, "mask")
        assert patch.image.shape == patch.valid.shape == size
        assert patch.image.dtype == np.float32
        assert np.isfinite(patch.image).all()
        assert patch.valid.any()
        background = np.float32(scan.normaliser.background)
        assert (patch.image >= background - 1e-6).all()
        assert (patch.image[~patch.valid] == background).all()


def test_slope_by_slice_is_applied(small_store: Store) -> None:
    uid = f"{2:032x}"
    scan = replace(ScanInfo.from_row(small_store.row(uid)), normaliser=AS_IT_IS)
    volume = small_store.read(uid).to_ras()
    patch = sample_volume(Reader(small_store), scan, volume.shape)
    np.testing.assert_array_equal(patch.image, volume.voxels)
    off = sample_volume(Reader(small_store), scan, (5, 5, 3), centre_mm=scan.centre_mm + 4.0)
    assert off.image.max() <= volume.voxels.max()
    assert off.valid.all()


def test_a_store_and_its_reader_give_the_same(small_store: Store) -> None:
    row = small_store.row(f"{1:032x}")
    kept, read = (
        sample_volume(source, row, (12, 12, 12), 1.1, with_mask=True)
        for source in (Reader(small_store), small_store)
    )
    np.testing.assert_array_equal(kept.image, read.image)
    assert kept.mask is not None
    np.testing.assert_array_equal(kept.mask, read.mask)
