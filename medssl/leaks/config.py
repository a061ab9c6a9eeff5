"""Configuration of a search for leaks."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from medssl.config import Config


class LeaksConfig(Config):
    """Which two corpora are compared, and by what."""

    a: Path = Field(
        description="Folder of a store, a pretraining run, or a study, which stands for its test "
        "cases."
    )
    b: Path | None = Field(
        None,
        description="The same; null: what the study `a` learned from, its development cases and "
        "the volumes that its encoder saw.",
    )
    stores: tuple[Path, ...] = Field(
        (),
        description="Stores that hold the voxels of runs and studies, for pictures and embeddings.",
    )
    encoder: Path | None = Field(
        None,
        description="Pretraining run whose encoder embeds every volume; the embeddings are "
        "compared too.",
    )
    embeddings: tuple[Path, ...] = Field(
        (),
        description="Parquet files or folders of embeddings in place of `encoder`: columns "
        "volume_uid and embedding, a list of equally many numbers in each row.",
    )

    @model_validator(mode="after")
    def _one_source_of_embeddings(self) -> Self:
        if self.encoder is not None and self.embeddings:
            raise ValueError("encoder and embeddings exclude each other; leave one out")
        return self
