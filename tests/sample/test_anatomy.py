from __future__ import annotations

import numpy as np
import pytest

from medssl.sample.canvas import Canvas, Grid, SmoothNoise, capsule, ellipsoid
from medssl.sample.draws import Stream, generator
from medssl.sample.head import render_head
from medssl.sample.patients import draw_patient
from medssl.sample.scanners import CT_SCANNERS, MR_SCANNERS, dicom_grid, mr_image
from medssl.sample.torso import render_torso
from medssl.volume import Volume


def cube(edge_mm: float, n: int) -> Grid:
    affine = np.diag([edge_mm, edge_mm, edge_mm, 1.0])
    affine[:3, 3] = -edge_mm * (n - 1) / 2
    return Grid((n, n, n), affine)


def test_painted_volume_of_a_ball_is_right_on_coarse_grids_too() -> None:
    for edge in (2.0, 5.0):
        grid = cube(edge, int(80 / edge))
        canvas = Canvas(grid, 0.0, grid.points)
        canvas.paint(ellipsoid(grid.points, (1.0, 0.5, -1.0), (25.0, 25.0, 25.0)), 1.0)
        assert canvas.values.sum() * edge**3 == pytest.approx(4 / 3 * np.pi * 25**3, rel=0.04)


def test_depth_of_a_rod_is_its_radius_on_the_axis() -> None:
    grid = cube(2.0, 21)
    depth = capsule(grid.points, (-10.0, 0.0, 0.0), (10.0, 0.0, 0.0), 6.0, 4.0)
    middle = depth[:, 10, 10]
    np.testing.assert_allclose(middle[5:16], np.linspace(6, 4, 11), atol=1e-5)
    assert middle[0] == pytest.approx(6 - 10)


def test_noise_is_one_field_in_space_whatever_the_grid() -> None:
    noise = SmoothNoise(generator(0, 0, Stream.TORSO), 60.0)
    coarse, fine = cube(6.0, 21), cube(3.0, 41)
    difference = noise.at(coarse.points) - noise.at(fine.points)[::2, ::2, ::2]
    assert np.abs(difference).max() < 0.35
    assert noise.at(cube(20.0, 40).points).std() == pytest.approx(1, abs=0.15)


def test_a_patient_looks_alike_to_two_scanners() -> None:
    patient = draw_patient(seed=5, number=1)
    images = []
    for scanner in CT_SCANNERS[:2]:
        grid = dicom_grid(scanner)
        torso = render_torso(5, 1, grid, False, patient.scale, patient.contrast)
        images.append(Volume(torso.hounsfield, grid.affine, "CT", "HU"))
    other = images[1].resampled(images[0].affine, images[0].shape, outside=-1000.0)
    inner = (slice(4, -4), slice(8, -8), slice(8, -8))
    a, b = images[0].voxels[inner].ravel(), other.voxels[inner].ravel()
    assert np.corrcoef(a, b)[0, 1] > 0.93


def test_tissues_of_the_head_have_the_order_of_t1() -> None:
    grid = dicom_grid(MR_SCANNERS[0])
    signal = render_head(0, 0, grid, (1.0, 1.0, 1.0), 0.5)

    def near(x: float, y: float, z: float) -> float:
        index = np.linalg.inv(grid.affine) @ [x, y, z, 1]
        i, j, k = np.rint(index[:3]).astype(int)
        return float(np.median(signal[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2]))

    x, y, z = grid.points
    deep = (np.abs(x) < 35) & (np.abs(y) < 50) & (z > 25) & (z < 40)
    white = float(np.percentile(signal[deep], 75))
    assert near(-12, 0, 20) < near(12, -14, 7) < white
    assert near(0, 108, 50) < 5


def test_noise_of_magnitude_images_is_rician_in_air() -> None:
    grid = cube(3.0, 40)
    image = mr_image(np.zeros(grid.shape, np.float32), grid, 20.0, 1.0, np.random.default_rng(0))
    assert image.mean() == pytest.approx(20 * np.sqrt(np.pi / 2), rel=0.02)


def test_tilted_gantry_shears_and_oblique_head_turns() -> None:
    tilted = dicom_grid(CT_SCANNERS[2]).affine[:3, :3]
    assert abs(tilted[:, 0] @ tilted[:, 1]) > 1
    oblique = dicom_grid(MR_SCANNERS[2]).affine[:3, :3]
    assert abs(oblique[:, 0] @ oblique[:, 1]) < 1e-4
    for scanner in (*CT_SCANNERS, *MR_SCANNERS):
        affine = dicom_grid(scanner).affine
        # Rows down, columns to the right of the screen: the normal of PS3.3 C.7.6.2.1.1.
        assert np.linalg.det(affine[:3, :3]) != 0


def test_patients_do_not_depend_on_how_many_there_are() -> None:
    assert draw_patient(7, 3) == draw_patient(7, 3)
    assert draw_patient(7, 3) != draw_patient(8, 3)
    pairs = [
        draw_patient(1, 2 * k).has_lesion + draw_patient(1, 2 * k + 1).has_lesion for k in range(20)
    ]
    assert pairs == [1] * 20
    first = [draw_patient(1, 2 * k).has_lesion for k in range(40)]
    assert 8 < sum(first) < 32
