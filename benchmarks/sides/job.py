"""What every side of the augmentation benchmark is asked for.

Ranges are written once, so that all sides draw from the same ones; a side whose transform is
defined otherwise takes what costs it no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

BATCH = 4
PATCH = 96
VIEW = 64
REGION = 80
"""Side of the box that two crops of VIEW are cut from: they share 42 % or more of their volume."""

ROTATE_DEG = 30.0
SCALE = (0.7, 1.4)
FACTOR = (0.75, 1.25)
SHIFT = 0.1
GAMMA = (0.7, 1.5)
NOISE = 0.1
BLUR = (0.5, 1.0)
ZOOM = (0.5, 1.0)
BIAS = 0.2


@dataclass(frozen=True)
class Chances:
    """The probability of each transform; `flip` is that of each axis."""

    rotate: float = 1.0
    scale: float = 1.0
    flip: float = 1.0
    factor: float = 1.0
    shift: float = 1.0
    gamma: float = 1.0
    noise: float = 1.0
    blur: float = 1.0
    low_resolution: float = 1.0
    bias: float = 1.0

    @property
    def affine(self) -> float:
        """That of rotation or scale, where one transform does both."""
        return 1 - (1 - self.rotate) * (1 - self.scale)


CASES = {
    "all": Chances(),
    # nnU-Net's (Isensee et al. 2021), with the bias field that it does not have.
    "typical": Chances(0.2, 0.2, 0.5, 0.15, 0.15, 0.3, 0.1, 0.2, 0.25, 0.1),
    # What all peers have for two views: flips, a factor, gamma and noise.
    "two_view": Chances(0, 0, 0.5, 1, 0, 1, 1, 0, 0, 0),
    # Two views again, with everything, for a training step.
    "step": Chances(0.2, 0.2, 0.5, 0.15, 0.15, 0.3, 0.1, 0.2, 0.25, 0.1),
}


@dataclass(frozen=True)
class Job:
    """What to make batches of.

    Attributes:
        folder: holds `store`, and the same volumes, normalised, in `nifti` and in `b2nd`.
        case: a key of CASES.
        workers: processes or threads that draw ahead; 0: the caller draws.
    """

    folder: Path
    case: str
    workers: int

    @property
    def chances(self) -> Chances:
        return CASES[self.case]

    @property
    def two_views(self) -> bool:
        return self.case in ("two_view", "step")

    @property
    def size(self) -> int:
        """Side of a patch in voxels."""
        return VIEW if self.two_views else PATCH

    def files(self, folder: str) -> list[Path]:
        """The volumes in `nifti` or `b2nd`."""
        return sorted((self.folder / folder).iterdir())


Batch = Sequence[Tensor]
"""One tensor (B, 1, D, H, W) of float32 for each view."""

Single = Callable[[Tensor], Tensor]
"""One transform of one patch (1, D, H, W); it may change the patch that it is given."""


class Side(Protocol):
    """A module of this folder."""

    def batches(self, job: Job) -> Iterator[Batch]:
        """Batches without end."""

    def singles(self, job: Job) -> dict[str, Single]:
        """Each transform alone, switched on. The first, "affine", takes what it reads itself."""
