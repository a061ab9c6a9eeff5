"""Settings of patches and of their augmentation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medssl.config import Config

Axis = Literal[0, 1, 2]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]

LARGEST_SHARE = 0.4
"""Of the distance of an elastic deformation's control points; from 1 / 2.479 on it may fold."""


class PatchConfig(Config):
    """The grid that the network sees. Its axes run to the right, to the front and to the top."""

    size: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (96, 96, 96), description="Voxels along right, front and top."
    )
    spacing_mm: PositiveFloat | tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(
        None,
        description="Millimetres between voxels, one number or one an axis (right, front, top); "
        "null keeps each scan's own.",
    )


class SpatialConfig(Config):
    """How a patch is turned, sheared, enlarged, mirrored, bent. All of it is one interpolation."""

    rotate_deg: float = Field(
        15.0, ge=0, le=180, description="Largest angle about each axis, either way, in degrees."
    )
    rotate_probability: float = Field(0.3, ge=0, le=1, description="Share of patches turned.")
    scale: tuple[PositiveFloat, PositiveFloat] = Field(
        (0.7, 1.4),
        description="Range of the enlargement, drawn evenly in its logarithm. A contrastive method "
        "learns to ignore what is varied here: narrow it where size is a sign of disease.",
    )
    scale_probability: float = Field(0.3, ge=0, le=1, description="Share of patches scaled.")
    flip: tuple[Axis, ...] = Field(
        (),
        description="Axes that may be mirrored: 0 left-right, 1 front-back, 2 top-bottom. Only "
        "where a mirrored anatomy means the same for the task.",
    )
    flip_probability: float = Field(0.5, ge=0, le=1, description="Chance for each of these axes.")
    shear_deg: float = Field(
        0.0, ge=0, le=45, description="Largest shear of each pair of axes, either way, in degrees."
    )
    shear_probability: float = Field(0.3, ge=0, le=1, description="Share of patches sheared.")
    elastic_probability: float = Field(
        0.0, ge=0, le=1, description="Share of patches deformed smoothly."
    )
    elastic_spacing_mm: tuple[PositiveFloat, PositiveFloat] = Field(
        (20.0, 40.0), description="Range of the distance of the points that are moved."
    )
    elastic_displacement_mm: PositiveFloat = Field(
        5.0,
        description="The most that they move along each axis; below 0.4 of their least distance, "
        "under which nothing folds.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> SpatialConfig:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale: the range {self.scale} ends before it starts")
        if len(set(self.flip)) != len(self.flip):
            raise ValueError(f"flip: an axis stands twice in {self.flip}")
        nearest, furthest = self.elastic_spacing_mm
        if nearest > furthest:
            raise ValueError(
                f"elastic_spacing_mm: the range {self.elastic_spacing_mm} ends before it starts"
            )
        if self.elastic_displacement_mm >= LARGEST_SHARE * nearest:
            raise ValueError(
                f"elastic_displacement_mm: {self.elastic_displacement_mm:g} mm could fold the "
                f"patch; below {LARGEST_SHARE * nearest:g} mm nothing does, or set "
                "elastic_spacing_mm wider"
            )
        return self


class LocalViewsConfig(Config):
    """Small crops beside the views of a volume, at the patch's spacing."""

    count: PositiveInt = Field(8, description="Local crops of each volume.")
    size: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (48, 48, 48), description="Voxels along right, front and top."
    )
    scale: tuple[PositiveFloat, PositiveFloat] = Field(
        (0.7, 1.4),
        description="Range of the enlargement, drawn evenly in its logarithm. At 0.7 to 1.4, half "
        "as many voxels along each axis show 5 to 36 % of the volume that a view shows.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> LocalViewsConfig:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale: the range {self.scale} ends before it starts")
        return self


class IntensityConfig(Config):
    """The intensity policy of the scan's modality: which transforms, see `augment.policies`."""

    enabled: bool = Field(True, description="Whether values are augmented at all.")
    strength: float = Field(
        1.0, gt=0, le=2, description="Factor on every range; 1 is what scanners themselves vary by."
    )


class AugmentConfig(Config):
    """Everything between the stored scan and the network."""

    patch: PatchConfig = Field(PatchConfig(), description="The patch's grid.")
    spatial: SpatialConfig = Field(SpatialConfig(), description="Rotation, scale and flips.")
    intensity: IntensityConfig = Field(IntensityConfig(), description="Noise, contrast, blur.")
