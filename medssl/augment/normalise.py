"""From a scan's own numbers to those that a network sees, by modality and unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

_HU_LIMIT = 1000.0
_SUV_LIMIT = 20.0
_NORMAL_IQR = 1.349  # interquartile range of the standard normal distribution


@dataclass(frozen=True)
class Normaliser:
    """Maps values of one volume; made by `normaliser_of`.

    `hu`: clipped to -1000 … 1000 HU, to -1 … 1. `suv`: square root of 0 … 20 SUV, to -1 … 1 (PET
    counts have a variance that grows with the mean; the root evens it out). `robust`: clipped,
    then centred on the foreground's median in units of its standard deviation, estimated from the
    quartiles.
    """

    kind: Literal["hu", "suv", "robust"]
    low: float
    high: float
    centre: float = 0.0
    scale: float = 1.0
    air: float = 0.0

    def __call__(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        clipped = np.clip(values, np.float32(self.low), np.float32(self.high))
        if self.kind == "suv":
            clipped = np.sqrt(clipped)
        shifted = clipped - np.float32(self.centre)
        return np.asarray(shifted / np.float32(self.scale), dtype=np.float32)

    @property
    def background(self) -> float:
        """What stands outside the scan: air."""
        return float(self(np.array(self.air, dtype=np.float32)))


def normaliser_of(row: Mapping[str, Any]) -> Normaliser:
    """The normaliser of a manifest row; only HU and SUV are absolute, whatever the modality."""
    if row["units"] == "HU":
        return Normaliser("hu", -_HU_LIMIT, _HU_LIMIT, scale=_HU_LIMIT, air=-_HU_LIMIT)
    if row["units"] == "SUV":
        half = float(np.sqrt(_SUV_LIMIT)) / 2
        return Normaliser("suv", 0.0, _SUV_LIMIT, centre=half, scale=half)
    low, middle, high = float(row["p00_5"]), float(row["p50"]), float(row["p99_5"])
    deviation = (float(row["p75"]) - float(row["p25"])) / _NORMAL_IQR
    # Shapes and other volumes of few levels have no spread inside the foreground.
    scale = max(deviation, 0.1 * (high - low)) or max(abs(high), 1.0)
    # The percentiles are the foreground's: room is left below for a background darker than it.
    return Normaliser("robust", low - 4 * scale, high, middle, scale, air=min(0.0, low))
