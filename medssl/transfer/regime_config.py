"""Configuration of a regime: which of the network's weights labels may change, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medssl.config import Config


class FullRegime(Config):
    """All weights learn."""

    name: Literal["full"] = "full"


class LoRARegime(Config):
    """The encoder learns by low-rank updates alone, merged into its weights at the end."""

    name: Literal["lora"] = "lora"
    rank: int = Field(8, ge=1, description="Rank of each update.")
    alpha: float = Field(16.0, gt=0, description="An update is scaled by alpha / rank.")


class AttentionProbeRegime(Config):
    """The encoder is frozen; its deepest feature map is pooled by attention, which learns."""

    name: Literal["attention_probe"] = "attention_probe"
    heads: int = Field(4, ge=1, description="Heads of the attention; they divide the embedding.")


class LinearProbeRegime(Config):
    """The encoder is frozen; a logistic regression is fitted on its embeddings."""

    name: Literal["linear_probe"] = "linear_probe"


class KNNRegime(Config):
    """The encoder is frozen; the nearest training cases vote."""

    name: Literal["knn"] = "knn"
    k: int = Field(20, ge=1, description="Neighbours that vote; at most half of the cases.")


def start_told(regime: str, *, pretrained: bool) -> str:
    """What a training starts from, for a reader.

    Args:
        regime: its name. Under all others than full the encoder's weights are frozen, and where
            nobody trained them they are random: that is no training from scratch.
    """
    if pretrained:
        return "a pretrained encoder"
    return "scratch" if regime == "full" else "an untrained encoder"


RegimeConfig = Annotated[
    FullRegime | LoRARegime | AttentionProbeRegime | LinearProbeRegime | KNNRegime,
    Field(discriminator="name"),
]
