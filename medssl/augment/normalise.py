"""From a scan's own units to numbers that a network likes, by manifest row alone.

The policy is chosen by units, not by modality alone: a CT whose rescale is unknown is not in HU,
and a PET without the fields for SUV is not in SUV; both are treated as MR is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medssl.augment.interpolate import Finish
from medssl.volume import Modality

HU_RANGE = (-1000.0, 1000.0)
SUV_MAX = 20.0

_SMALLEST = 1e-30
_IQR_OF_NORMAL = 1.349
_LARGEST_SPAN = 20.0
_LEVELS = ("p00_5", "p25", "p50", "p75", "p99_5")

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Normaliser:
    """clip to low ... high, square root where `root`, subtract `centre`, divide by `scale`.

    HU:        clipped to -1000 ... 1000, divided by 1000.
    SUV:       clipped to 0 ... 20, square root (it evens out counting noise, Anscombe 1948).
    arbitrary: clipped to percentiles 0.5 ... 99.5 of the foreground; then a z-score by the
               foreground that its tails do not move: centre is the median, scale the interquartile
               range / 1.349 (the standard deviation where values are normal), and at least a
               twentieth of the clipped range, so that a foreground of nearly one value does not
               blow up. A foreground of exactly one value p (a binary shape) is mapped from 0 ... p
               to -1 ... 1.

    Attributes:
        policy: the intensity policy that fits the result.
        background: the normalised value of air or nothing: the lowest there is.
    """

    policy: Modality
    low: float
    high: float
    centre: float
    scale: float
    root: bool = False

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Normaliser:
        """The normaliser of a manifest row."""
        if row["units"] == "HU":
            return cls("CT", *HU_RANGE, centre=0.0, scale=1000.0)
        if row["units"] == "SUV":
            return cls("PT", 0.0, SUV_MAX, centre=0.0, scale=1.0, root=True)
        policy: Literal["MR", "OT"] = "MR" if row["modality"] == "MR" else "OT"
        p00_5, p25, p50, p75, p99_5 = (float(row[name]) for name in _LEVELS)
        span = p99_5 - p00_5
        # Below _SMALLEST the reciprocal of a scale would leave the range of float32.
        if span <= max(1e-6 * max(abs(p00_5), abs(p99_5)), _SMALLEST):
            half = abs(p50) / 2 if abs(p50) > _SMALLEST else 0.5
            return cls("OT", p50 - 2 * half, p50, centre=p50 - half, scale=half)
        scale = max((p75 - p25) / _IQR_OF_NORMAL, span / _LARGEST_SPAN)
        return cls(policy, p00_5, p99_5, centre=p50, scale=scale)

    @cached_property
    def background(self) -> float:
        return float(self(np.array([self.low], dtype=np.float32))[0])

    def finish(self, slope: float = 1.0, intercept: float = 0.0) -> Finish:
        """What the sampler does to stored numbers: rescale, then normalise."""
        return Finish(
            slope,
            intercept,
            self.low,
            self.high,
            self.root,
            self.centre,
            1.0 / self.scale,
            self.background,
        )

    def __call__(self, values: FloatArray) -> FloatArray:
        """Normalised values, of any shape."""
        return Finish(1.0, 0.0, self.low, self.high, self.root, self.centre, 1.0 / self.scale)(
            values.copy()
        )
