"""Configuration of patches and their augmentation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from medssl.config import Config

Axis = Literal["left-right", "back-front", "bottom-top"]


class PatchConfig(Config):
    """The grid that the network sees, its axes running to the right, the front and the top."""

    size: tuple[int, int, int] = Field(description="Voxels along right, front and top.")
    spacing_mm: float | tuple[float, float, float] | None = Field(
        None, description="Distance between voxels; null: each scan's own."
    )

    @field_validator("size")
    @classmethod
    def _positive(cls, size: tuple[int, int, int]) -> tuple[int, int, int]:
        if min(size) < 1:
            raise ValueError("every side of a patch has at least one voxel")
        return size

    @field_validator("spacing_mm")
    @classmethod
    def _spaced(cls, spacing: float | tuple[float, float, float] | None) -> object:
        values = spacing if isinstance(spacing, tuple) else (spacing,)
        if any(v is not None and v <= 0 for v in values):
            raise ValueError("a spacing is larger than 0 mm")
        return spacing


class SpatialConfig(Config):
    """What is composed with cropping and resampling into one interpolation."""

    rotate_deg: float = Field(15.0, ge=0, le=180, description="Largest rotation about each axis.")
    rotate_probability: float = Field(0.5, ge=0, le=1, description="Share of rotated patches.")
    scale: tuple[float, float] = Field(
        (0.85, 1.2), description="Least and largest magnification; 1 to 1 keeps size a feature."
    )
    scale_probability: float = Field(0.5, ge=0, le=1, description="Share of scaled patches.")
    flip: tuple[Axis, ...] = Field(
        ("left-right",), description="Axes that are mirrored in half of the patches."
    )


class IntensityConfig(Config):
    """How much a modality's policy changes the numbers."""

    enabled: bool = Field(True, description="Whether intensities are augmented at all.")
    strength: float = Field(
        1.0, gt=0, le=3, description="Factor on the policy's ranges; 1 is the policy as it stands."
    )


class AugmentConfig(Config):
    """Patches, where they are cut, and what is done to their numbers."""

    patch: PatchConfig = Field(description="Size and spacing of patches.")
    spatial: SpatialConfig = Field(SpatialConfig(), description="Rotation, scale and flips.")
    intensity: IntensityConfig = Field(IntensityConfig(), description="Noise, contrast and blur.")
