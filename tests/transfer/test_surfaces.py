"""Surface distances against MONAI, against loops over all pairs, and where a mask is empty."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage

from medssl.transfer.surfaces import diagonal_mm, nsd_and_hd95

SHAPE = (14, 17, 11)
AFFINES = {
    "upright": np.diag([0.7, 1.3, 2.5, 1.0]),
    "sheared": np.array([[0.7, 0, 0.4, 5], [0.1, -1.3, 1.1, 0], [0, 0.3, 2.5, -9], [0, 0, 0, 1.0]]),
}


def blobs(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    return np.asarray(ndimage.gaussian_filter(noise, 1.5) > 0.06)


def by_monai(predicted: np.ndarray, reference: np.ndarray, affine: np.ndarray, mm: float):
    masks = [torch.from_numpy(m)[None, None].float() for m in (predicted, reference)]
    spacing = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    nsd = compute_surface_dice(*masks, class_thresholds=[mm], spacing=spacing)
    hd95 = compute_hausdorff_distance(*masks, percentile=95, spacing=spacing)
    return float(nsd), float(hd95)


def surface_points(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Voxels that have one of the six neighbours outside the mask or the image, in mm."""
    points = []
    for index in np.argwhere(mask):
        for axis, step in itertools.product(range(3), (-1, 1)):
            beside = index.copy()
            beside[axis] += step
            inside = 0 <= beside[axis] < mask.shape[axis]
            if not inside or not mask[tuple(beside)]:
                points.append(affine[:3, :3] @ index + affine[:3, 3])
                break
    return np.array(points)


def by_loop(predicted: np.ndarray, reference: np.ndarray, affine: np.ndarray, mm: float):
    a, b = surface_points(predicted, affine), surface_points(reference, affine)
    apart = np.linalg.norm(a[:, None] - b[None], axis=-1)
    of_a, of_b = apart.min(axis=1), apart.min(axis=0)
    nsd = ((of_a <= mm).sum() + (of_b <= mm).sum()) / (len(a) + len(b))
    return nsd, max(np.percentile(of_a, 95), np.percentile(of_b, 95))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mm", [0.5, 2.0])
def test_on_an_upright_grid_monai_finds_the_same(seed: int, mm: float) -> None:
    predicted, reference = blobs(seed), blobs(seed + 100)
    found = nsd_and_hd95(predicted, reference, AFFINES["upright"], mm)
    assert found == pytest.approx(by_monai(predicted, reference, AFFINES["upright"], mm), abs=1e-5)


@pytest.mark.parametrize("grid", AFFINES)
@pytest.mark.parametrize("seed", range(3))
def test_a_loop_over_all_pairs_of_voxels_finds_the_same(grid: str, seed: int) -> None:
    predicted, reference = blobs(seed), blobs(seed) ^ (blobs(seed + 50) & (blobs(seed + 60)))
    found = nsd_and_hd95(predicted, reference, AFFINES[grid], 1.0)
    expected = by_loop(predicted, reference, AFFINES[grid], 1.0)
    assert 0 < expected[0] < 1
    assert found == pytest.approx(expected, abs=1e-12)


def test_a_shear_is_not_what_the_spacing_alone_says() -> None:
    predicted, reference = blobs(1), blobs(101)
    sheared = AFFINES["sheared"]
    by_spacing = by_monai(predicted, reference, sheared, 1.0)[1]
    assert abs(nsd_and_hd95(predicted, reference, sheared, 1.0)[1] - by_spacing) > 0.1


def test_a_shift_of_one_voxel_is_its_spacing() -> None:
    ball = np.zeros((9, 9, 9), dtype=bool)
    ball[3:6, 3:6, 3:6] = True
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    shifted = np.roll(ball, 1, axis=2)
    nsd, hd95_mm = nsd_and_hd95(ball, shifted, affine, 2.0)
    assert hd95_mm == 3.0
    assert nsd == pytest.approx(by_monai(ball, shifted, affine, 2.0)[0])
    assert nsd_and_hd95(ball, shifted, affine, 3.0)[0] == 1.0
    assert nsd_and_hd95(ball, ball, affine, 0.1) == (1.0, 0.0)


def test_masks_are_at_the_images_border_and_of_one_voxel() -> None:
    predicted, reference = np.zeros((2, *SHAPE), dtype=bool)
    predicted[0, 0, 0] = reference[-1, -1, -1] = True
    _, hd95_mm = nsd_and_hd95(predicted, reference, AFFINES["upright"], 2.0)
    assert hd95_mm == pytest.approx(np.linalg.norm(np.array([13, 16, 10]) * [0.7, 1.3, 2.5]))
    full = np.ones(SHAPE, dtype=bool)
    found = nsd_and_hd95(full, reference, AFFINES["upright"], 2.0)
    assert found == pytest.approx(by_monai(full, reference, AFFINES["upright"], 2.0), abs=1e-5)


def test_empty_masks_count_as_stated() -> None:
    empty, some = np.zeros(SHAPE, dtype=bool), blobs(0)
    affine = AFFINES["upright"]
    assert np.isnan(nsd_and_hd95(empty, empty, affine, 2.0)).all()
    diagonal = float(np.linalg.norm(np.array(SHAPE) * [0.7, 1.3, 2.5]))
    assert nsd_and_hd95(empty, some, affine, 2.0) == (0.0, pytest.approx(diagonal))
    assert nsd_and_hd95(some, empty, affine, 2.0) == (0.0, pytest.approx(diagonal))


def test_the_diagonal_is_the_longest_way_between_corners() -> None:
    affine = AFFINES["sheared"]
    ends = [np.array(c) * SHAPE for c in itertools.product((0, 1), repeat=3)]
    corners = [affine[:3, :3] @ end for end in ends]
    longest = max(np.linalg.norm(a - b) for a in corners for b in corners)
    assert diagonal_mm(SHAPE, affine) == pytest.approx(longest)
