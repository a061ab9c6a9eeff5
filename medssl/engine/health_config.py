"""How a pretraining run is watched."""

from __future__ import annotations

from pydantic import Field

from medssl.config import Config


class HealthConfig(Config):
    """Looks at the embeddings of a fixed set of volumes while an encoder is pretrained."""

    volumes: int = Field(
        64, ge=0, description="Volumes that are looked at, two views of each. 0: no look is taken."
    )
    every: int | None = Field(
        None,
        ge=1,
        description="Steps between two looks, besides those before the first step and after the "
        "last. null: a twentieth of the run, or more where looks would take above a twentieth of "
        "the time.",
    )
    stop: bool = Field(
        True, description="Whether a collapsed run ends at once; if not, the report still says it."
    )
