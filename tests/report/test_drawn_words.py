"""Drawn numbers in words: short, with units, and with every figure that matters."""

from __future__ import annotations

import numpy as np

from medssl.augment.batch import MODALITIES
from medssl.augment.elastic import ControlLattice
from medssl.augment.intensity.bias_field import BiasField
from medssl.augment.intensity.blur import Blur
from medssl.augment.intensity.calibration import HounsfieldCalibration
from medssl.augment.intensity.low_resolution import LowResolution
from medssl.augment.intensity.metal_streaks import MetalStreaks
from medssl.augment.placement import Pose, rotation_about
from medssl.augment.policies import POLICIES
from medssl.report.drawn_words import deformation_line, pose_lines, step_line

TIED = "\N{NO-BREAK SPACE}"


def test_a_pose_is_told_as_it_was_drawn() -> None:
    turned = Pose(rotation_about(np.deg2rad([4.2, -11.0, 0.26])), 1.1849, (True, False, True))
    assert [line.replace(TIED, " ") for line in pose_lines(turned.parameters())] == [
        "turned +4.2° −11.0° +0.3°",
        "scaled × 1.18",
        "mirrored left-right, top-bottom",
    ]
    assert pose_lines(Pose().parameters()) == []
    shear = np.eye(3)
    shear[0, 2] = np.tan(np.deg2rad(-5.0))
    (told,) = pose_lines(Pose(shear=shear).parameters())
    assert told.replace(TIED, " ") == "sheared +0.0° −5.0° +0.0°"


def test_a_deformation_is_told_by_its_largest_step() -> None:
    moved = np.zeros((3, 4, 4, 4), dtype=np.float32)
    moved[1, 2, 2, 2] = -3.25
    told = deformation_line(ControlLattice(moved, (24.0, 24.0, 24.0)))
    assert told.replace(TIED, " ") == "bent by up to 3.25 mm, points 24 mm apart"


def test_numbers_have_names_and_units() -> None:
    calibration = HounsfieldCalibration(20.0, 0.03)
    told = step_line(calibration, {"slope": 1.0123, "offset_hu": -12.345})
    assert told.replace(TIED, " ") == "Hounsfield calibration: slope 1.01, offset −12.3 HU"
    told = step_line(Blur(0.4, 1.0), {"sigma_voxels": 0.7211})
    assert told.replace(TIED, " ") == "Blur: sigma 0.721 voxels"
    told = step_line(LowResolution(3.0), {"axis": 2, "voxels": 2.5})
    assert told.replace(TIED, " ") == "Low resolution: top-bottom, 2.5 voxels"


def test_long_lists_end_in_their_range_without_what_is_unused() -> None:
    coefficients = np.zeros((4, 4, 4))
    coefficients[1, 0, 0], coefficients[0, 2, 1] = 0.183, 0.054
    told = step_line(BiasField(0.2), {"coefficients": coefficients})
    assert told.replace(TIED, " ") == "Bias field: coefficients 0.054 … 0.18"


def test_every_step_of_every_policy_can_be_told_in_a_few_lines() -> None:
    for modality in MODALITIES:
        for _, step in POLICIES[modality].steps:
            for seed in range(20):
                drawn = step.draw(np.random.default_rng(seed), 1.0)
                told = step_line(step, drawn)
                assert len(told) < 220, told
                assert not set("[]_") & set(told), told


def test_seeds_are_not_told() -> None:
    metal = MetalStreaks()
    drawn = metal.draw(np.random.default_rng(0), 1.0)
    assert "seed" not in step_line(metal, drawn)
    assert str(drawn["noise_seed"]) not in step_line(metal, drawn)
