"""Which pretraining method, and its settings."""

from __future__ import annotations

from pathlib import Path
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


class MoCoConfig(Config):
    """Two crops find each other among keys of earlier steps (He et al. 2020); for small batches."""

    name: Literal["moco"] = "moco"
    temperature: float = Field(0.2, gt=0, description="tau of the contrastive loss")
    momentum: float = Field(
        0.99, ge=0, lt=1, description="momentum of the teacher at the start; 1 at the end"
    )
    queue_size: int = Field(
        16384,
        ge=1,
        description="keys kept as negatives, two a volume; in a short run or a small store few "
        "enough that they are not older than some hundred steps",
    )
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


class HybridConfig(Config):
    """Masked reconstruction, dense alignment and contrast of two crops (arXiv 2509.13846, 2025)."""

    name: Literal["hybrid"] = "hybrid"
    masked_weight: float = Field(
        5.0, gt=0, description="weight of the reconstruction of what was masked (Huber's loss)"
    )
    dense_weight: float = Field(
        1.0,
        ge=0,
        description="weight of the agreement with the teacher place by place, 2 - 2 cos; 0: its "
        "course is logged and nothing else",
    )
    contrast_weight: float = Field(
        0.1,
        ge=0,
        description="weight of the contrast of whole crops with other patients' (NT-Xent); 0: its "
        "course is logged and nothing else",
    )
    mask_ratio: float = Field(0.75, gt=0, lt=1, description="share of the blocks that is masked")
    block_size: int | None = Field(
        None,
        ge=1,
        description="side of a masked block in voxels, not for a ViT (its tokens are the blocks); "
        "null: the largest common divisor of the patch's sides, at most 16, that makes 27 blocks "
        "or more",
    )
    overlap: tuple[float, float] = Field(
        (0.4, 0.8), description="least and largest share of a crop that its twin covers, 0 to 1"
    )
    temperature: float = Field(0.5, gt=0, description="tau of the NT-Xent loss")
    momentum: float = Field(
        0.995,
        ge=0,
        le=1,
        description="share of itself that the teacher keeps at the first step; rises to 1",
    )
    hidden_dim: int = Field(
        512, ge=1, description="width of the hidden layers of projectors and predictor"
    )
    output_dim: int = Field(128, ge=2, description="length of the projections that are compared")


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


class DistillConfig(Config):
    """The features of a pretrained teacher, learned by a network of another size or kind."""

    name: Literal["distill"] = "distill"
    teacher: Path = Field(
        description="the teacher: folder of a finished pretraining or fine-tuning, or a "
        ".safetensors file that one wrote"
    )
    dense_weight: float = Field(
        1.0,
        ge=0,
        description="weight of the features place by place, beside 1 for those of whole patches",
    )


SingleMethodConfig = (
    # One a line.
    DistillConfig
    | HybridConfig
    | MAEConfig
    | MoCoConfig
    | RotationConfig
    | SimCLRConfig
    | SimMIMConfig
)


class WeightedConfig(Config):
    """One task of several on one encoder."""

    method: Annotated[SingleMethodConfig, Field(discriminator="name")] = Field(
        description="what is learned: its name and settings"
    )
    weight: float = Field(1.0, gt=0, description="weight of its loss in the sum")


class MultitaskConfig(Config):
    """Several methods at once on one encoder, their losses added."""

    name: Literal["multitask"] = "multitask"
    tasks: list[WeightedConfig] = Field(
        min_length=2, description="the methods, each with its weight"
    )
    weighting: Literal["fixed", "uncertainty"] = Field(
        "fixed",
        description="fixed: the sum of weight times loss; uncertainty: each loss is divided by "
        "a learned variance as well, so that no task drowns the others (Kendall et al. 2018)",
    )


MethodConfig = Annotated[SingleMethodConfig | MultitaskConfig, Field(discriminator="name")]
