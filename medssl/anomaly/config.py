"""Configuration of screening."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from medssl.config import Config


class AnomalyConfig(Config):
    """Which model screens which scans, and what they are compared with."""

    run: Path = Field(description="Folder of a finished pretraining run that hides and fills in.")
    store: Path = Field(description="Store of the scans to screen.")
    healthy: Path | None = Field(
        None,
        description="Store of other patients without findings, under the same key: errors are then "
        "told as deviations from what is usual in tissue as bright; null: errors as they are.",
    )
    repeats: int = Field(
        1,
        ge=1,
        description="How often the cubes of each window are dealt into masks. More is smoother and "
        "takes as many times as long.",
    )
