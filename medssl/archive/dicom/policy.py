"""What a run allows in reading a series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

IrregularSpacing = Literal["quarantine", "resample"]


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of `ingest` that change how a series is read.

    Attributes:
        irregular_spacing: what becomes of slices at unequal steps along one line.
        max_voxels: a file, or a volume, whose header asks for more is not decoded.
    """

    irregular_spacing: IrregularSpacing = "quarantine"
    max_voxels: int = 2**30
