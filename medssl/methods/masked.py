"""What is common to the methods that hide cubes of a patch and say what was there."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from medssl.augment.masks import Grid
from medssl.methods.base import Method


class MaskedMethod(Method):
    """A method whose reconstruction of what was hidden can be asked for, mask by mask.

    Attributes:
        side: of the cubes that are hidden or shown, in voxels.
        grid: how many of them lie along each axis of the patch.
        block: so many of them make the side of what is hidden in one piece.
        mask_ratio: share of them that is hidden in training.
    """

    side: int
    grid: Grid
    block: int = 1
    mask_ratio: float

    @abstractmethod
    def fill(self, image_BCDHW: Tensor, inside_B1DHW: Tensor, masked_BN: Tensor) -> Tensor:
        """What the network says of patches whose masked cubes it does not see.

        Args:
            image_BCDHW: normalised.
            inside_B1DHW: bool, where the loss looks: the body, inside the scan.
            masked_BN: bool, the hidden cubes in row-major order; as many in each sample.

        Returns:
            (B, C, D, H, W) float32 in the units of the image. Where the cubes were shown nothing
            was asked of it.
        """
