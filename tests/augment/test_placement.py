"""Draws of shears and deformations, and where they put a patch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medssl.augment.config import SpatialConfig
from medssl.augment.normalise import Normaliser
from medssl.augment.placement import (
    Pose,
    angles_of,
    compose_map,
    draw_deformation,
    draw_pose,
    rotation_about,
)
from medssl.augment.scan_info import ScanInfo

SHEARED = SpatialConfig(
    rotate_probability=1, scale_probability=1, flip=(0, 1, 2), shear_deg=20, shear_probability=1
)
ISOTROPIC = np.ones(3)


def test_a_shear_changes_nothing_else_that_was_drawn() -> None:
    plain = SHEARED.model_copy(update={"shear_deg": 0.0})
    for seed in range(20):
        with_shear = draw_pose(np.random.default_rng(seed), SHEARED, ISOTROPIC)
        rng = np.random.default_rng(seed)
        without = draw_pose(rng, plain, ISOTROPIC)
        assert (with_shear.rotation == without.rotation).all()
        assert with_shear.scale == without.scale
        assert with_shear.flip == without.flip
        assert (without.shear == np.eye(3)).all()
        # Nothing is drawn for a shear or a deformation that is switched off.
        after = rng.bit_generator.state
        assert draw_deformation(rng, plain, (8, 8, 8), ISOTROPIC) is None
        assert rng.bit_generator.state == after
        assert draw_pose(np.random.default_rng(seed), plain, ISOTROPIC).scale == without.scale


def test_shears_stay_within_their_range() -> None:
    shears = [draw_pose(np.random.default_rng(s), SHEARED, ISOTROPIC).shear for s in range(200)]
    slopes = np.array([[shear[0, 1], shear[0, 2], shear[1, 2]] for shear in shears])
    assert np.abs(slopes).max() <= np.tan(np.deg2rad(20))
    assert np.abs(slopes).max(axis=0).min() > 0.8 * np.tan(np.deg2rad(20))
    assert np.abs(slopes.mean(axis=0)).max() < 0.05
    for shear in shears:
        assert np.linalg.det(shear) == pytest.approx(1)
        assert (np.tril(shear, -1) == 0).all()


@pytest.mark.parametrize("thick", [0, 1, 2])
def test_thick_slices_are_not_tilted(thick: int) -> None:
    spacing = np.ones(3)
    spacing[thick] = 5.0
    for seed in range(20):
        shear = draw_pose(np.random.default_rng(seed), SHEARED, spacing).shear
        tilted = shear[thick].copy()
        tilted[thick] = 0
        assert (tilted == 0).all()


def test_a_shear_lies_between_rotation_and_scale() -> None:
    affine: Any = np.diag([1.0, 2.0, 0.5, 1.0])
    affine[:3, 3] = [5, -7, 11]
    normaliser = Normaliser("OT", -1.0, 1.0, centre=0.0, scale=1.0)
    whole = ((0, 40), (0, 40), (0, 40))
    scan = ScanInfo("0" * 32, (40, 40, 40), affine, whole, "OT", normaliser)
    turn = rotation_about(np.array([0.3, -0.2, 0.5]))
    shear = np.array([[1, 0.2, -0.1], [0, 1, 0.3], [0, 0, 1.0]])
    pose = Pose(turn, 1.25, (True, False, False), shear)
    spacing, centre = np.array([1.0, 1.5, 2.0]), np.array([20.0, 25.0, 15.0])
    to_stored = compose_map(scan, (9, 8, 7), spacing, centre, pose)
    for index in np.random.default_rng(0).uniform(0, 8, (20, 3)):
        from_middle = (index - np.array([4.0, 3.5, 3.0])) * spacing / 1.25 * [-1, 1, 1]
        slid = from_middle.copy()
        slid[0] += 0.2 * from_middle[1] - 0.1 * from_middle[2]
        slid[1] += 0.3 * from_middle[2]
        world = centre + turn @ slid
        stored = np.linalg.solve(affine, [*world, 1.0])
        np.testing.assert_allclose(to_stored @ [*index, 1.0], stored, atol=1e-9)
    straight = compose_map(scan, (9, 8, 7), spacing, centre, replace(pose, shear=np.eye(3)))
    assert np.abs(straight - to_stored).max() > 0.1


def test_deformations_are_as_rare_as_asked_and_keep_slices_apart() -> None:
    config = SpatialConfig(elastic_probability=0.25)
    rng = np.random.default_rng(1)
    drawn = [draw_deformation(rng, config, (32, 32, 32), ISOTROPIC) for _ in range(400)]
    assert 70 < sum(lattice is not None for lattice in drawn) < 130
    config = SpatialConfig(elastic_probability=1)
    lattice = draw_deformation(rng, config, (64, 64, 16), np.array([1.0, 1.0, 4.0]))
    assert lattice is not None
    assert (lattice.largest_mm > 0).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"elastic_displacement_mm": 8.0}, "below 8 mm"),
        ({"elastic_spacing_mm": (40.0, 20.0)}, "ends before it starts"),
        ({"shear_deg": 60.0}, "less than or equal to 45"),
    ],
)
def test_settings_without_sense_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpatialConfig(**settings)


def test_a_pose_tells_what_was_drawn() -> None:
    config = SHEARED.model_copy(update={"rotate_deg": 85.0})
    for seed in range(30):
        rng = np.random.default_rng(seed)
        pose = draw_pose(np.random.default_rng(seed), config, ISOTROPIC)
        rng.random()
        angles = rng.uniform(-85.0, 85.0, 3)  # as `draw_pose` takes them
        told = pose.parameters()
        np.testing.assert_allclose(told["turn_deg"], angles, atol=1e-9)
        assert told["scale"] == pose.scale
        assert told.get("flip", ()) == tuple(np.flatnonzero(pose.flip))
        slopes = pose.shear[[0, 0, 1], [1, 2, 2]]
        np.testing.assert_allclose(np.tan(np.deg2rad(told["shear_deg"])), slopes)
    assert Pose().parameters() == {}


def test_angles_of_any_turn_make_it_again() -> None:
    for angles in np.random.default_rng(0).uniform(-np.pi, np.pi, (50, 3)):
        turn = rotation_about(angles)
        found = angles_of(turn)
        assert abs(found[1]) <= np.pi / 2
        np.testing.assert_allclose(rotation_about(found), turn, atol=1e-12)
