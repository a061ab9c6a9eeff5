"""Which pretraining method, and its settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medssl.config import Config


class SimCLRConfig(Config):
    """Contrast of two crops of one volume with crops of other patients (Chen et al. 2020)."""

    name: Literal["simclr"] = "simclr"
    temperature: float = Field(0.1, gt=0, description="tau of the NT-Xent loss")
    hidden_dim: int = Field(2048, ge=1, description="width of the projector's two hidden layers")
    output_dim: int = Field(
        128, ge=2, description="length of the projection that the loss compares"
    )
    overlap: tuple[float, float] = Field(
        (0.4, 1.0), description="least and largest share of a crop that its twin covers, 0 to 1"
    )


class MAEConfig(Config):
    """Reconstruction of what was masked (He et al. 2022): tokens of a ViT, blocks for a CNN."""

    name: Literal["mae"] = "mae"
    mask_ratio: float = Field(
        0.75, gt=0, lt=1, description="share of the tokens or blocks that is masked"
    )
    block_size: int | None = Field(
        None,
        ge=1,
        description="side of a masked block in voxels, for a CNN alone (a ViT masks its tokens); "
        "null: the largest common divisor of the patch's sides, at most 16, that makes 27 blocks "
        "or more",
    )


class SimMIMConfig(Config):
    """Prediction of hidden voxels by one linear layer (Xie et al. 2022), for any encoder."""

    name: Literal["simmim"] = "simmim"
    mask_ratio: float = Field(0.6, gt=0, lt=1, description="share of the patch that is hidden")
    mask_size: int | None = Field(
        None,
        ge=1,
        description="side of a hidden cube in voxels, for a ViT a multiple of its tokens; null: "
        "16, or the largest common divisor of the patch's sides below 16 that makes 27 cubes or "
        "more",
    )


class RotationConfig(Config):
    """Which of the rotations of a cube was it (Taleb et al. 2020)."""

    name: Literal["rotation"] = "rotation"


MethodConfig = Annotated[
    SimCLRConfig | MAEConfig | SimMIMConfig | RotationConfig, Field(discriminator="name")
]
