"""What a batch holds, and what draws its samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from medssl.volume import Modality

MODALITIES: tuple[Modality, ...] = ("CT", "MR", "PT", "OT")

Batch = dict[str, torch.Tensor]
"""A batch, or one sample (the same without the leading B).

image       (B, V, C, D, H, W) float32, normalised; V views, axes to the right, front and top
valid       (B, V, 1, D, H, W) bool, True inside the scan; the rest of the image is background
background  (B,) float32, the normalised value of air or nothing, the lowest of the image
map         (B, V, 4, 4) float32, index of a view's voxel to index of the stored voxel
index       (B,) int64, place in the global batch
volume      (B,) int64, row number in the source's frame of volumes
patient     (B,) int64, one code a patient
modality    (B,) int64, place in MODALITIES
policy      (B,) int64, place in MODALITIES of the intensity policy that fits the scan's units
mask        (B, 1, D, H, W) int64, transfer's segmentation alone
target      (B,) int64, transfer's classification alone
"""


class SampleSource(Protocol):
    """Draws any sample of any step from nothing but their numbers."""

    global_batch: int

    def sample(self, step: int, index: int) -> Batch:
        """Sample `index` of the global batch of `step`, on the CPU; called from many threads."""

    def finish(self, batch: Batch, step: int) -> Batch:
        """The batch with its intensities augmented, on the device that it is on.

        The consumer calls it once it has moved the batch.
        """


def collate(samples: Sequence[Batch]) -> Batch:
    """Samples stacked into a batch."""
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}
