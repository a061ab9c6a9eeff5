"""Which network, and how large."""

from __future__ import annotations

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
                f"least {self.min_patch} voxels along each axis; enlarge patch.size or shorten "
                "model.blocks_down"
            )


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
        wrong = sorted({n for n in size if n < token or n % token})
        if not wrong:
            return
        near = [sorted({max(n // token, 1) * token, (n // token + 1) * token}) for n in wrong]
        advice = "; ".join(
            f"in place of {n}: {' or '.join(str(side) for side in sides)}"
            for n, sides in zip(wrong, near, strict=True)
        )
        raise ConfigError(
            f"patch {_shown(size)}: vit with token_size {token} needs multiples of {token} "
            f"({advice}); change patch.size or model.token_size"
        )


ModelConfig = Annotated[SegResNetConfig | ViTConfig, Field(discriminator="name")]

_ADAPTER: TypeAdapter[SegResNetConfig | ViTConfig] = TypeAdapter(ModelConfig)


def model_from_json(text: str) -> SegResNetConfig | ViTConfig:
    """The configuration that `config.model_dump_json()` wrote, as checkpoints carry it."""
    return _ADAPTER.validate_json(text)


def _shown(size: PatchSize) -> str:
    return "x".join(str(n) for n in size)
