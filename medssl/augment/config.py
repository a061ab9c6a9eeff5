"""Settings of patches and of their augmentation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medssl.config import Config

Axis = Literal[0, 1, 2]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]


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
    """How a patch is turned, enlarged and mirrored. All of it is one interpolation."""

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

    @model_validator(mode="after")
    def _ordered(self) -> SpatialConfig:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale: the range {self.scale} ends before it starts")
        if len(set(self.flip)) != len(self.flip):
            raise ValueError(f"flip: an axis stands twice in {self.flip}")
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
