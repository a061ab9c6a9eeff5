"""Which network, and how large."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from medssl.config import Config
from medssl.errors import ConfigError

PatchSize = tuple[int, int, int]


class SegResNetConfig(Config):
    """A residual convolutional U-Net with group normalisation (MONAI's SegResNet)."""

    name: Literal["segresnet"] = "segresnet"
    init_filters: int = Field(
        16,
        ge=4,
        multiple_of=4,
        description="channels at full resolution; each level down doubles them",
    )
    blocks_down: tuple[int, ...] = Field(
        (1, 2, 2, 4),
        min_length=2,
        description="residual blocks at each level of the encoder, from full resolution down",
    )
    blocks_up: int = Field(1, ge=1, description="residual blocks at each level of the decoder")

    @model_validator(mode="after")
    def _every_level_has_a_block(self) -> SegResNetConfig:
        if min(self.blocks_down) < 1:
            raise ValueError("blocks_down: every level needs at least one block")
        return self

    @property
    def min_patch(self) -> int:
        """The smallest side of a patch, in voxels: two voxels are left at the coarsest level."""
        return int(2 ** len(self.blocks_down))

    def check_patch(self, size: PatchSize) -> None:
        """Any size will do that leaves two voxels along each axis at the coarsest level.

        Raises:
            ConfigError: `size` (D, H, W in voxels) is too small; the message names the least.
        """
        if min(size) < self.min_patch:
            raise ConfigError(
                f"patch {_shown(size)}: segresnet with {len(self.blocks_down)} levels needs at "
                f"least {self.min_patch} voxels along each axis; enlarge augment.patch.size "
                "or shorten model.blocks_down"
            )


class ResEncConfig(Config):
    """A residual-encoder U-Net with instance normalisation (nnU-Net's ResEnc)."""

    name: Literal["resenc"] = "resenc"
    features_per_stage: tuple[int, ...] = Field(
        (32, 64, 128, 256, 320, 320),
        min_length=2,
        description="channels of each stage, from full resolution down; the default is that of "
        "ResEnc-M and ResEnc-L, which differ in patch and batch, for patches from 128 voxels",
    )
    n_blocks_per_stage: tuple[int, ...] = Field(
        (1, 3, 4, 6, 6, 6), description="residual blocks of each stage"
    )
    strides: tuple[int | PatchSize, ...] | None = Field(
        None,
        description="step of each stage's first convolution, one number or one for each axis "
        "(thick slices: [1, 2, 2]); null: 1, then 2 at every further stage",
    )

    @model_validator(mode="after")
    def _every_stage_is_described(self) -> ResEncConfig:
        stages = len(self.features_per_stage)
        for key in ("n_blocks_per_stage", "stage_strides"):
            if len(getattr(self, key)) != stages:
                raise ValueError(
                    f"{key.removeprefix('stage_')}: {len(getattr(self, key))} entries for {stages} "
                    "stages of features_per_stage; give one for each"
                )
        numbers = [*self.features_per_stage, *self.n_blocks_per_stage]
        if min(*numbers, *(n for stride in self.stage_strides for n in stride)) < 1:
            raise ValueError("features_per_stage, n_blocks_per_stage and strides begin at 1")
        if self.stage_strides[0] != (1, 1, 1):
            raise ValueError("strides: the first one must be 1; the decoder ends on its grid")
        return self

    @property
    def stage_strides(self) -> tuple[PatchSize, ...]:
        """The strides (D, H, W) of every stage."""
        given = self.strides
        if given is None:
            given = (1,) + (2,) * (len(self.features_per_stage) - 1)
        return tuple((n, n, n) if isinstance(n, int) else n for n in given)

    def check_patch(self, size: PatchSize) -> None:
        """Whole steps at each stage, and more than one voxel at the deepest, for its norm.

        Raises:
            ConfigError: `size` (D, H, W in voxels) does not suit; the message names sizes.
        """
        d, h, w = (math.prod(stride) for stride in zip(*self.stage_strides, strict=True))
        _check_multiples(size, (d, h, w), "resenc with these strides", "model.strides")
        _check_more_than_one(size, (d, h, w), "resenc with these strides", "model.strides")


class SwinUNETRConfig(Config):
    """Windowed attention at four scales under a convolutional decoder (MONAI's SwinUNETR)."""

    name: Literal["swinunetr"] = "swinunetr"
    feature_size: int = Field(
        48,
        ge=12,
        multiple_of=12,
        description="channels of the first tokens; each of four stages doubles them. Published "
        "weights have 48",
    )

    def check_patch(self, size: PatchSize) -> None:
        """Five halvings, and more than one voxel after them, for the decoder's norm.

        Raises:
            ConfigError: `size` (D, H, W in voxels) does not suit; the message names sizes.
        """
        _check_multiples(size, (32, 32, 32), "swinunetr", "model.name")
        _check_more_than_one(size, (32, 32, 32), "swinunetr", "model.name")


class ResNetConfig(Config):
    """A 3D ResNet for classification; it has no decoder (MONAI's, with MedicalNet's names)."""

    name: Literal["resnet"] = "resnet"
    depth: Literal[10, 18, 34, 50] = Field(18, description="number of layers with weights")
    norm: Literal["group", "batch"] = Field(
        "group",
        description="normalisation. batch is what MedicalNet's weights need: it mixes the patches "
        "of a batch, from which a contrastive loss can tell them apart, each process has its own, "
        "and the running statistics that are kept are the leading process's",
    )
    conv1_stride: Literal[1, 2] = Field(
        2, description="step of the first convolution; 1 for patches below 64 voxels"
    )

    @property
    def min_patch(self) -> int:
        """The smallest side of a patch, in voxels: two voxels are left after the last layer."""
        return 16 * self.conv1_stride + 1

    def check_patch(self, size: PatchSize) -> None:
        """Any size will do that leaves two voxels along each axis after the last layer.

        Raises:
            ConfigError: `size` (D, H, W in voxels) is too small; the message names the least.
        """
        if min(size) < self.min_patch:
            smaller = " or set model.conv1_stride to 1" if self.conv1_stride > 1 else ""
            raise ConfigError(
                f"patch {_shown(size)}: resnet with conv1_stride {self.conv1_stride} needs at "
                f"least {self.min_patch} voxels along each axis; enlarge "
                f"augment.patch.size{smaller}"
            )


class GenesisConfig(Config):
    """The plain U-Net of Models Genesis, with batch normalisation; here to load its weights."""

    name: Literal["genesis"] = "genesis"
    width: int = Field(
        32, ge=1, description="channels of the first convolution; published weights have 32"
    )

    def check_patch(self, size: PatchSize) -> None:
        """Three halvings, and more than one voxel after them, for the norm.

        Raises:
            ConfigError: `size` (D, H, W in voxels) does not suit; the message names sizes.
        """
        _check_multiples(size, (8, 8, 8), "genesis", "model.name")
        _check_more_than_one(size, (8, 8, 8), "genesis", "model.name")


class ViTConfig(Config):
    """A 3D vision transformer over cubic tokens, with fixed sine-cosine positions."""

    name: Literal["vit"] = "vit"
    token_size: Literal[4, 8, 16] = Field(8, description="side of a token, in voxels")
    dim: int = Field(192, ge=12, description="width of the token stream")
    depth: int = Field(12, ge=1, description="number of transformer blocks")
    heads: int = Field(3, ge=1, description="attention heads; must divide dim")
    mlp_ratio: float = Field(
        4.0, gt=0, description="width of a block's hidden layer, as a multiple of dim"
    )
    decoder_filters: int = Field(
        16,
        ge=4,
        multiple_of=4,
        description="segmentation alone: channels of the UNETR decoder at full resolution",
    )

    @model_validator(mode="after")
    def _shapes_fit(self) -> ViTConfig:
        if self.dim % self.heads:
            raise ValueError(f"heads: {self.heads} does not divide dim {self.dim}")
        if self.depth < self.num_features:
            raise ValueError(
                f"depth: tokens of {self.token_size} voxels need at least {self.num_features} "
                "blocks, one for each level of the segmentation decoder"
            )
        return self

    @property
    def num_features(self) -> int:
        """Feature maps handed to a decoder: one for each halving of a token, so log2(token)."""
        return self.token_size.bit_length() - 1

    def grid(self, size: PatchSize) -> tuple[int, int, int]:
        """Tokens along each axis of a patch of `size` voxels."""
        d, h, w = (n // self.token_size for n in size)
        return d, h, w

    def check_patch(self, size: PatchSize) -> None:
        """Each side must be a whole number of tokens.

        Raises:
            ConfigError: `size` (D, H, W in voxels) is not; the message names the nearest sizes.
        """
        token = self.token_size
        _check_multiples(size, (token,) * 3, f"vit with token_size {token}", "model.token_size")


ModelConfig = Annotated[
    SegResNetConfig | ResEncConfig | SwinUNETRConfig | ResNetConfig | GenesisConfig | ViTConfig,
    Field(discriminator="name"),
]

_ADAPTER: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)


def model_from_json(text: str) -> ModelConfig:
    """The configuration that `config.model_dump_json()` wrote, as checkpoints carry it."""
    return _ADAPTER.validate_json(text)


def _check_multiples(size: PatchSize, steps: PatchSize, network: str, key: str) -> None:
    wrong = sorted({(n, step) for n, step in zip(size, steps, strict=True) if n < step or n % step})
    if not wrong:
        return
    advice = "; ".join(
        f"in place of {n}: "
        + " or ".join(str(side) for side in sorted({max(n // s, 1) * s, (n // s + 1) * s}))
        for n, s in wrong
    )
    needed = str(steps[0]) if len(set(steps)) == 1 else _shown(steps)
    raise ConfigError(
        f"patch {_shown(size)}: {network} needs multiples of {needed} ({advice}); "
        f"change augment.patch.size or {key}"
    )


def _check_more_than_one(size: PatchSize, steps: PatchSize, network: str, key: str) -> None:
    if size == steps:
        d, h, w = steps
        raise ConfigError(
            f"patch {_shown(size)}: {network} leaves one voxel of it at the deepest scale, too few "
            f"to normalise; at least one side must be twice as long, such as "
            f"{_shown((d, h, 2 * w))}; change augment.patch.size or {key}"
        )


def _shown(size: PatchSize) -> str:
    return "x".join(str(n) for n in size)
