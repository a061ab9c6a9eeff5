"""The coarse body mask holds all of the body and little else, however a scan is stored."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from medssl.store.body import BodyMask
from medssl.store.find_body import block_edge, find_body, widened
from medssl.store.voxels import Rescale
from medssl.volume import Volume

SHAPE = (104, 84, 20)  # along right, front, top
SPACING = (4.0, 4.0, 8.0)


def grid(shape: Any = SHAPE, spacing: Any = SPACING) -> list[Any]:
    """Millimetres from the middle along each axis."""
    lines = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    return list(np.meshgrid(*lines, indexing="ij"))


def thorax(shape: Any = SHAPE, spacing: Any = SPACING) -> tuple[Any, Any, Any]:
    """(HU, body with its lungs, table): a chest with two arms, on a hollow table."""
    x, y, z = grid(shape, spacing)
    body = (x / 110) ** 2 + (y / 80) ** 2 < 1
    for side in (-1, 1):
        body |= (x - side * 160) ** 2 + y**2 < 30**2
    lungs = sum((((x - s * 50) / 35) ** 2 + (y / 55) ** 2 < 1) for s in (-1, 1)).astype(bool)
    shell = (np.abs(y + 130) < 22) & (np.abs(x) < 180)
    hollow = (np.abs(y + 130) < 17) & (np.abs(x) < 175)
    hu = np.full(x.shape, -1000.0)
    hu[body] = 40.0
    hu[lungs] = -850.0
    hu[shell] = 0.0
    hu[hollow] = -880.0
    hu[(np.abs(x - 190) < 5) & (np.abs(y - 150) < 5) & (np.abs(z) < 9)] = 300.0
    hu += np.random.default_rng(0).normal(0, 25, hu.shape)
    return np.rint(hu).astype(np.int16), body, shell


def voxels(mask: BodyMask, shape: Any) -> Any:
    """A block mask voxel by voxel, by its definition."""
    index = [np.arange(n) // e for n, e in zip(shape, mask.edge, strict=True)]
    return mask.blocks[np.ix_(*index)]


def affine_of(spacing: Any = SPACING) -> Any:
    return np.diag([*spacing, 1.0])


def stored_as(values: Any, order: Any, flips: Any) -> tuple[Any, Any]:
    """The same scan with its axes in another order and direction, and its affine."""
    affine = affine_of()[:, [*order, 3]]
    values = values.transpose(order)
    for axis in np.flatnonzero(flips):
        affine[:3, 3] += affine[:3, axis] * (values.shape[axis] - 1)
        affine[:3, axis] *= -1
        values = np.flip(values, axis)
    return values, affine


@pytest.fixture(scope="module")
def chest() -> tuple[Any, Any, Any]:
    return thorax()


def near(body: Any, spacing: Any, reach_mm: float) -> Any:
    return ndimage.distance_transform_edt(~body, sampling=spacing) <= reach_mm


def judged(mask: Any, body: Any, spacing: Any, edge_mm: float) -> None:
    assert mask[body].all(), "no body is cut, and lungs are body"
    assert not mask[~near(body, spacing, 3.5 * edge_mm)].any()


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_body_with_lungs_and_arms_is_found_and_no_table(chest: Any, order: Any) -> None:
    hu, body, table = chest
    for flips in product((False, True), repeat=3):
        stored, affine = stored_as(hu, order, flips)
        mask = find_body(Volume(stored, affine, "CT", "HU"))
        truth, _ = stored_as(body, order, flips)
        shell, _ = stored_as(table, order, flips)
        spacing = np.asarray(SPACING)[list(order)]
        found = voxels(mask, stored.shape)
        judged(found, truth, spacing, 8.0)
        assert found[shell].mean() < 0.05


def test_an_oblique_and_sheared_scan_is_treated_along_its_nearest_axes(chest: Any) -> None:
    hu, body, _ = chest
    angle = np.deg2rad(25)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ affine_of()
    affine[0, 2] += 2.0
    judged(voxels(find_body(Volume(hu, affine, "CT", "HU")), SHAPE), body, SPACING, 9.0)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((208, 168, 9), (2.0, 2.0, 10.0)),
        ((300, 241, 7), (1.4, 1.4, 5.0)),
        ((101, 83, 1), (4.0, 4.0, 5.0)),
    ],
)
def test_thin_scans_and_odd_sizes(shape: Any, spacing: Any) -> None:
    hu, body, _ = thorax(shape, spacing)
    volume = Volume(hu, affine_of(spacing), "CT", "HU")
    mask = find_body(volume)
    assert mask.blocks.shape == tuple(-(-n // e) for n, e in zip(shape, mask.edge, strict=True))
    judged(voxels(mask, shape), body, spacing, max(np.asarray(mask.edge) * spacing))


def test_blocks_are_four_to_eight_millimetres_and_there_are_enough() -> None:
    for spacing in np.geomspace(0.3, 4.0, 200):
        volume = Volume(np.zeros((700, 600, 64)), affine_of((spacing,) * 3))
        step, edge = block_edge(volume)
        assert all(e % s == 0 for e, s in zip(edge, step, strict=True))
        assert all(e // s <= 6 for e, s in zip(edge, step, strict=True))
        for n, e in zip(volume.shape, edge, strict=True):
            assert e == 1 or n // e >= 32
            assert e * spacing <= 8
        if spacing * 18 >= 6:
            assert edge[0] * spacing >= 4 or spacing * 2 > 4


def test_rescale_by_slice_or_falling_does_not_matter(chest: Any) -> None:
    hu, _, _ = chest
    plain = find_body(Volume(hu, affine_of(), "CT", "HU"))
    slope = np.linspace(1.0, 2.0, SHAPE[0])
    intercept = np.linspace(-10.0, 10.0, SHAPE[0])
    stored = (hu - intercept[:, None, None]) / slope[:, None, None]
    turned = (
        (stored.astype(np.float32), Rescale(slope, intercept)),
        ((-hu - 1024).astype(np.int16), Rescale(-1.0, -1024.0)),
        ((hu + 2000).astype(np.uint16), Rescale(1.0, -2000.0)),
    )
    for numbers, rescale in turned:
        mask = find_body(Volume(numbers, affine_of(), "CT", "HU"), rescale)
        assert (mask.blocks == plain.blocks).mean() > 0.999


def test_padding_is_neither_body_nor_wall() -> None:
    hu, body, _ = thorax()
    x, y, _ = grid()
    outside = x**2 + y**2 > 195**2
    for number in (-2000, 3000):  # bright padding would else be the largest body of all
        stored = np.where(outside, number, hu).astype(np.int16)
        volume = Volume(stored, affine_of(), "CT", "HU")
        found = voxels(find_body(volume, padding=(number, number)), SHAPE)
        judged(found, body, SPACING, 8.0)
        deep = ndimage.binary_erosion(outside, iterations=3, border_value=1)
        assert not found[deep].any()


def test_lungs_that_the_field_of_view_cuts_are_body_and_air_beside_is_not() -> None:
    hu, body, _ = thorax()
    part = (slice(40, 64), slice(30, 54))  # both lungs reach the edge of the slices
    found = voxels(find_body(Volume(hu[part], affine_of(), "CT", "HU")), hu[part].shape)
    assert found.all()
    beside = (slice(52, 104), slice(0, 84))  # half a chest: a lung at the edge, and air
    found = voxels(find_body(Volume(hu[beside], affine_of(), "CT", "HU")), hu[beside].shape)
    judged(found, body[beside], SPACING, 8.0)


def other_modality(noise: float) -> tuple[Any, Any]:
    _, body, _ = thorax()
    rng = np.random.default_rng(1)
    signal = np.where(body, 300.0, 0.0)
    signal += 2000 * ((grid()[0] ** 2 + grid()[1] ** 2) < 12**2)
    real, imaginary = rng.normal(0, noise, (2, *SHAPE))
    return np.hypot(signal + real, imaginary).astype(np.float32), body


@pytest.mark.parametrize("modality", ["MR", "PT"])
def test_mr_and_pet_with_noise_in_the_air(modality: Any) -> None:
    values, body = other_modality(4.0 if modality == "PT" else 12.0)
    units = "SUV" if modality == "PT" else "arbitrary"
    found = voxels(find_body(Volume(values, affine_of(), modality, units)), SHAPE)
    judged(found, body, SPACING, 8.0)


def test_a_small_sharp_object_is_found_whole() -> None:
    values = np.zeros((28, 28, 28), np.uint8)
    values[10:14, 9:20, 12:14] = 1
    found = voxels(find_body(Volume(values, np.eye(4), "OT", "arbitrary")), values.shape)
    assert found[values > 0].all()
    assert found.mean() < 0.05


@pytest.mark.parametrize("value", [-1000, 0, 500])
def test_a_volume_without_contrast_counts_as_whole(value: int) -> None:
    volume = Volume(np.full((9, 8, 7), value, np.int16), np.eye(4), "CT", "HU")
    assert voxels(find_body(volume), (9, 8, 7)).all()
    assert voxels(find_body(volume, padding=(value, value)), (9, 8, 7)).all()
    plain = Volume(volume.voxels, np.eye(4), "MR", "arbitrary")
    assert voxels(find_body(plain), (9, 8, 7)).all()


def test_widening_takes_every_neighbour() -> None:
    rng = np.random.default_rng(3)
    blocks = rng.random((7, 1, 9)) < 0.1
    for times in (1, 2):
        naive = ndimage.binary_dilation(blocks, np.ones((3, 3, 3)), iterations=times)
        np.testing.assert_array_equal(widened(blocks, times), naive)
