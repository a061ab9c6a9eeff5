"""The scanners of the sample hospital, and the grids and noise that they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from scipy import ndimage

from medssl.sample.canvas import Field, Grid, Point
from medssl.volume import Affine, Array

Modality = Literal["CT", "MR"]


@dataclass(frozen=True)
class Scanner:
    """One scanner and its protocol.

    Attributes:
        matrix: rows and columns of a slice.
        pixel_mm: between neighbouring rows and columns.
        slices, step_mm: number of slices and the distance between their centres along the table.
        tilt_deg: of the slices against the table (CT: gantry tilt, a sheared stack) or of the
            whole stack (MR: oblique).
        thickness_mm: what the header says; a reader must not take it for the distance of slices.
        noise: standard deviation, HU or signal.
        intercept, signed: how Hounsfield units are stored.
        bare: files without preamble and file meta information.
        backwards: InstanceNumber falls as position rises.
    """

    modality: Modality
    manufacturer: str
    model: str
    matrix: int
    pixel_mm: float
    slices: int
    step_mm: float
    thickness_mm: float
    transfer_syntax: UID
    noise: float
    plane: Literal["axial", "sagittal"] = "axial"
    tilt_deg: float = 0.0
    intercept: int = 0
    signed: bool = False
    bare: bool = False
    backwards: bool = False
    field_strength_t: float | None = None


CT_SCANNERS = (
    Scanner("CT", "SIEMENS", "SOMATOM Sample", 80, 4.5, 56, 7.0, 7.0, ExplicitVRLittleEndian, 11.0,
            intercept=-1024),
    Scanner("CT", "GE MEDICAL SYSTEMS", "Revolution Sample", 72, 5.0, 60, 6.5, 8.0, JPEGLSLossless,
            15.0, intercept=-1024, signed=True),
    Scanner("CT", "Philips", "Brilliance Sample", 76, 4.8, 52, 7.5, 7.5, RLELossless, 13.0,
            tilt_deg=8.0, intercept=-1000, signed=True, backwards=True),
    Scanner("CT", "Canon Medical Systems", "Aquilion Sample", 78, 4.7, 50, 8.0, 8.0,
            JPEG2000Lossless, 18.0, signed=True),
)  # fmt: skip

MR_SCANNERS = (
    Scanner("MR", "SIEMENS", "Skyra Sample", 80, 2.8, 56, 3.2, 3.2, ExplicitVRLittleEndian, 16.0,
            field_strength_t=3.0),
    Scanner("MR", "GE MEDICAL SYSTEMS", "Signa Sample", 76, 3.1, 52, 3.4, 3.0, JPEG2000Lossless,
            26.0, plane="sagittal", field_strength_t=1.5),
    Scanner("MR", "Philips", "Achieva Sample", 78, 2.9, 50, 3.6, 3.6, ImplicitVRLittleEndian, 20.0,
            tilt_deg=-10.0, bare=True, backwards=True, field_strength_t=3.0),
)  # fmt: skip

# Where the middle of each stack lies in the patient, RAS mm.
_CT_CENTRE: Point = (0.0, -14.0, 24.0)
_MR_CENTRE: Point = (0.0, 4.0, -6.0)


def dicom_grid(scanner: Scanner) -> Grid:
    """The grid of a series: (slice, row, column), slices ascending upwards, or to the left.

    Axial rows run to the back and columns to the left, as PS3.3 C.7.6.2.1.1 has them for a patient
    who lies head first on the back; sagittal rows run down and columns to the back.
    """
    tilt = np.deg2rad(scanner.tilt_deg)
    if scanner.plane == "axial":
        step = np.array([0.0, 0.0, 1.0])
        row = np.array([0.0, -np.cos(tilt), np.sin(tilt)])
        column = np.array([-1.0, 0.0, 0.0])
        if scanner.modality == "MR":
            step = np.cross(row, column) * -1
    else:
        step = np.array([-1.0, 0.0, 0.0])
        row, column = np.array([0.0, 0.0, -1.0]), np.array([0.0, -1.0, 0.0])
    affine = np.eye(4)
    affine[:3, 0] = step * scanner.step_mm
    affine[:3, 1] = row * scanner.pixel_mm
    affine[:3, 2] = column * scanner.pixel_mm
    shape = (scanner.slices, scanner.matrix, scanner.matrix)
    centre = _CT_CENTRE if scanner.modality == "CT" else _MR_CENTRE
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    # What a header holds to six decimals is the truth.
    return Grid(shape, np.round(affine, 6))


def nifti_grid(number: int) -> Grid:
    """The upper abdomen in a tighter field of view, in one of three orientations of storage."""
    spacing, shape = np.array([4.4, 4.4, 5.0]), np.array([72, 60, 44])
    low = np.array([0.0, -4.0, -86.0]) - spacing * (shape - 1) / 2
    ras = np.eye(4)
    ras[:3, :3] = np.diag(spacing)
    ras[:3, 3] = low
    if number % 3 == 0:
        return Grid((72, 60, 44), ras)
    flipped: Affine = ras.copy()
    flipped[0, 0], flipped[0, 3] = -spacing[0], low[0] + spacing[0] * (shape[0] - 1)
    if number % 3 == 1:
        return Grid((72, 60, 44), flipped)
    return Grid((44, 60, 72), flipped[:, [2, 1, 0, 3]])


def ct_image(hounsfield: Field, scanner_noise: float, rng: np.random.Generator) -> Array:
    """Hounsfield units with the correlated noise that a reconstruction kernel leaves, int16."""
    white = rng.standard_normal(hounsfield.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(white, (0.25, 0.65, 0.65))
    noise *= np.float32(scanner_noise) / noise.std()
    return np.asarray(np.clip(np.rint(hounsfield + noise), -1024, 3071), np.int16)


def mr_image(
    signal: Field, grid: Grid, noise: float, gain: float, rng: np.random.Generator
) -> Array:
    """Magnitude signal under a smooth coil bias of about 20 per cent, with Rician noise, uint16."""
    p = grid.points / np.float32(110.0)
    slopes = rng.normal(0, 0.09, 3)
    curves = rng.normal(-0.05, 0.05, 3)
    bias = sum(slopes[a] * p[a] + curves[a] * p[a] ** 2 for a in range(3))
    clean = signal * np.exp(np.asarray(bias, np.float32))
    real = clean + noise * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = noise * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.asarray(np.clip(np.rint(gain * np.hypot(real, imaginary)), 0, 4095), np.uint16)
